package cmd

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/parkd-dev/parkd/pkg/park"
)

// The columns of the tables.

func taskList() listing[park.Task] {
	return listing[park.Task]{
		id: func(t park.Task) string { return t.TaskID },
		columns: []column[park.Task]{
			{name: "task", cell: func(_ *printer, t park.Task) string { return t.TaskID }},
			{name: "pool", cell: func(_ *printer, t park.Task) string { return t.PoolID }},
			{name: "status", cell: func(_ *printer, t park.Task) string { return string(t.Status) }},
			{name: "pos", right: true, cell: func(_ *printer, t park.Task) string { return count(t.Position) }},
			{name: "units", right: true, cell: func(_ *printer, t park.Task) string { return count(int64(t.ResourceCost.Units)) }},
			{name: "priority", cell: func(_ *printer, t park.Task) string { return t.Priority.String() }},
			{name: "tenant", wide: true, cell: func(_ *printer, t park.Task) string { return t.Tenant }},
			{name: "mailbox", wide: true, cell: func(_ *printer, t park.Task) string { return t.MailboxKey }},
			{name: "attempt", wide: true, right: true, cell: func(_ *printer, t park.Task) string { return count(int64(t.Attempt)) }},
			{name: "node", wide: true, cell: func(_ *printer, t park.Task) string { return t.Node }},
			{name: "submitted", cell: func(p *printer, t park.Task) string { return p.when(t.SubmittedAt) }},
			{name: "started", wide: true, cell: func(p *printer, t park.Task) string { return p.when(t.StartedAt) }},
			{name: "ended", wide: true, cell: func(p *printer, t park.Task) string { return p.when(t.CompletedAt) }},
			{name: "took", cell: (*printer).took},
			{name: "note", cell: (*printer).note},
		},
	}
}

// took returns how long a task has run.
func (p *printer) took(t park.Task) string {
	switch {
	case t.StartedAt.IsZero():
		return ""
	case t.CompletedAt.IsZero():
		return formatDuration(max(0, p.now().Sub(t.StartedAt.Time)))
	}
	return formatDuration(max(0, t.CompletedAt.Sub(t.StartedAt.Time)))
}

// note returns the reason why a task ended, or else its command or result.
func (p *printer) note(t park.Task) string {
	switch {
	case t.Reason != "" && t.Message != "":
		return p.truncate(t.Reason+": "+t.Message, 60)
	case t.Reason != "":
		return t.Reason
	case len(t.Command) > 0:
		return p.truncate(strings.Join(t.Command, " "), 60)
	}
	return p.compact(t.Result, 60)
}

func acceptedList() listing[park.Accepted] {
	return listing[park.Accepted]{
		id: func(a park.Accepted) string { return a.TaskID },
		columns: []column[park.Accepted]{
			{name: "task", cell: func(_ *printer, a park.Accepted) string { return a.TaskID }},
			{name: "pool", cell: func(_ *printer, a park.Accepted) string { return a.PoolID }},
			{name: "status", cell: func(_ *printer, a park.Accepted) string { return string(a.Status) }},
			{name: "pos", right: true, cell: func(_ *printer, a park.Accepted) string { return count(a.Position) }},
			{name: "submitted", wide: true, cell: func(p *printer, a park.Accepted) string { return p.when(a.SubmittedAt) }},
		},
	}
}

func poolList() listing[park.Pool] {
	return listing[park.Pool]{
		id: func(p park.Pool) string { return p.PoolID },
		columns: []column[park.Pool]{
			{name: "pool", cell: func(_ *printer, p park.Pool) string { return p.PoolID }},
			{name: "state", cell: func(_ *printer, p park.Pool) string { return poolState(p) }},
			{name: "units", right: true, cell: func(_ *printer, p park.Pool) string { return fmt.Sprintf("%d/%d", p.UsedUnits, p.MaxUnits) }},
			{name: "running", right: true, cell: func(_ *printer, p park.Pool) string { return strconv.Itoa(p.Running) }},
			{name: "parked", right: true, cell: func(_ *printer, p park.Pool) string { return fmt.Sprintf("%d/%d", p.QueueDepth, p.MaxQueueDepth) }},
			{name: "kind", cell: func(_ *printer, p park.Pool) string { return string(p.Kind) }},
			{name: "executor", cell: func(_ *printer, p park.Pool) string { return p.Executor }},
			{name: "runtime", wide: true, cell: func(_ *printer, p park.Pool) string { return string(p.Runtime) }},
			{name: "queue", wide: true, cell: func(_ *printer, p park.Pool) string { return string(p.QueueBackend) }},
			{name: "mailbox", wide: true, cell: func(_ *printer, p park.Pool) string { return string(p.MailboxBackend) }},
			{name: "timeout", wide: true, right: true, cell: func(_ *printer, p park.Pool) string { return strconv.FormatInt(p.DefaultTimeoutSecs, 10) + "s" }},
			{name: "deferred", wide: true, cell: func(_ *printer, p park.Pool) string { return deferral(p) }},
		},
	}
}

// deferral returns why the daemon defers the pool's starts, if it does.
func deferral(p park.Pool) string {
	if d := p.StartsDeferred; d != nil {
		return d.Reason + ": " + d.Message
	}
	return ""
}

func poolState(p park.Pool) string {
	if p.Halted != "" {
		return "halted: " + p.Halted
	}
	return string(p.State)
}

func messageList() listing[park.Message] {
	return listing[park.Message]{
		id: func(m park.Message) string { return m.ID },
		columns: []column[park.Message]{
			{name: "id", width: 6, cell: func(_ *printer, m park.Message) string { return m.ID }},
			{name: "task", width: 36, cell: func(_ *printer, m park.Message) string { return m.TaskID }},
			{name: "pool", width: 8, cell: func(_ *printer, m park.Message) string { return m.PoolID }},
			{name: "status", width: 9, cell: func(_ *printer, m park.Message) string { return string(m.Status) }},
			{name: "attempt", wide: true, right: true, cell: func(_ *printer, m park.Message) string { return count(int64(m.Attempt)) }},
			{name: "when", width: 10, cell: func(p *printer, m park.Message) string { return p.when(m.CreatedAt) }},
			{name: "note", cell: func(p *printer, m park.Message) string {
				return p.note(park.Task{Reason: m.Reason, Message: m.Message})
			}},
			{name: "payload", cell: func(p *printer, m park.Message) string { return p.compact(m.Payload, 60) }},
		},
	}
}

func eventList() listing[park.Event] {
	return listing[park.Event]{
		id: func(e park.Event) string { return e.EventID },
		columns: []column[park.Event]{
			{name: "time", width: 14, cell: func(p *printer, e park.Event) string { return p.clock(e.At) }},
			{name: "event", width: 12, cell: func(_ *printer, e park.Event) string { return e.EventID }},
			{name: "action", width: 8, cell: func(_ *printer, e park.Event) string { return string(e.Action) }},
			{name: "task", width: 36, cell: func(_ *printer, e park.Event) string { return e.TaskID }},
			{name: "units", right: true, cell: func(_ *printer, e park.Event) string { return count(e.Units) }},
			{name: "attempt", right: true, cell: func(_ *printer, e park.Event) string { return count(int64(e.Attempt)) }},
			{name: "tenant", width: 10, wide: true, cell: func(_ *printer, e park.Event) string { return e.Tenant }},
			{name: "node", width: 10, wide: true, cell: func(_ *printer, e park.Event) string { return e.Node }},
			{name: "detail", cell: func(p *printer, e park.Event) string { return p.truncate(detail(e.Detail), 80) }},
		},
	}
}

// detail prints an object as name=value pairs, and anything else unchanged.
func detail(raw json.RawMessage) string {
	if len(raw) == 0 {
		return ""
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(raw, &fields) != nil {
		return string(raw)
	}
	var parts []string
	for _, name := range sortedKeys(fields) {
		value := string(fields[name])
		var text string
		if json.Unmarshal(fields[name], &text) == nil {
			value = text
		}
		parts = append(parts, name+"="+value)
	}
	return strings.Join(parts, " ")
}

// count prints a number; 0, which means "none" in these columns, is blank.
func count(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

package park

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// Action is what an audit event tells of.
type Action string

// The actions. A task's life reads submit (enqueue)? start (complete|fail), submit enqueue expire,
// submit enqueue cancel, submit … start cancel, or … start requeue start …; a rejection is reject alone.
// An update is no line of a task's life: it tells of a change of the pool's limits or state, or of a running task
// that is asked to stop. Only who asks for updates gets them, see [AuditQuery.Changes].
const (
	ActSubmit   Action = "submit"
	ActEnqueue  Action = "enqueue"
	ActStart    Action = "start"
	ActComplete Action = "complete"
	ActFail     Action = "fail"
	ActExpire   Action = "expire"
	ActReject   Action = "reject"
	ActCancel   Action = "cancel"
	ActRequeue  Action = "requeue"
	ActUpdate   Action = "update"
)

// Actions lists every action.
func Actions() []Action {
	return []Action{ActSubmit, ActEnqueue, ActStart, ActComplete, ActFail, ActExpire, ActReject, ActCancel, ActRequeue, ActUpdate}
}

// ParseAction returns the action called s.
func ParseAction(s string) (Action, error) { return oneOf("action", s, Actions()) }

// Event is one line of a task's life. Rev is the pool's step and Ord the place within it: in the order of
// (Rev, Ord) a pool's events give its state at every step. Rev has no gaps where updates are among them.
type Event struct {
	EventID string          `json:"eventId"` // see [EventID]; of an event that was read
	At      Time            `json:"at,omitzero"`
	Rev     int64           `json:"rev"`
	Ord     int             `json:"-"`
	Action  Action          `json:"action"`
	TaskID  string          `json:"taskId,omitempty"`
	PoolID  string          `json:"poolId"`
	Tenant  string          `json:"tenant,omitempty"`
	Units   int64           `json:"units,omitempty"`
	Attempt int             `json:"attempt,omitempty"`
	Node    string          `json:"node,omitempty"`
	Detail  json.RawMessage `json:"detail,omitempty"` // an object, for example {"reason":"timeout"}
}

// EventID names the event at place ord of step rev of a pool: "gpu:17:2".
func EventID(pool string, rev int64, ord int) string {
	b := make([]byte, 0, len(pool)+24)
	b = append(b, pool...)
	b = append(b, ':')
	b = strconv.AppendInt(b, rev, 10)
	b = append(b, ':')
	b = strconv.AppendInt(b, int64(ord), 10)
	return string(b)
}

// ParseEventID takes an event's id apart.
func ParseEventID(id string) (pool string, rev int64, ord int, err error) {
	pool, rest, _ := strings.Cut(id, ":")
	r, o, _ := strings.Cut(rest, ":")
	rev, err1 := strconv.ParseInt(r, 10, 64)
	n, err2 := strconv.ParseInt(o, 10, 32)
	if err1 != nil || err2 != nil || pool == "" || rev < 0 || n < 0 {
		return "", 0, 0, fmt.Errorf("must be an event's id such as gpu:17:2, not %q", cut(id))
	}
	return pool, rev, int(n), nil
}

// AuditQuery selects events, oldest first. Empty fields select all, but for the updates.
type AuditQuery struct {
	TaskID string
	PoolID string
	Tenant string
	Action Action
	Since  Time // inclusive
	Until  Time // exclusive
	// Changes selects the updates as well; to select them alone, Action does.
	Changes bool
	Limit   int
	Cursor  string // an event's id: read on after it
}

// Selects reports whether q selects events of an action.
func (q AuditQuery) Selects(a Action) bool {
	if q.Action != "" {
		return a == q.Action
	}
	return q.Changes || a != ActUpdate
}

// EventPage is one page of the audit log. Next is "" on the last one.
type EventPage struct {
	Events []Event `json:"events"`
	Next   string  `json:"next,omitempty"`
}

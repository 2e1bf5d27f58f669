package storetest

import (
	"errors"
	"strconv"
	"time"

	"pgregory.net/rapid"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// drawLimit draws the size of a page.
func (m *machine) drawLimit(rt *rapid.T) int {
	if m.wide && rapid.Bool().Draw(rt, "wide page") {
		m.covered["wide page"]++
		return nearBlockSize(rt)
	}
	return rapid.IntRange(1, 6).Draw(rt, "limit")
}

// records reads some tasks, of which some may not exist.
func (m *machine) records(rt *rapid.T) {
	model, _ := m.drawModel(rt)
	ids := rapid.SliceOfN(rapid.IntRange(0, model.lastNumber+1), 0, 5).Draw(rt, "ids")
	var names []string
	for _, n := range ids {
		names = append(names, model.idPrefix+strconv.Itoa(n))
	}
	compare(rt, m, "records", func(_ int, s store.Store) ([]ledger.Record, error) {
		found, err := s.Records(rt.Context(), model.pool, names)
		sortByTask(found)
		return found, err
	})
}

// list begins a list of a pool's tasks; listOn reads its next page.
func (m *machine) list(rt *rapid.T) {
	model, _ := m.drawModel(rt)
	m.listedPool, m.listCursors = model.pool, [2]string{}
	m.taskQuery = park.TaskQuery{
		Status: rapid.SampledFrom(append(park.Statuses(), "", "", "")).Draw(rt, "status"),
		Tenant: rapid.SampledFrom(append(tenants(), "", "")).Draw(rt, "tenant"),
	}
	m.listOn(rt)
}

func (m *machine) listOn(rt *rapid.T) {
	q := m.taskQuery
	q.Limit = m.drawLimit(rt)
	compare(rt, m, "tasks", func(i int, s store.Store) ([]ledger.Record, error) {
		q.Cursor = m.listCursors[i]
		found, next, err := s.List(rt.Context(), m.listedPool, q)
		m.listCursors[i] = next
		m.countPage("tasks", len(found), q.Limit)
		return found, err
	})
	if (m.listCursors[0] == "") != (m.listCursors[1] == "") {
		rt.Fatalf("one list has ended, the other has not: %q, %q", m.listCursors[0], m.listCursors[1])
	}
}

// outbox reads entries, and delivers, postpones or leaves each of them.
func (m *machine) outbox(rt *rapid.T) {
	dest, limit := m.drawDest(rt), m.drawLimit(rt)
	if len(m.parcelDests) > 0 {
		dest = rapid.SampledFrom(m.parcelDests).Draw(rt, "a entry's place")
	}
	model, _ := m.drawModel(rt)
	now := model.Now()
	var ids [2][]int64
	found := compare(rt, m, "entries", func(i int, s store.Store) ([]store.OutboxEntry, error) {
		entries, err := s.Outbox(rt.Context(), dest, now, limit)
		ids[i] = parcelIDs(entries)
		for k := range entries {
			entries[k].ID = 0
		}
		return entries, err
	})
	var done, later [2][]int64
	for k := range found[0] {
		fate := k % 3
		if k < 6 {
			fate = rapid.IntRange(0, 2).Draw(rt, "fate")
		}
		for i := range ids {
			switch fate {
			case 0:
				done[i] = append(done[i], ids[i][k])
			case 1:
				later[i] = append(later[i], ids[i][k])
			}
		}
	}
	m.covered["entries"] += len(found[0])
	if len(found[0]) > 6 {
		m.covered["wide entries"]++
	}
	if n := len(done[0]); n > 0 && n < len(found[0]) {
		m.covered["entries settled in part"]++
	}
	until := park.At(now.Add(time.Duration(rapid.IntRange(0, 600).Draw(rt, "put off")) * time.Second))
	m.callBoth(rt, func(i int, s store.Store) error {
		var put []store.DeferredEntry
		for _, id := range later[i] {
			put = append(put, store.DeferredEntry{ID: id, Attempts: 7, Until: until})
		}
		return s.AckOutbox(rt.Context(), done[i], put)
	})
}

// deliver delivers messages from other pools, some of which the stores have already.
func (m *machine) deliver(rt *rapid.T) {
	model, _ := m.drawModel(rt)
	if len(model.Ended) == 0 {
		return
	}
	var some []park.Message
	for _, id := range rapid.SliceOfN(rapid.SampledFrom(model.Ended), 1, 4).Draw(rt, "tasks") {
		msg := model.Message(model.Tasks[id])
		msg.PoolID += "-elsewhere"
		if msg.Key == "" {
			msg.Key = "bob"
		}
		some = append(some, msg)
	}
	m.callBoth(rt, func(_ int, s store.Store) error { return s.Deliver(rt.Context(), some) })
}

// messages begins to read a mailbox; messagesOn reads its next page.
func (m *machine) messages(rt *rapid.T) {
	m.lastRead = [2]string{}
	m.mailboxQuery = park.MailboxQuery{
		Tenant: rapid.SampledFrom(tenants()).Draw(rt, "tenant"),
		Key:    rapid.SampledFrom(keys()).Draw(rt, "key"),
	}
	if model, _ := m.drawModel(rt); len(model.Ended) > 0 && rapid.IntRange(0, 3).Draw(rt, "a box with mail") > 0 {
		r := model.Tasks[rapid.SampledFrom(model.Ended).Draw(rt, "task")]
		m.mailboxQuery.Tenant, m.mailboxQuery.Key = r.Tenant, r.MailboxKey
	}
	if rapid.Bool().Draw(rt, "since a time") {
		m.mailboxQuery.Since = m.drawTime(rt)
	}
	m.messagesOn(rt)
}

func (m *machine) messagesOn(rt *rapid.T) {
	q := m.mailboxQuery
	q.Limit = m.drawLimit(rt)
	compare(rt, m, "messages", func(i int, s store.Store) ([]park.Message, error) {
		if q.After = m.lastRead[i]; q.After != "" {
			q.Since = park.Time{}
		}
		found, err := s.Messages(rt.Context(), q)
		if len(found) > 0 {
			m.lastRead[i] = found[len(found)-1].ID
		}
		m.countPage("messages", len(found), q.Limit)
		return withoutIDs(found), err
	})
}

// drawTime returns a time close to that of an event.
func (m *machine) drawTime(rt *rapid.T) park.Time {
	model, _ := m.drawModel(rt)
	n := len(model.Log)
	if n == 0 {
		return model.Now()
	}
	e := model.Log[rapid.IntRange(0, n-1).Draw(rt, "event")]
	return park.At(e.At.Add(time.Duration(rapid.IntRange(-1, 1).Draw(rt, "about")) * time.Microsecond))
}

// trim removes the messages that were read last.
func (m *machine) trim(rt *rapid.T) {
	if m.lastRead[0] == "" || m.lastRead[1] == "" {
		return
	}
	m.covered["trimmed"]++
	m.callBoth(rt, func(i int, s store.Store) error {
		return s.Trim(rt.Context(), m.mailboxQuery.Tenant, m.mailboxQuery.Key, m.lastRead[i])
	})
}

// append appends events that the stores have already. A pruned event would come back, behind the events of later steps.
func (m *machine) append(rt *rapid.T) {
	model, _ := m.drawModel(rt)
	left := matching(model.Log, park.AuditQuery{Since: m.prunedBefore})
	if len(left) == 0 {
		return
	}
	at := rapid.IntRange(0, len(left)-1).Draw(rt, "from")
	some := left[at:min(at+5, len(left))]
	m.callBoth(rt, func(_ int, s store.Store) error { return s.Append(rt.Context(), some) })
}

// events begins to read the log; eventsOn reads its next page.
func (m *machine) events(rt *rapid.T) {
	m.auditQuery = park.AuditQuery{}
	if rapid.IntRange(0, 3).Draw(rt, "some only") == 0 {
		m.auditQuery.Tenant = rapid.SampledFrom(append(tenants(), "")).Draw(rt, "tenant")
		m.auditQuery.Action = rapid.SampledFrom([]park.Action{"", park.ActSubmit, park.ActStart, park.ActUpdate, park.ActExpire}).Draw(rt, "action")
	}
	model, _ := m.drawModel(rt)
	if rapid.Bool().Draw(rt, "of the pool") {
		m.auditQuery.PoolID = model.pool
	}
	if rapid.IntRange(0, 4).Draw(rt, "of a task") == 0 {
		m.auditQuery.TaskID = model.idPrefix + strconv.Itoa(rapid.IntRange(1, model.lastNumber+1).Draw(rt, "task"))
	}
	if rapid.IntRange(0, 3).Draw(rt, "since") == 0 {
		m.auditQuery.Since = m.drawTime(rt)
	}
	if rapid.IntRange(0, 3).Draw(rt, "until") == 0 {
		m.auditQuery.Until = m.drawTime(rt)
	}
	if rapid.IntRange(0, 2).Draw(rt, "after") == 0 && len(model.Log) > 0 {
		m.auditQuery.Cursor = model.Log[rapid.IntRange(0, len(model.Log)-1).Draw(rt, "cursor")].EventID
	}
	m.eventsOn(rt)
}

func (m *machine) eventsOn(rt *rapid.T) {
	m.auditQuery.Limit = m.drawLimit(rt)
	found := compare(rt, m, "events", func(_ int, s store.Store) ([]park.Event, error) {
		found, err := s.Events(rt.Context(), m.auditQuery)
		if errors.Is(err, store.ErrNoEvent) {
			err = nil // all of the pool is pruned
		}
		return found, err
	})
	m.countPage("events", len(found[0]), m.auditQuery.Limit)
	if n := len(found[0]); n > 0 {
		m.auditQuery.Cursor = found[0][n-1].EventID
	}
}

// prune prunes until nothing old is left, since each store may choose its own order.
func (m *machine) prune(rt *rapid.T) {
	before, limit := m.drawTime(rt), m.drawLimit(rt)
	m.prunedBefore = park.FromMicro(max(m.prunedBefore.Micro(), before.Micro()))
	for _, choose := range []func(store.Store) pruneFunc{
		func(s store.Store) pruneFunc { return s.PruneTasks },
		func(s store.Store) pruneFunc { return s.PruneMessages },
		func(s store.Store) pruneFunc { return s.PruneEvents },
	} {
		counts := compare(rt, m, "pruned", func(_ int, s store.Store) (total int, err error) {
			for n := limit; n == limit && err == nil; total += n {
				n, err = choose(s)(rt.Context(), before, limit)
			}
			return total, err
		})
		if m.wide && counts[0] > 0 {
			m.covered["pruned in a wide stream"]++
		}
	}
}

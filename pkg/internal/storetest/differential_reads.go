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

func (m *machine) limit(rt *rapid.T) int {
	if m.wide && rapid.Bool().Draw(rt, "wide page") {
		m.seen["wide page"]++
		return aboutBlock(rt)
	}
	return rapid.IntRange(1, 6).Draw(rt, "limit")
}

func (m *machine) records(rt *rapid.T) {
	f, _ := m.draw(rt)
	ids := rapid.SliceOfN(rapid.IntRange(0, f.number+1), 0, 5).Draw(rt, "ids")
	var names []string
	for _, n := range ids {
		names = append(names, f.prefix+strconv.Itoa(n))
	}
	ask(rt, m, "records", func(_ int, s store.Store) ([]ledger.Record, error) {
		found, err := s.Records(rt.Context(), f.pool, names)
		byTask(found)
		return found, err
	})
}

// list begins to list a pool's tasks, and listOn reads the next page of what was begun last.
func (m *machine) list(rt *rapid.T) {
	f, _ := m.draw(rt)
	m.pool, m.cursor = f.pool, [2]string{}
	m.tasks = park.TaskQuery{
		Status: rapid.SampledFrom(append(park.Statuses(), "", "", "")).Draw(rt, "status"),
		Tenant: rapid.SampledFrom(append(tenants(), "", "")).Draw(rt, "tenant"),
	}
	m.listOn(rt)
}

func (m *machine) listOn(rt *rapid.T) {
	q := m.tasks
	q.Limit = m.limit(rt)
	ask(rt, m, "tasks", func(i int, s store.Store) ([]ledger.Record, error) {
		q.Cursor = m.cursor[i]
		found, next, err := s.List(rt.Context(), m.pool, q)
		m.cursor[i] = next
		m.page("tasks", len(found), q.Limit)
		return found, err
	})
	if (m.cursor[0] == "") != (m.cursor[1] == "") {
		rt.Fatalf("one list has ended, the other has not: %q, %q", m.cursor[0], m.cursor[1])
	}
}

// outbox takes parcels and settles each in one way or another.
func (m *machine) outbox(rt *rapid.T) {
	dest, limit := m.dest(rt), m.limit(rt)
	if len(m.owed) > 0 {
		dest = rapid.SampledFrom(m.owed).Draw(rt, "a parcel's place")
	}
	f, _ := m.draw(rt)
	now := f.Now()
	var ids [2][]int64
	found := ask(rt, m, "parcels", func(i int, s store.Store) ([]store.OutboxEntry, error) {
		parcels, err := s.Outbox(rt.Context(), dest, now, limit)
		ids[i] = parcelIDs(parcels)
		for k := range parcels {
			parcels[k].ID = 0
		}
		return parcels, err
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
	m.seen["parcels"] += len(found[0])
	if len(found[0]) > 6 {
		m.seen["wide parcels"]++
	}
	if n := len(done[0]); n > 0 && n < len(found[0]) {
		m.seen["parcels settled in part"]++
	}
	until := park.At(now.Add(time.Duration(rapid.IntRange(0, 600).Draw(rt, "put off")) * time.Second))
	m.both(rt, func(i int, s store.Store) error {
		var put []store.DeferredEntry
		for _, id := range later[i] {
			put = append(put, store.DeferredEntry{ID: id, Attempts: 7, Until: until})
		}
		return s.AckOutbox(rt.Context(), done[i], put)
	})
}

// deliver sends messages of tasks of pools elsewhere, some of which are there already.
func (m *machine) deliver(rt *rapid.T) {
	f, _ := m.draw(rt)
	if len(f.Ended) == 0 {
		return
	}
	var some []park.Message
	for _, id := range rapid.SliceOfN(rapid.SampledFrom(f.Ended), 1, 4).Draw(rt, "tasks") {
		msg := f.Message(f.Tasks[id])
		msg.PoolID += "-elsewhere"
		if msg.Key == "" {
			msg.Key = "bob"
		}
		some = append(some, msg)
	}
	m.both(rt, func(_ int, s store.Store) error { return s.Deliver(rt.Context(), some) })
}

// messages begins to read a mailbox, and messagesOn reads on.
func (m *machine) messages(rt *rapid.T) {
	m.after = [2]string{}
	m.box = park.MailboxQuery{
		Tenant: rapid.SampledFrom(tenants()).Draw(rt, "tenant"),
		Key:    rapid.SampledFrom(keys()).Draw(rt, "key"),
	}
	if f, _ := m.draw(rt); len(f.Ended) > 0 && rapid.IntRange(0, 3).Draw(rt, "a box with mail") > 0 {
		r := f.Tasks[rapid.SampledFrom(f.Ended).Draw(rt, "task")]
		m.box.Tenant, m.box.Key = r.Tenant, r.MailboxKey
	}
	if rapid.Bool().Draw(rt, "since a time") {
		m.box.Since = m.time(rt)
	}
	m.messagesOn(rt)
}

func (m *machine) messagesOn(rt *rapid.T) {
	q := m.box
	q.Limit = m.limit(rt)
	ask(rt, m, "messages", func(i int, s store.Store) ([]park.Message, error) {
		if q.After = m.after[i]; q.After != "" {
			q.Since = park.Time{}
		}
		found, err := s.Messages(rt.Context(), q)
		if len(found) > 0 {
			m.after[i] = found[len(found)-1].ID
		}
		m.page("messages", len(found), q.Limit)
		return withoutIDs(found), err
	})
}

// time returns a time about which something has happened.
func (m *machine) time(rt *rapid.T) park.Time {
	f, _ := m.draw(rt)
	n := len(f.Log)
	if n == 0 {
		return f.Now()
	}
	e := f.Log[rapid.IntRange(0, n-1).Draw(rt, "event")]
	return park.At(e.At.Add(time.Duration(rapid.IntRange(-1, 1).Draw(rt, "about")) * time.Microsecond))
}

// trim removes what was read last.
func (m *machine) trim(rt *rapid.T) {
	if m.after[0] == "" || m.after[1] == "" {
		return
	}
	m.seen["trimmed"]++
	m.both(rt, func(i int, s store.Store) error { return s.Trim(rt.Context(), m.box.Tenant, m.box.Key, m.after[i]) })
}

// append sends events that are there. One that was pruned would come back, behind those of later steps.
func (m *machine) append(rt *rapid.T) {
	f, _ := m.draw(rt)
	left := selected(f.Log, park.AuditQuery{Since: m.kept})
	if len(left) == 0 {
		return
	}
	at := rapid.IntRange(0, len(left)-1).Draw(rt, "from")
	some := left[at:min(at+5, len(left))]
	m.both(rt, func(_ int, s store.Store) error { return s.Append(rt.Context(), some) })
}

// events begins to read the log, and eventsOn reads on.
func (m *machine) events(rt *rapid.T) {
	m.log = park.AuditQuery{}
	if rapid.IntRange(0, 3).Draw(rt, "some only") == 0 {
		m.log.Tenant = rapid.SampledFrom(append(tenants(), "")).Draw(rt, "tenant")
		m.log.Action = rapid.SampledFrom([]park.Action{"", park.ActSubmit, park.ActStart, park.ActUpdate, park.ActExpire}).Draw(rt, "action")
	}
	f, _ := m.draw(rt)
	if rapid.Bool().Draw(rt, "of the pool") {
		m.log.PoolID = f.pool
	}
	if rapid.IntRange(0, 4).Draw(rt, "of a task") == 0 {
		m.log.TaskID = f.prefix + strconv.Itoa(rapid.IntRange(1, f.number+1).Draw(rt, "task"))
	}
	if rapid.IntRange(0, 3).Draw(rt, "since") == 0 {
		m.log.Since = m.time(rt)
	}
	if rapid.IntRange(0, 3).Draw(rt, "until") == 0 {
		m.log.Until = m.time(rt)
	}
	if rapid.IntRange(0, 2).Draw(rt, "after") == 0 && len(f.Log) > 0 {
		m.log.Cursor = f.Log[rapid.IntRange(0, len(f.Log)-1).Draw(rt, "cursor")].EventID
	}
	m.eventsOn(rt)
}

func (m *machine) eventsOn(rt *rapid.T) {
	m.log.Limit = m.limit(rt)
	found := ask(rt, m, "events", func(_ int, s store.Store) ([]park.Event, error) {
		found, err := s.Events(rt.Context(), m.log)
		if errors.Is(err, store.ErrNoEvent) {
			err = nil // all of the pool is pruned
		}
		return found, err
	})
	m.page("events", len(found[0]), m.log.Limit)
	if n := len(found[0]); n > 0 {
		m.log.Cursor = found[0][n-1].EventID
	}
}

// prune forgets what is old. Which of the old goes first is the store's affair, so it goes on to the end.
func (m *machine) prune(rt *rapid.T) {
	before, limit := m.time(rt), m.limit(rt)
	m.kept = park.FromMicro(max(m.kept.Micro(), before.Micro()))
	for _, choose := range []func(store.Store) prune{
		func(s store.Store) prune { return s.PruneTasks },
		func(s store.Store) prune { return s.PruneMessages },
		func(s store.Store) prune { return s.PruneEvents },
	} {
		counts := ask(rt, m, "pruned", func(_ int, s store.Store) (total int, err error) {
			for n := limit; n == limit && err == nil; total += n {
				n, err = choose(s)(rt.Context(), before, limit)
			}
			return total, err
		})
		if m.wide && counts[0] > 0 {
			m.seen["pruned in a wide stream"]++
		}
	}
}

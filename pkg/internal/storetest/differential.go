package storetest

import (
	"cmp"
	"errors"
	"flag"
	"slices"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// Reopener is a store that a [Differential] test may close and open again in the middle.
type Reopener interface {
	store.Store
	Reopen() error
}

// Differential sends random streams of calls to a store of each kind and compares every answer. What each store
// makes up by itself, ids of messages and parcels and cursors of lists, may differ. A campaign of 400 streams or more fails if
// something that streams are to be made of was in none of them.
type Differential struct {
	seen    census
	streams int
}

// Campaign says how many streams there are to be, and counts what they held.
type Campaign interface {
	More(what string) bool
	Add(what string, n int)
}

// Campaign does as many streams as a campaign asks for, from a seed on.
func (d *Differential) Campaign(t *testing.T, c Campaign, seed uint64, a, b Open) {
	t.Helper()
	const together = 10
	for ; c.More("streams") && !t.Failed(); seed++ {
		d.Run(t, seed, together, a, b)
		c.Add("streams", together)
	}
	for what, n := range d.seen {
		c.Add(what, n)
	}
	d.seen.check(t, d.streams)
}

// Run sends n streams that are made from a seed.
func (d *Differential) Run(t *testing.T, seed uint64, n int, a, b Open) {
	t.Helper()
	for name, value := range map[string]string{"seed": strconv.FormatUint(seed, 10), "checks": strconv.Itoa(n), "nofailfile": "true"} {
		if err := flag.Set("rapid."+name, value); err != nil {
			t.Fatal(err)
		}
	}
	if d.seen == nil {
		d.seen = make(census)
	}
	rapid.Check(t, func(rt *rapid.T) {
		r := &round{TB: t}
		defer r.end()
		d.streams++
		m := newMachine(rt, [2]store.Store{a(r), b(r)}, d.seen)
		rt.Repeat(m.actions())
	})
}

// round is a test's TB for the time of one stream: its clean-up comes at the end of that.
type round struct {
	testing.TB
	last []func()
}

func (r *round) Cleanup(f func()) { r.last = append(r.last, f) }

func (r *round) end() {
	for _, f := range slices.Backward(r.last) {
		f()
	}
}

// machine makes a stream.
type machine struct {
	stores [2]store.Store
	seen   census
	wide   bool // it has steps of many blocks
	feeds  []*Feed
	last   []*store.Step // of each feed
	posted int
	owed   []string  // where parcels go, one for each
	kept   park.Time // events from before this may be gone

	box    park.MailboxQuery
	after  [2]string // the last message read from the box
	log    park.AuditQuery
	tasks  park.TaskQuery
	pool   string
	cursor [2]string // where the list of the pool's tasks goes on
}

func newMachine(rt *rapid.T, stores [2]store.Store, seen census) *machine {
	m := &machine{stores: stores, seen: seen}
	if m.wide = rapid.IntRange(1, wideOf).Draw(rt, "wide") == wideOf; m.wide {
		m.seen["wide stream"]++
	}
	for i := range rapid.IntRange(1, 3).Draw(rt, "pools") {
		f := NewFeed("pool-" + strconv.Itoa(i))
		f.prefix = "task-"
		m.feeds = append(m.feeds, f)
	}
	m.last = make([]*store.Step, len(m.feeds))
	return m
}

func (m *machine) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"step": m.step, "step2": m.step, "step3": m.step, "step4": m.step, "step5": m.step, "again": m.again, "stale": m.stale, "broken": m.broken, "late": m.late,
		"load": m.load, "records": m.records, "list": m.list, "list on": m.listOn,
		"outbox": m.outbox, "deliver": m.deliver, "messages": m.messages, "messages on": m.messagesOn, "trim": m.trim,
		"append": m.append, "events": m.events, "events2": m.events, "events3": m.events, "events on": m.eventsOn, "events on2": m.eventsOn, "prune": m.prune, "reopen": m.reopen,
		"outbox2": m.outbox, "messages2": m.messages, "empty": m.empty, "evidence": m.evidence,
		"": m.level,
	}
}

func (m *machine) draw(rt *rapid.T) (*Feed, int) {
	i := rapid.IntRange(0, len(m.feeds)-1).Draw(rt, "pool")
	return m.feeds[i], i
}

// both calls f for each store and fails unless the errors are alike. It reports whether there was none.
func (m *machine) both(rt *rapid.T, f func(i int, s store.Store) error) bool {
	rt.Helper()
	var errs [2]error
	for i, s := range m.stores {
		errs[i] = f(i, s)
	}
	if kind(errs[0]) != kind(errs[1]) {
		rt.Fatalf("errors differ: %v, %v", errs[0], errs[1])
	}
	return errs[0] == nil
}

func kind(err error) string {
	if _, ok := errors.AsType[*store.Conflict](err); ok {
		return "conflict"
	}
	return string(park.CodeOf(err))
}

// ask asks both stores the same and fails unless the answers are the same.
func ask[T any](rt *rapid.T, m *machine, what string, f func(i int, s store.Store) (T, error)) (answers [2]T) {
	rt.Helper()
	if m.both(rt, func(i int, s store.Store) (err error) { answers[i], err = f(i, s); return err }) {
		alike(rt, what, answers[0], answers[1])
	}
	return answers
}

func alike(rt *rapid.T, what string, a, b any) {
	rt.Helper()
	if diff := difference(a, b); diff != "" {
		rt.Fatalf("%s (-first +second):\n%s", what, diff)
	}
}

// step commits a few changes of one pool, or many.
func (m *machine) step(rt *rapid.T) {
	if m.wide && rapid.IntRange(0, 3).Draw(rt, "many") > 0 {
		m.wideStep(rt)
		return
	}
	f, i := m.draw(rt)
	if rapid.IntRange(0, 3).Draw(rt, "time passes") == 0 {
		f.Pass(time.Duration(rapid.IntRange(1, 400).Draw(rt, "by")) * time.Second)
	}
	for range rapid.IntRange(1, 5).Draw(rt, "changes") {
		m.change(rt, f)
	}
	m.send(rt, f, i)
}

// send commits the open step of a pool.
func (m *machine) send(rt *rapid.T, f *Feed, i int) {
	m.last[i] = f.Next()
	if !m.both(rt, func(_ int, s store.Store) error { return s.Commit(rt.Context(), m.last[i]) }) {
		rt.Fatalf("rev %d of pool %s was refused", f.Row.Rev, f.pool)
	}
}

func (m *machine) change(rt *rapid.T, f *Feed) {
	from := func(ids []string) string { return rapid.SampledFrom(ids).Draw(rt, "task") }
	switch n := rapid.IntRange(0, 7).Draw(rt, "change"); {
	case n == 0 && len(f.Queued) > 0:
		f.Start(from(f.Queued))
	case n == 1 && len(f.Running) > 0:
		f.End(from(f.Running), park.Completed, `{"ok":true}`)
	case n == 2 && len(f.Running) > 0:
		f.Requeue(from(f.Running))
	case n == 3 && len(f.Queued) > 0:
		f.End(from(f.Queued), rapid.SampledFrom([]park.Status{park.Expired, park.Dropped}).Draw(rt, "end"), "")
	case n == 4:
		f.Row.State = rapid.SampledFrom(park.PoolStates()).Draw(rt, "state")
		f.Event(park.ActUpdate, nil, `{}`)
	case n == 5 && len(f.Ended) > 0:
		m.posted++
		msg := f.Message(f.Tasks[from(f.Ended)])
		m.owe(f, store.OutboxEntry{Dest: m.dest(rt), Attempts: m.posted, Message: &msg})
	default:
		f.Submit(func(r *ledger.Record) {
			r.Tenant = rapid.SampledFrom(tenants()).Draw(rt, "tenant")
			r.MailboxKey = rapid.SampledFrom(append(keys(), "")).Draw(rt, "key")
			if r.Tenant != "acme" && r.Tenant != "globex" {
				m.seen["odd tenant"]++
			}
		})
	}
}

// tenants and keys have names that a careless store would take for one another.
func tenants() []string {
	return []string{"acme", "globex", "ACME", "acm", "a_me", "ac%", "x@acme", "acme'", "é", "e\u0301"}
}

func keys() []string { return []string{"alice", "bob", "Alice", "ali%", "al\nice", `ali"ce`} }

func (m *machine) dest(rt *rapid.T) string {
	return rapid.SampledFrom([]string{"notify/gpu", "mailbox/file", "audit/postgres"}).Draw(rt, "dest")
}

// again sends a pool's last step once more.
func (m *machine) again(rt *rapid.T) {
	if _, i := m.draw(rt); m.last[i] != nil {
		m.both(rt, func(_ int, s store.Store) error { return s.Commit(rt.Context(), m.last[i]) })
	}
}

// stale commits a step that was decided on a rev that is not the pool's.
func (m *machine) stale(rt *rapid.T) {
	f, _ := m.draw(rt)
	bad := spoiled(f)
	bad.Row.Rev += int64(rapid.SampledFrom([]int{-2, -1, 1, 2}).Draw(rt, "off by"))
	ok := m.both(rt, func(_ int, s store.Store) error {
		err := s.Commit(rt.Context(), bad)
		if c, ok := errors.AsType[*store.Conflict](err); ok {
			m.seen["conflict"]++
			alike(rt, "row of the conflict", c.Row, f.Committed())
			for _, r := range c.Changed {
				alike(rt, "changed task", told(r), told(*f.Tasks[r.TaskID]))
			}
		}
		return err
	})
	if ok {
		rt.Fatal("a stale step was taken")
	}
}

// broken commits a step that inserts a task twice or updates none.
func (m *machine) broken(rt *rapid.T) {
	f, _ := m.draw(rt)
	bad := spoiled(f)
	if rapid.Bool().Draw(rt, "twice") {
		bad.Inserts = append(bad.Inserts, bad.Inserts[0])
	} else {
		bad.Updates = []store.Update{{TaskID: "nobody"}}
	}
	if m.both(rt, func(_ int, s store.Store) error { return s.Commit(rt.Context(), bad) }) {
		rt.Fatal("a broken step was taken")
	}
}

// late lets one pool's clock run ahead of the others'.
func (m *machine) late(rt *rapid.T) {
	f, _ := m.draw(rt)
	f.Pass(time.Duration(rapid.IntRange(1, 5).Draw(rt, "hours")) * time.Hour)
}

// reopen closes the stores that can be and opens them again.
func (m *machine) reopen(rt *rapid.T) {
	for _, s := range m.stores {
		if r, ok := s.(Reopener); ok {
			if err := r.Reopen(); err != nil {
				rt.Fatalf("reopen: %v", err)
			}
			m.seen["reopened"]++
		}
	}
}

// level sees that no store has got ahead of the stream or fallen behind.
func (m *machine) level(rt *rapid.T) {
	f, _ := m.draw(rt)
	for _, snap := range ask(rt, m, "snapshot", m.snapshot(rt, f.pool)) {
		alike(rt, "row", snap.Row, f.Committed())
	}
	ask(rt, m, "last event", func(_ int, s store.Store) (string, error) { return s.LastEvent(rt.Context()) })
}

func (m *machine) snapshot(rt *rapid.T, pool string) func(int, store.Store) (store.Snapshot, error) {
	return func(_ int, s store.Store) (store.Snapshot, error) {
		snap, err := s.Load(rt.Context(), pool)
		slices.SortFunc(snap.Tasks, func(a, b ledger.Record) int { return cmp.Compare(a.TaskID, b.TaskID) })
		return snap, err
	}
}

func (m *machine) load(rt *rapid.T) {
	f, _ := m.draw(rt)
	snap := ask(rt, m, "snapshot", m.snapshot(rt, f.pool))
	alike(rt, "live tasks", snap[0].Tasks, f.Live())
}

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

// Reopener is a store that a [Differential] test may close and open again between two calls.
type Reopener interface {
	store.Store
	Reopen() error
}

// Differential sends random streams of calls to two stores and compares every answer. Only values that a store chooses
// itself may differ: ids of messages and entries, and cursors of lists. With 400 streams or more, the test fails if a
// feature of streams occurred in none of them.
type Differential struct {
	covered coverage
	streams int
}

// Campaign says how many streams to run, and counts what they contained.
type Campaign interface {
	More(what string) bool
	Add(what string, n int)
}

// Campaign runs as many streams as a campaign asks for, beginning with a seed.
func (d *Differential) Campaign(t *testing.T, c Campaign, seed uint64, a, b Open) {
	t.Helper()
	const together = 10
	for ; c.More("streams") && !t.Failed(); seed++ {
		d.Run(t, seed, together, a, b)
		c.Add("streams", together)
	}
	for what, n := range d.covered {
		c.Add(what, n)
	}
	d.covered.checkAll(t, d.streams)
}

// Run runs n streams that are generated from a seed.
func (d *Differential) Run(t *testing.T, seed uint64, n int, a, b Open) {
	t.Helper()
	for name, value := range map[string]string{"seed": strconv.FormatUint(seed, 10), "checks": strconv.Itoa(n), "nofailfile": "true"} {
		if err := flag.Set("rapid."+name, value); err != nil {
			t.Fatal(err)
		}
	}
	if d.covered == nil {
		d.covered = make(coverage)
	}
	rapid.Check(t, func(rt *rapid.T) {
		r := &streamTB{TB: t}
		defer r.runCleanups()
		d.streams++
		m := newMachine(rt, [2]store.Store{a(r), b(r)}, d.covered)
		rt.Repeat(m.actions())
	})
}

// streamTB is a test's TB for one stream: the functions given to Cleanup run at the end of the stream.
type streamTB struct {
	testing.TB
	cleanups []func()
}

func (r *streamTB) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }

func (r *streamTB) runCleanups() {
	for _, f := range slices.Backward(r.cleanups) {
		f()
	}
}

// machine is the state machine that generates one stream: it draws calls, and compares what the two stores answer.
type machine struct {
	stores       [2]store.Store
	covered      coverage
	wide         bool // it has steps of the size of several blocks
	models       []*Model
	lastSteps    []*store.Step // of each model
	parcelCount  int
	parcelDests  []string  // destinations, one for each entry
	prunedBefore park.Time // events before this may be pruned

	mailboxQuery park.MailboxQuery
	lastRead     [2]string // the last message read from the box
	auditQuery   park.AuditQuery
	taskQuery    park.TaskQuery
	listedPool   string
	listCursors  [2]string // of the next page of the pool's tasks
}

func newMachine(rt *rapid.T, stores [2]store.Store, seen coverage) *machine {
	m := &machine{stores: stores, covered: seen}
	if m.wide = rapid.IntRange(1, wideOneIn).Draw(rt, "wide") == wideOneIn; m.wide {
		m.covered["wide stream"]++
	}
	for i := range rapid.IntRange(1, 3).Draw(rt, "pools") {
		model := NewModel("pool-" + strconv.Itoa(i))
		model.idPrefix = "task-"
		m.models = append(m.models, model)
	}
	m.lastSteps = make([]*store.Step, len(m.models))
	return m
}

func (m *machine) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"step": m.step, "step2": m.step, "step3": m.step, "step4": m.step, "step5": m.step, "again": m.again, "stale": m.stale, "broken": m.broken, "late": m.advance,
		"load": m.load, "records": m.records, "list": m.list, "list on": m.listOn,
		"outbox": m.outbox, "deliver": m.deliver, "messages": m.messages, "messages on": m.messagesOn, "trim": m.trim,
		"append": m.append, "events": m.events, "events2": m.events, "events3": m.events, "events on": m.eventsOn, "events on2": m.eventsOn, "prune": m.prune, "reopen": m.reopen,
		"outbox2": m.outbox, "messages2": m.messages, "empty": m.empty, "evidence": m.evidence,
		"": m.checkRow,
	}
}

// drawModel draws a pool.
func (m *machine) drawModel(rt *rapid.T) (*Model, int) {
	i := rapid.IntRange(0, len(m.models)-1).Draw(rt, "pool")
	return m.models[i], i
}

// callBoth calls f for each store and fails the test unless the errors are of the same kind. It reports whether there
// was no error.
func (m *machine) callBoth(rt *rapid.T, f func(i int, s store.Store) error) bool {
	rt.Helper()
	var errs [2]error
	for i, s := range m.stores {
		errs[i] = f(i, s)
	}
	if errorKind(errs[0]) != errorKind(errs[1]) {
		rt.Fatalf("errors differ: %v, %v", errs[0], errs[1])
	}
	return errs[0] == nil
}

// errorKind returns what two stores' errors must have in common.
func errorKind(err error) string {
	if _, ok := errors.AsType[*store.Conflict](err); ok {
		return "conflict"
	}
	return string(park.CodeOf(err))
}

// compare asks both stores and fails the test unless their answers are equal.
func compare[T any](rt *rapid.T, m *machine, what string, f func(i int, s store.Store) (T, error)) (answers [2]T) {
	rt.Helper()
	if m.callBoth(rt, func(i int, s store.Store) (err error) { answers[i], err = f(i, s); return err }) {
		requireEqual(rt, what, answers[0], answers[1])
	}
	return answers
}

// requireEqual fails the test unless two answers are equal.
func requireEqual(rt *rapid.T, what string, a, b any) {
	rt.Helper()
	if diff := difference(a, b); diff != "" {
		rt.Fatalf("%s (-first +second):\n%s", what, diff)
	}
}

// step commits some changes of one pool, in a wide stream sometimes many.
func (m *machine) step(rt *rapid.T) {
	if m.wide && rapid.IntRange(0, 3).Draw(rt, "many") > 0 {
		m.wideStep(rt)
		return
	}
	model, i := m.drawModel(rt)
	if rapid.IntRange(0, 3).Draw(rt, "time passes") == 0 {
		model.Advance(time.Duration(rapid.IntRange(1, 400).Draw(rt, "by")) * time.Second)
	}
	for range rapid.IntRange(1, 5).Draw(rt, "changes") {
		m.change(rt, model)
	}
	m.commitStep(rt, model, i)
}

// commitStep commits the open step of a pool.
func (m *machine) commitStep(rt *rapid.T, model *Model, i int) {
	m.lastSteps[i] = model.Next()
	if !m.callBoth(rt, func(_ int, s store.Store) error { return s.Commit(rt.Context(), m.lastSteps[i]) }) {
		rt.Fatalf("rev %d of pool %s was refused", model.Row.Rev, model.pool)
	}
}

// change adds one change to the open step of a pool.
func (m *machine) change(rt *rapid.T, model *Model) {
	from := func(ids []string) string { return rapid.SampledFrom(ids).Draw(rt, "task") }
	switch n := rapid.IntRange(0, 7).Draw(rt, "change"); {
	case n == 0 && len(model.Queued) > 0:
		model.Start(from(model.Queued))
	case n == 1 && len(model.Running) > 0:
		model.End(from(model.Running), park.Completed, `{"ok":true}`)
	case n == 2 && len(model.Running) > 0:
		model.Requeue(from(model.Running))
	case n == 3 && len(model.Queued) > 0:
		model.End(from(model.Queued), rapid.SampledFrom([]park.Status{park.Expired, park.Dropped}).Draw(rt, "end"), "")
	case n == 4:
		model.Row.State = rapid.SampledFrom(park.PoolStates()).Draw(rt, "state")
		model.Event(park.ActUpdate, nil, `{}`)
	case n == 5 && len(model.Ended) > 0:
		m.parcelCount++
		msg := model.Message(model.Tasks[from(model.Ended)])
		m.addParcel(model, store.OutboxEntry{Dest: m.drawDest(rt), Attempts: m.parcelCount, Message: &msg})
	default:
		model.Submit(func(r *ledger.Record) {
			r.Tenant = rapid.SampledFrom(tenants()).Draw(rt, "tenant")
			r.MailboxKey = rapid.SampledFrom(append(keys(), "")).Draw(rt, "key")
			if r.Tenant != "acme" && r.Tenant != "globex" {
				m.covered["odd tenant"]++
			}
		})
	}
}

// tenants and keys return names that a faulty store might confuse.
func tenants() []string {
	return []string{"acme", "globex", "ACME", "acm", "a_me", "ac%", "x@acme", "acme'", "é", "e\u0301"}
}

func keys() []string { return []string{"alice", "bob", "Alice", "ali%", "al\nice", `ali"ce`} }

func (m *machine) drawDest(rt *rapid.T) string {
	return rapid.SampledFrom([]string{"notify/gpu", "mailbox/file", "audit/postgres"}).Draw(rt, "dest")
}

// again commits a pool's last step again.
func (m *machine) again(rt *rapid.T) {
	if _, i := m.drawModel(rt); m.lastSteps[i] != nil {
		m.callBoth(rt, func(_ int, s store.Store) error { return s.Commit(rt.Context(), m.lastSteps[i]) })
	}
}

// stale commits a step with a wrong rev.
func (m *machine) stale(rt *rapid.T) {
	model, _ := m.drawModel(rt)
	bad := validStep(model)
	bad.Row.Rev += int64(rapid.SampledFrom([]int{-2, -1, 1, 2}).Draw(rt, "off by"))
	ok := m.callBoth(rt, func(_ int, s store.Store) error {
		err := s.Commit(rt.Context(), bad)
		if c, ok := errors.AsType[*store.Conflict](err); ok {
			m.covered["conflict"]++
			requireEqual(rt, "row of the conflict", c.Row, model.StoredRow())
			for _, r := range c.Changed {
				requireEqual(rt, "changed task", asInConflict(r), asInConflict(*model.Tasks[r.TaskID]))
			}
		}
		return err
	})
	if ok {
		rt.Fatal("a stale step was taken")
	}
}

// broken commits a step that inserts a task twice, or updates a task that does not exist.
func (m *machine) broken(rt *rapid.T) {
	model, _ := m.drawModel(rt)
	bad := validStep(model)
	if rapid.Bool().Draw(rt, "twice") {
		bad.Inserts = append(bad.Inserts, bad.Inserts[0])
	} else {
		bad.Updates = []store.Update{{TaskID: "nobody"}}
	}
	if m.callBoth(rt, func(_ int, s store.Store) error { return s.Commit(rt.Context(), bad) }) {
		rt.Fatal("a broken step was taken")
	}
}

// advance moves the clock of one pool ahead of the other pools.
func (m *machine) advance(rt *rapid.T) {
	model, _ := m.drawModel(rt)
	model.Advance(time.Duration(rapid.IntRange(1, 5).Draw(rt, "hours")) * time.Hour)
}

// reopen closes and reopens the stores that can be.
func (m *machine) reopen(rt *rapid.T) {
	for _, s := range m.stores {
		if r, ok := s.(Reopener); ok {
			if err := r.Reopen(); err != nil {
				rt.Fatalf("reopen: %v", err)
			}
			m.covered["reopened"]++
		}
	}
}

// checkRow compares the row of a pool in both stores with the model's.
func (m *machine) checkRow(rt *rapid.T) {
	model, _ := m.drawModel(rt)
	for _, snap := range compare(rt, m, "snapshot", m.snapshot(rt, model.pool)) {
		requireEqual(rt, "row", snap.Row, model.StoredRow())
	}
	compare(rt, m, "last event", func(_ int, s store.Store) (string, error) { return s.LastEvent(rt.Context()) })
}

func (m *machine) snapshot(rt *rapid.T, pool string) func(int, store.Store) (store.Snapshot, error) {
	return func(_ int, s store.Store) (store.Snapshot, error) {
		snap, err := s.Load(rt.Context(), pool)
		slices.SortFunc(snap.Tasks, func(a, b ledger.Record) int { return cmp.Compare(a.TaskID, b.TaskID) })
		return snap, err
	}
}

func (m *machine) load(rt *rapid.T) {
	model, _ := m.drawModel(rt)
	snap := compare(rt, m, "snapshot", m.snapshot(rt, model.pool))
	requireEqual(rt, "live tasks", snap[0].Tasks, model.Live())
}

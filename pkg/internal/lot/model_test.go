package lot_test

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/internal/proof"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/memory"
	"github.com/parkd-dev/parkd/pkg/store/postgres"
	"github.com/parkd-dev/parkd/pkg/store/postgres/pgtest"
	"github.com/parkd-dev/parkd/pkg/store/sqlite"
)

var cluster pgtest.Cluster

func TestMain(m *testing.M) { os.Exit(cluster.Run(m)) }

// TestModel does the same as TestAgainstOracle with stores: each step is committed to each store, sometimes twice,
// sometimes after a stale commit, and each store must then hold what the lot says. The same steps leave the same log
// in every store.
func TestModel(t *testing.T) {
	for _, m := range []struct {
		name          string
		few, ci, long int
		open          []func(testing.TB) *modelStore
	}{
		{"memory", 500, 100_000, 4_000_000, []func(testing.TB) *modelStore{inMemory}},
		{"sqlite", 200, 20_000, 1_200_000, []func(testing.TB) *modelStore{inMemory, onSQLite}},
		{"postgres", 100, 4_000, 200_000, []func(testing.TB) *modelStore{inMemory, onSQLite, onPostgres}},
	} {
		t.Run(m.name, func(t *testing.T) {
			c := proof.Begin(t, "model-"+m.name)
			c.Target("steps", m.few, m.ci, m.long)
			seed := proof.SeedOr(rand.Uint64N(1 << 40))
			c.Seed(strconv.FormatUint(seed, 10) + " and on")
			for c.More("steps") && !t.Failed() {
				seed++
				setRapid(t, seed)
				modelRound(t, c, m.open)
			}
		})
	}
}

func setRapid(t *testing.T, seed uint64) {
	for name, value := range map[string]string{"seed": strconv.FormatUint(seed, 10), "steps": "60", "nofailfile": "true"} {
		if err := flag.Set("rapid."+name, value); err != nil {
			t.Fatal(err)
		}
	}
}

// modelRound runs a hundred histories on one set of stores, each in a pool of its own.
func modelRound(t *testing.T, c *proof.Campaign, open []func(testing.TB) *modelStore) {
	r := &roundTB{TB: t}
	defer r.cleanUp()
	var stores []*modelStore
	for _, o := range open {
		stores = append(stores, o(r))
	}
	history := 0
	rapid.Check(t, func(rt *rapid.T) {
		history++
		d := newStateMachine(rt, rapid.Bool().Draw(rt, "leased"))
		for _, k := range stores {
			k.pool = "p-" + strconv.Itoa(history)
		}
		d.stores = stores
		d.run()
		for _, k := range stores {
			k.checkAll(d)
		}
		c.Add("steps", d.steps)
		c.Add("revs", int(d.row.Rev))
		c.Add("histories", 1)
	})
}

// roundTB is a test's TB for the time of some histories.
type roundTB struct {
	testing.TB
	cleanups []func()
}

func (r *roundTB) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }

func (r *roundTB) cleanUp() {
	for _, f := range slices.Backward(r.cleanups) {
		f()
	}
}

// modelStore is a store that holds the pool of a state machine.
type modelStore struct {
	store.Store
	other  store.Store                 // another way to the same database; nil where there is none
	reopen func() (store.Store, error) // nil where nothing outlives the store
	pool   string
	steps  int
}

func inMemory(testing.TB) *modelStore { return &modelStore{Store: memory.New()} }

func onSQLite(t testing.TB) *modelStore {
	base := "/dev/shm" // what is acknowledged too early is for other tests
	if _, err := os.Stat(base); err != nil {
		base = ""
	}
	dir, err := os.MkdirTemp(base, "parkd-model-") //nolint:usetesting // that one is on a disk
	if err != nil {
		t.Fatal(err)
	}
	k := &modelStore{}
	open := func() (store.Store, error) {
		return sqlite.Open(context.Background(), sqlite.Config{Path: filepath.Join(dir, "parkd.db")})
	}
	k.reopen = func() (store.Store, error) {
		if err := k.Close(); err != nil {
			return nil, err
		}
		return open()
	}
	if k.Store, err = open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = k.Close(), os.RemoveAll(dir) })
	return k
}

func onPostgres(t testing.TB) *modelStore {
	dsn := cluster.Migrated(t)
	open := func() *postgres.Store {
		s, err := postgres.Open(postgres.Config{DSN: dsn})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	return &modelStore{Store: open(), other: open()}
}

// step returns a lot's step as a store takes it, for the store's own pool.
func (k *modelStore) step(s *lot.Step) *store.Step {
	k.steps++
	st := &store.Step{PoolID: k.pool, ID: k.pool + "." + strconv.Itoa(k.steps), Row: s.Row}
	st.Row.LastStep = st.ID
	st.Updates = append(st.Updates, s.Updates...)
	for _, r := range s.Inserts {
		r.PoolID = k.pool
		st.Inserts = append(st.Inserts, r)
	}
	for _, m := range s.Messages {
		m.PoolID, m.Key = k.pool, k.pool
		st.Messages = append(st.Messages, m)
	}
	for _, e := range s.Events {
		e.PoolID, e.EventID = k.pool, park.EventID(k.pool, e.Rev, e.Ord)
		st.Events = append(st.Events, e)
	}
	return st
}

// commit commits a step.
func (k *modelStore) commit(d *stateMachine, s *lot.Step) {
	if len(s.Events) == 0 {
		return
	}
	if k.other != nil {
		k.Store, k.other = k.other, k.Store
	}
	fate := rapid.IntRange(0, 9).Draw(d.T, "fate")
	st, ctx := k.step(s), context.Background()
	if fate == 0 {
		k.commitStale(d, s)
	}
	if err := k.Commit(ctx, st); err != nil {
		d.Fatalf("commit rev %d: %v", s.Row.Rev, err)
	}
	if fate == 1 {
		if err := k.Commit(ctx, st); err != nil {
			d.Fatalf("commit rev %d again: %v", s.Row.Rev, err)
		}
	}
	if fate < 4 {
		k.checkLive(d)
	}
}

// commitStale commits a step for another rev than the next. The store must refuse it.
func (k *modelStore) commitStale(d *stateMachine, s *lot.Step) {
	bad := k.step(s)
	bad.Row.Rev += int64(rapid.SampledFrom([]int{-1, 1}).Draw(d.T, "off"))
	if bad.Row.Rev < 2 {
		return // a first step is not compared with what there is, but has to be right by itself
	}
	err := k.Commit(context.Background(), bad)
	if c, ok := errors.AsType[*store.Conflict](err); !ok || !c.Reload && c.Row.Rev != s.Row.Rev-1 {
		d.Fatalf("a step that came too late: %v", err)
	}
}

// checkLive compares the pool as the store loads it with the lot.
func (k *modelStore) checkLive(d *stateMachine) {
	snap, err := k.Load(context.Background(), k.pool)
	if err != nil {
		d.Fatal(err)
	}
	snap.Row.LastStep = ""
	if d.row.Rev == 0 {
		snap.Row = d.row // the store has not heard of the pool yet
	}
	if diff := diff(d.row, snap.Row); diff != "" {
		d.Fatalf("row (-lot +store):\n%s", diff)
	}
	live := d.liveTasks()
	for i := range live {
		live[i].Payload = nil // what runs or waits is loaded without it
	}
	k.compareRecords(d, "live tasks", live, snap.Tasks)
}

func diff(want, got any) string {
	if reflect.DeepEqual(want, got) { // which is quicker
		return ""
	}
	return gocmp.Diff(want, got, cmpopts.EquateEmpty())
}

func (k *modelStore) compareRecords(d *stateMachine, what string, want, got []ledger.Record) {
	want, got = slices.Clone(want), slices.Clone(got)
	for i := range got {
		got[i].PoolID = "p"
	}
	for _, all := range [][]ledger.Record{want, got} {
		slices.SortFunc(all, func(a, b ledger.Record) int { return cmp.Compare(a.TaskID, b.TaskID) })
	}
	if diff := diff(want, got); diff != "" {
		d.Fatalf("%s (-lot +store):\n%s", what, diff)
	}
}

// checkAll compares all that a history has left in the store: tasks, messages and events.
func (k *modelStore) checkAll(d *stateMachine) {
	k.restart(d)
	ctx := context.Background()
	var ids []string
	var all []ledger.Record
	for id, r := range d.rows {
		ids, all = append(ids, id), append(all, r)
	}
	got, err := k.Records(ctx, k.pool, ids)
	if err != nil {
		d.Fatal(err)
	}
	k.compareRecords(d, "tasks", all, got)
	events, err := k.Events(ctx, park.AuditQuery{PoolID: k.pool, Limit: 1 << 20})
	if err != nil {
		d.Fatal(err)
	}
	for i := range events {
		e := &events[i]
		e.PoolID, e.EventID = "p", "" // which the lot leaves to who reads
	}
	if diff := diff(d.events, events); diff != "" {
		d.Fatalf("log (-lot +store):\n%s", diff)
	}
	k.checkMailbox(d)
}

// checkMailbox checks that each ended task has one message.
func (k *modelStore) checkMailbox(d *stateMachine) {
	messages, err := k.Messages(context.Background(), park.MailboxQuery{Tenant: "t", Key: k.pool, Limit: 1 << 20})
	if err != nil {
		d.Fatal(err)
	}
	messageOf := make(map[string]string)
	for _, m := range messages {
		if _, twice := messageOf[m.TaskID]; twice {
			d.Fatalf("task %s has two messages", m.TaskID)
		}
		messageOf[m.TaskID] = fmt.Sprint(m.Status, m.Attempt, m.Reason)
	}
	for id, r := range d.rows {
		want := fmt.Sprint(r.Status, r.Attempt, r.Reason)
		if !r.Status.Ended() {
			want = ""
		}
		if messageOf[id] != want {
			d.Fatalf("task %s is %q, its message says %q", id, want, messageOf[id])
		}
	}
}

// restart closes the store and opens it again, if the store can, and compares the pool.
func (k *modelStore) restart(d *stateMachine) {
	if k.reopen != nil && rapid.IntRange(0, 49).Draw(d.T, "reopen") == 0 {
		s, err := k.reopen()
		if err != nil {
			d.Fatal(err)
		}
		k.Store = s
	}
	k.checkLive(d)
}

package storetest

import (
	"maps"
	"slices"
	"strconv"
	"testing"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

func conflictTests() group {
	return group{
		"a rev that is not the next one is refused": testRevs,
		"an older step is not taken again":          testOlder,
		"one step behind":                           behind(1, 2),
		"a few steps behind":                        behind(20, 3),
		"hundreds of steps behind":                  behind(300, 1),
		"thousands of tasks behind":                 behind(3, 1000),
		"behind by steps without a task":            testBehindBare,
		"a pool that others have emptied":           testBehindEmptied,
	}
}

func testRevs(t *testing.T, s store.Store) {
	try := func(rev int64, id string) *store.Conflict {
		t.Helper()
		st := &store.Step{PoolID: "gpu", ID: id, Row: ledger.Pool{Rev: rev, LastStep: id, State: park.Active}}
		st.Inserts = []ledger.Record{{Spec: ledger.Spec{PoolID: "gpu", TaskID: id}, State: ledger.State{Status: park.Queued}}}
		st.Events = []park.Event{{PoolID: "gpu", Rev: rev, Action: park.ActSubmit, TaskID: id}}
		return wantConflict(t, s.Commit(t.Context(), st))
	}
	for _, rev := range []int64{2, 3, 100} {
		same(t, "row", try(rev, "early-"+strconv.FormatInt(rev, 10)).Row, ledger.Pool{})
	}
	same(t, "snapshot", load(t, s, "gpu"), store.Snapshot{})

	f := NewFeed("gpu")
	for range 3 {
		f.Submit(nil)
		commit(t, s, f.Next())
	}
	for _, rev := range []int64{-1, 0, 1, 2, 3, 5, 6, 1000} {
		same(t, "row", try(rev, "rev-"+strconv.FormatInt(rev, 10)).Row, f.Row)
	}
	wantState(t, s, f)
}

// testOlder sends steps again that others came after. A store may still know that it has them.
func testOlder(t *testing.T, s store.Store) {
	f := NewFeed("gpu")
	var steps []*store.Step
	for range 3 {
		f.Submit(nil)
		steps = append(steps, f.Next())
		commit(t, s, steps[len(steps)-1])
	}
	for _, old := range steps[:2] {
		if err := s.Commit(t.Context(), old); err != nil {
			wantConflict(t, err)
		}
	}
	wantState(t, s, f)
}

// replica is what an engine knows of a pool: it starts from Load and follows conflicts.
type replica struct {
	row   ledger.Pool
	tasks map[string]ledger.Record
}

func newReplica(t testing.TB, s store.Store, pool string) *replica {
	t.Helper()
	snap := load(t, s, pool)
	r := &replica{row: snap.Row, tasks: make(map[string]ledger.Record)}
	r.take(snap.Tasks)
	return r
}

func (r *replica) take(changed []ledger.Record) {
	for _, c := range changed {
		if c.Status.Ended() {
			delete(r.tasks, c.TaskID)
		} else {
			r.tasks[c.TaskID] = c
		}
	}
}

// step returns a step as this replica would have it.
func (r *replica) step(pool, id string) *store.Step {
	row := r.row
	row.Rev++
	row.LastStep = id
	return &store.Step{
		PoolID: pool, ID: id, Row: row,
		Events: []park.Event{{EventID: park.EventID(pool, row.Rev, 0), PoolID: pool, Rev: row.Rev, Action: park.ActUpdate, At: row.LastAt}},
	}
}

// follow takes over what a conflict tells, or loads the pool where it says so.
func (r *replica) follow(t testing.TB, s store.Store, pool string, c *store.Conflict) {
	t.Helper()
	if c.Reload {
		*r = *newReplica(t, s, pool)
		return
	}
	if c.Row.Rev <= r.row.Rev {
		t.Fatalf("the conflict is at rev %d and the step began at %d", c.Row.Rev, r.row.Rev)
	}
	r.row = c.Row
	r.take(c.Changed)
}

// wantLevel fails the test unless a replica that has fallen behind follows by a conflict to where the feed is.
func wantLevel(t *testing.T, s store.Store, f *Feed, r *replica) {
	t.Helper()
	c := wantConflict(t, s.Commit(t.Context(), r.step(f.pool, "late")))
	for _, rec := range c.Changed {
		same(t, "changed task", told(rec), told(*f.Tasks[rec.TaskID]))
	}
	r.follow(t, s, f.pool, c)
	same(t, "row", r.row, f.Row)
	live := slices.Collect(maps.Values(r.tasks))
	byTask(live)
	same(t, "live tasks", live, f.Live())
	if err := s.Commit(t.Context(), r.step(f.pool, "level")); err != nil {
		t.Fatalf("commit after the conflict: %v", err)
	}
}

// behind tests a replica that misses some steps of some tasks each.
func behind(steps, tasks int) func(*testing.T, store.Store) {
	return func(t *testing.T, s store.Store) {
		f := NewFeed("gpu")
		for range tasks * 2 {
			f.Submit(nil)
		}
		commit(t, s, f.Next())
		r := newReplica(t, s, "gpu")
		for range steps {
			for range tasks {
				f.Submit(nil)
				f.Start(f.Queued[0])
				if len(f.Running) > 1 {
					f.End(f.Running[0], park.Completed, `{"ok":true}`)
				}
			}
			commit(t, s, f.Next())
		}
		wantLevel(t, s, f, r)
	}
}

func testBehindBare(t *testing.T, s store.Store) {
	f := NewFeed("gpu")
	f.Submit(nil)
	commit(t, s, f.Next())
	r := newReplica(t, s, "gpu")
	for _, state := range []park.PoolState{park.Paused, park.Draining} {
		f.Row.State = state
		f.Event(park.ActUpdate, nil, "")
		commit(t, s, f.Next())
	}
	wantLevel(t, s, f, r)
}

func testBehindEmptied(t *testing.T, s store.Store) {
	f := NewFeed("gpu")
	for range 4 {
		f.Submit(nil)
	}
	commit(t, s, f.Next())
	r := newReplica(t, s, "gpu")
	for len(f.Queued) > 0 {
		f.End(f.Queued[0], park.Dropped, "")
		commit(t, s, f.Next())
	}
	wantLevel(t, s, f, r)
}

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

func conflictTests() storeTests {
	return storeTests{
		"a wrong rev is refused":          testRevs,
		"an older step changes nothing":   testOlder,
		"one step behind":                 behind(1, 2),
		"a few steps behind":              behind(20, 3),
		"hundreds of steps behind":        behind(300, 1),
		"thousands of tasks behind":       behind(3, 1000),
		"behind by steps without tasks":   testBehindEventsOnly,
		"a pool that others have emptied": testBehindEmptied,
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
		equal(t, "row", try(rev, "early-"+strconv.FormatInt(rev, 10)).Row, ledger.Pool{})
	}
	equal(t, "snapshot", load(t, s, "gpu"), store.Snapshot{})

	model := NewModel("gpu")
	for range 3 {
		model.Submit(nil)
		commit(t, s, model.Next())
	}
	for _, rev := range []int64{-1, 0, 1, 2, 3, 5, 6, 1000} {
		equal(t, "row", try(rev, "rev-"+strconv.FormatInt(rev, 10)).Row, model.Row)
	}
	wantState(t, s, model)
}

// testOlder commits steps again after later ones. A store may remember that it has them, or return a conflict.
func testOlder(t *testing.T, s store.Store) {
	model := NewModel("gpu")
	var steps []*store.Step
	for range 3 {
		model.Submit(nil)
		steps = append(steps, model.Next())
		commit(t, s, steps[len(steps)-1])
	}
	for _, old := range steps[:2] {
		if err := s.Commit(t.Context(), old); err != nil {
			wantConflict(t, err)
		}
	}
	wantState(t, s, model)
}

// replica is an engine's view of a pool: it begins with Load and is brought up to date by conflicts.
type replica struct {
	row   ledger.Pool
	tasks map[string]ledger.Record
}

func newReplica(t testing.TB, s store.Store, pool string) *replica {
	t.Helper()
	snap := load(t, s, pool)
	r := &replica{row: snap.Row, tasks: make(map[string]ledger.Record)}
	r.apply(snap.Tasks)
	return r
}

// apply applies changed tasks.
func (r *replica) apply(changed []ledger.Record) {
	for _, c := range changed {
		if c.Status.Ended() {
			delete(r.tasks, c.TaskID)
		} else {
			r.tasks[c.TaskID] = c
		}
	}
}

// step returns a step that an engine with this view would commit.
func (r *replica) step(pool, id string) *store.Step {
	row := r.row
	row.Rev++
	row.LastStep = id
	return &store.Step{
		PoolID: pool, ID: id, Row: row,
		Events: []park.Event{{EventID: park.EventID(pool, row.Rev, 0), PoolID: pool, Rev: row.Rev, Action: park.ActUpdate, At: row.LastAt}},
	}
}

// catchUp applies a conflict to the replica, or loads the pool if the conflict says so.
func (r *replica) catchUp(t testing.TB, s store.Store, pool string, c *store.Conflict) {
	t.Helper()
	if c.Reload {
		*r = *newReplica(t, s, pool)
		return
	}
	if c.Row.Rev <= r.row.Rev {
		t.Fatalf("the conflict is at rev %d and the step began at %d", c.Row.Rev, r.row.Rev)
	}
	r.row = c.Row
	r.apply(c.Changed)
}

// wantCatchUp fails the test unless a conflict brings a replica to the state of the model.
func wantCatchUp(t *testing.T, s store.Store, model *Model, r *replica) {
	t.Helper()
	c := wantConflict(t, s.Commit(t.Context(), r.step(model.pool, "late")))
	for _, rec := range c.Changed {
		equal(t, "changed task", asInConflict(rec), asInConflict(*model.Tasks[rec.TaskID]))
	}
	r.catchUp(t, s, model.pool, c)
	equal(t, "row", r.row, model.Row)
	live := slices.Collect(maps.Values(r.tasks))
	sortByTask(live)
	equal(t, "live tasks", live, model.Live())
	if err := s.Commit(t.Context(), r.step(model.pool, "level")); err != nil {
		t.Fatalf("commit after the conflict: %v", err)
	}
}

// behind returns a test of a replica that has missed some steps, each of some tasks.
func behind(steps, tasks int) func(*testing.T, store.Store) {
	return func(t *testing.T, s store.Store) {
		model := NewModel("gpu")
		for range tasks * 2 {
			model.Submit(nil)
		}
		commit(t, s, model.Next())
		r := newReplica(t, s, "gpu")
		for range steps {
			for range tasks {
				model.Submit(nil)
				model.Start(model.Queued[0])
				if len(model.Running) > 1 {
					model.End(model.Running[0], park.Completed, `{"ok":true}`)
				}
			}
			commit(t, s, model.Next())
		}
		wantCatchUp(t, s, model, r)
	}
}

func testBehindEventsOnly(t *testing.T, s store.Store) {
	model := NewModel("gpu")
	model.Submit(nil)
	commit(t, s, model.Next())
	r := newReplica(t, s, "gpu")
	for _, state := range []park.PoolState{park.Paused, park.Draining} {
		model.Row.State = state
		model.Event(park.ActUpdate, nil, "")
		commit(t, s, model.Next())
	}
	wantCatchUp(t, s, model, r)
}

func testBehindEmptied(t *testing.T, s store.Store) {
	model := NewModel("gpu")
	for range 4 {
		model.Submit(nil)
	}
	commit(t, s, model.Next())
	r := newReplica(t, s, "gpu")
	for len(model.Queued) > 0 {
		model.End(model.Queued[0], park.Dropped, "")
		commit(t, s, model.Next())
	}
	wantCatchUp(t, s, model, r)
}

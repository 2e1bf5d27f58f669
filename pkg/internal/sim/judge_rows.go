package sim

import (
	"maps"
	"slices"

	"github.com/parkd-dev/parkd/pkg/ledger"
)

// checkRows compares the rows of a step with its events, in both directions.
func (j *judge) checkRows(w *step, touched map[string]*taskLife) {
	told := 0
	look := func(id string, row *ledger.State) {
		t := touched[id]
		if t == nil {
			j.fail("rows", "rev %d changes the row of task %s, and tells of nothing that happened to it", w.Row.Rev, id)
			return
		}
		told++
		if t.hasRow {
			j.fail("rows", "rev %d has two rows of task %s", w.Row.Rev, id)
		}
		t.hasRow = true
		j.compareRow(t, row)
		t.states = append(t.states, stateAt{j.now, *row})
	}
	for i := range w.Inserts {
		look(w.Inserts[i].TaskID, &w.Inserts[i].State)
	}
	for i := range w.Updates {
		look(w.Updates[i].TaskID, &w.Updates[i].State)
	}
	for _, id := range slices.Sorted(maps.Keys(touched)) {
		t := touched[id]
		if !t.hasRow {
			j.fail("rows", "rev %d tells of task %s, and has no row of it", w.Row.Rev, id)
		}
		t.hasRow, t.touched = false, false
	}
}

// compareRow compares a task's row with its state by the log.
func (j *judge) compareRow(t *taskLife, row *ledger.State) {
	want, got := t.state, *row
	want.Rank = got.Rank
	if !sameState(&want, &got) {
		j.fail("rows", "task %s is by its log %+v, and by its row %+v", t.id, want, got)
	}
	t.state.Rank = got.Rank
}

func sameState(a, b *ledger.State) bool {
	return string(a.Result) == string(b.Result) && a.NotBefore.Equal(b.NotBefore.Time) && a.StartedAt.Equal(b.StartedAt.Time) &&
		a.EndedAt.Equal(b.EndedAt.Time) && a.Status == b.Status && a.Rank == b.Rank && a.Attempt == b.Attempt && a.Failures == b.Failures &&
		a.Cancelled == b.Cancelled && a.Node == b.Node && a.Lease == b.Lease && a.LeaseTTL == b.LeaseTTL && a.Reason == b.Reason && a.Message == b.Message
}

// checkPoolRow compares the pool's row after a step with its log.
func (j *judge) checkPoolRow(l *poolRecord, w *step) {
	s, r := l.log.State(), &w.Row
	if s.Used != r.Used || s.Queued != r.Queued || s.Rev != r.Rev || s.Limits.MaxUnits != r.MaxUnits || s.Limits.MaxQueueDepth != r.MaxQueueDepth || s.Limits.State != r.State {
		j.fail("accounting", "pool %s says rev %d, %d of %d units, %d of %d parked, %s; its log says %d, %d of %d, %d of %d, %s", w.PoolID,
			r.Rev, r.Used, r.MaxUnits, r.Queued, r.MaxQueueDepth, r.State, s.Rev, s.Used, s.Limits.MaxUnits, s.Queued, s.Limits.MaxQueueDepth, s.Limits.State)
	}
	if r.LastStep != "" && r.LastStep != w.ID {
		j.fail("accounting", "rev %d of pool %s names the step %s, and is %s", r.Rev, w.PoolID, r.LastStep, w.ID)
	}
}

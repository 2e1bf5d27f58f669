package lot

import (
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

// undoRecord is how an entry was before the current step touched it, and what becomes of it.
type undoRecord struct {
	ref     ref
	spec    *ledger.Spec // of an entry that the step created
	before  entry        // of any other
	outcome park.Outcome // of one that the step ended
}

// recordUndo notes how e is before the current step changes it.
func (l *Lot) recordUndo(e *entry) {
	if e.undoIndex == 0 {
		u := appendZero(&l.undoLog)
		u.ref, u.before = e.ref, *e
		e.undoIndex = int32(len(l.undoLog))
	}
}

// addNew adds the entry of a new task in its first place.
func (l *Lot) addNew(e *entry, spec *ledger.Spec) {
	u := appendZero(&l.undoLog)
	u.ref, u.spec = e.ref, spec
	e.undoIndex = int32(len(l.undoLog))
	l.add(e)
}

// Rollback takes the last Apply back, as if it had not been. It may be called once after an Apply.
// Demands that were counted down stay so. The step is the caller's: a store that failed may still be looking at it.
func (l *Lot) Rollback() {
	// All leave before any returns: one may hold a rank now that was another's before.
	for i := range l.undoLog {
		l.remove(l.tasks.at(l.undoLog[i].ref))
	}
	for i := range l.undoLog {
		u := &l.undoLog[i]
		e := l.tasks.at(u.ref)
		ended := u.outcome.Status != ""
		switch {
		case u.spec != nil:
			if !ended {
				l.tasks.removeFromIndex(e)
			}
			l.tasks.release(e)
		default:
			*e = u.before
			e.undoIndex, e.timer = 0, 0
			if ended {
				l.tasks.addToIndex(e)
			}
			l.add(e)
		}
	}
	clear(l.undoLog)
	l.undoLog = l.undoLog[:0]
	l.step, l.results = &Step{}, nil
	l.row = l.rowBefore
}

// Finalize lets go of the last step, which can no longer be taken back: of its entries that are over, and of what the
// step holds, to be used again. The next Apply does it if need be.
func (l *Lot) Finalize() {
	for i := range l.undoLog {
		u := &l.undoLog[i]
		if u.outcome.Status == "" {
			continue
		}
		e := l.tasks.at(u.ref)
		if e.run != nil && len(l.spareRuns) < maxSpare {
			l.spareRuns = append(l.spareRuns, e.run)
		}
		l.tasks.release(e)
	}
	reset(&l.undoLog)
	reset(&l.results)
	l.step.reset()
}

// newRun returns a run with nothing in it.
func (l *Lot) newRun() *run {
	if n := len(l.spareRuns); n > 0 {
		r := l.spareRuns[n-1]
		l.spareRuns = l.spareRuns[:n-1]
		*r = run{}
		return r
	}
	return &run{}
}

// maxSpare bounds what is kept to be used again: a step that ends a million tasks is not the rule.
const maxSpare = 2048

// reset empties s, whose memory is used again unless it is too much to keep.
// Without it a task costs the daemon 10 % more processor time: median of 5 pairs of runs in memory, of 8 clients that submit
// batches of 100 (the load of docs/bench).
func reset[T any](s *[]T) {
	if cap(*s) > maxSpare {
		*s = nil
		return
	}
	clear(*s)
	*s = (*s)[:0]
}

// appendZero adds a zero element to s, which was emptied by reuse, and returns it.
func appendZero[T any](s *[]T) *T {
	if n := len(*s); n < cap(*s) {
		*s = (*s)[:n+1]
	} else {
		var zero T
		*s = append(*s, zero)
	}
	return &(*s)[len(*s)-1]
}

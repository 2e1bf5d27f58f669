package lot

import (
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

// undo is how an entry was before the current step touched it, and what becomes of it.
type undo struct {
	ref     ref
	spec    *ledger.Spec // of an entry that the step created
	before  entry        // of any other
	outcome park.Outcome // of one that the step ended
}

// touch notes how e is before the current step changes it.
func (l *Lot) touch(e *entry) {
	if e.touched == 0 {
		u := extend(&l.journal)
		u.ref, u.before = e.ref, *e
		e.touched = int32(len(l.journal))
	}
}

// create adds the entry of a new task in its first place.
func (l *Lot) create(e *entry, spec *ledger.Spec) {
	u := extend(&l.journal)
	u.ref, u.spec = e.ref, spec
	e.touched = int32(len(l.journal))
	l.add(e)
}

// Rollback takes the last Apply back, as if it had not been. It may be called once after an Apply.
// Demands that were counted down stay so. The step is the caller's: a store that failed may still be looking at it.
func (l *Lot) Rollback() {
	// All leave before any returns: one may hold a rank now that was another's before.
	for i := range l.journal {
		l.remove(l.tasks.at(l.journal[i].ref))
	}
	for i := range l.journal {
		u := &l.journal[i]
		e := l.tasks.at(u.ref)
		ended := u.outcome.Status != ""
		switch {
		case u.spec != nil:
			if !ended {
				l.tasks.leave(e)
			}
			l.tasks.release(e)
		default:
			*e = u.before
			e.touched, e.timer = 0, 0
			if ended {
				l.tasks.enter(e)
			}
			l.add(e)
		}
	}
	clear(l.journal)
	l.journal = l.journal[:0]
	l.step, l.results = &Step{}, nil
	l.row = l.before
}

// Settle lets go of the last step, which can no longer be taken back: of its entries that are over, and of what the
// step holds, to be used again. The next Apply does it if need be.
func (l *Lot) Settle() {
	for i := range l.journal {
		u := &l.journal[i]
		if u.outcome.Status == "" {
			continue
		}
		e := l.tasks.at(u.ref)
		if e.run != nil && len(l.runs) < mostSpare {
			l.runs = append(l.runs, e.run)
		}
		l.tasks.release(e)
	}
	reuse(&l.journal)
	reuse(&l.results)
	l.step.reuse()
}

// newRun returns a run with nothing in it.
func (l *Lot) newRun() *run {
	if n := len(l.runs); n > 0 {
		r := l.runs[n-1]
		l.runs = l.runs[:n-1]
		*r = run{}
		return r
	}
	return &run{}
}

// mostSpare bounds what is kept to be used again: a step that ends a million tasks is not the rule.
const mostSpare = 2048

// reuse empties s, whose memory is used again unless it is too much to keep.
// Without it a task costs the daemon 10 % more processor time: median of 5 pairs of runs in memory, of 8 clients that submit
// batches of 100 (the load of docs/bench).
func reuse[T any](s *[]T) {
	if cap(*s) > mostSpare {
		*s = nil
		return
	}
	clear(*s)
	*s = (*s)[:0]
}

// extend adds a zero element to s, which was emptied by reuse, and returns it.
func extend[T any](s *[]T) *T {
	if n := len(*s); n < cap(*s) {
		*s = (*s)[:n+1]
	} else {
		var zero T
		*s = append(*s, zero)
	}
	return &(*s)[len(*s)-1]
}

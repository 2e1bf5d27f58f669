package lot

import (
	"github.com/parkd-dev/parkd/pkg/park"
)

const lowest = park.Low

// nextTask returns the parked task that is to start next, or nil if no waiting task can ever start. The caller checks
// whether the task fits. If it does not, nothing starts: this is the strict order, in which no task overtakes another of
// its own or a higher class. Only tasks that cost more than the pool has are skipped. The pool's capacity was lowered, and
// they could not start even if the pool were empty. They keep their places in case the capacity is raised again.
//
// A policy that fills the gap before a large task belongs here: it would take the free units and return another task that
// fits. Everything else in this package works with any choice.
func (l *Lot) nextTask() *entry {
	for i := len(l.classes) - 1; i >= 0; i-- {
		if e := l.classes[i].first(&l.tasks, l.row.MaxUnits); e != nil {
			return e
		}
	}
	return nil
}

// fits reports whether a task with these units and this size may start now. The comparison cannot overflow.
func (l *Lot) fits(units int64, size int32) bool {
	return l.row.State != park.Paused && units <= l.row.MaxUnits-l.used && l.executorReady(size)
}

// executorReady reports whether this node or a worker can run a task of the given size.
func (l *Lot) executorReady(size int32) bool {
	if !l.leased {
		return !l.held && l.startsLeft != 0
	}
	return !l.held && l.requestFor(size) >= 0
}

// canStart reports whether a task that arrives now would start now: it fits, and no startable task of its own or a higher
// class waits.
func (l *Lot) canStart(p park.Priority, units int64, size int32) bool {
	for i := int(p - lowest); i < len(l.classes); i++ {
		if l.classes[i].first(&l.tasks, l.row.MaxUnits) != nil {
			return false
		}
	}
	return l.fits(units, size)
}

// startReady starts tasks in order until the next one does not fit.
func (l *Lot) startReady() {
	for e := l.nextTask(); e != nil && l.fits(e.units, e.size); e = l.nextTask() {
		l.start(e)
	}
}

package lot

import (
	"github.com/parkd-dev/parkd/pkg/park"
)

const lowest = park.Low

// nextTask returns the parked task that is to start next, nil where none waits that ever can. Whether it fits is for the
// caller to see, and if it does not, nothing starts: this is the strict order, in which nothing overtakes a
// task of its own or a higher class. Only tasks that cost more than the pool has, because its capacity was lowered, are
// passed over: they could not start if the pool were empty. They keep their places for the case that it comes back.
//
// A policy that fills the gap before a large task belongs here: it would be told the free units and return
// another task that fits. Everything else in this package holds for any choice.
func (l *Lot) nextTask() *entry {
	for i := len(l.classes) - 1; i >= 0; i-- {
		if e := l.classes[i].first(&l.tasks, l.row.MaxUnits); e != nil {
			return e
		}
	}
	return nil
}

// fits says whether a task of so many units and of a size may start now. It is written so that nothing can wrap.
func (l *Lot) fits(units int64, size int32) bool {
	return l.row.State != park.Paused && units <= l.row.MaxUnits-l.used && l.executorReady(size)
}

// executorReady says whether there is someone to do the work of a task of the given size.
func (l *Lot) executorReady(size int32) bool {
	if !l.leased {
		return !l.held && l.startsLeft != 0
	}
	return !l.held && l.requestFor(size) >= 0
}

// canStart says whether a task that arrives now would start now: it fits, and nobody of its own or a higher
// class is waiting who ever could.
func (l *Lot) canStart(p park.Priority, units int64, size int32) bool {
	for i := int(p - lowest); i < len(l.classes); i++ {
		if l.classes[i].first(&l.tasks, l.row.MaxUnits) != nil {
			return false
		}
	}
	return l.fits(units, size)
}

// startReady starts what fits, in order, until the next does not.
func (l *Lot) startReady() {
	for e := l.nextTask(); e != nil && l.fits(e.units, e.size); e = l.nextTask() {
		l.start(e)
	}
}

package loadtest

import (
	"cmp"
	"maps"
	"math"
	"slices"

	"github.com/parkd-dev/parkd/pkg/park"
)

// moment is a step of a pool.
type moment struct {
	rev int64
	at  int64 // microseconds since 1970
}

// lineup is the judge's own notion of who is to start when. It plays the log beside a pool that never hesitates:
// the moment the first in line fits into what is free, that pool owes it its start, sets its units aside and
// looks at the next. The wake time of a task is from the moment it was owed its start until it started. A pool
// that sleeps is thereby charged for every task that it let sleep, and not only for the first in line.
//
// The order is by priority, then by arrival. Tasks that were requeued come before those of their priority
// that still wait for their first run, the last one first, though any order among them is allowed. Tasks that cost more
// than the pool has are passed over: they are not in the line until its capacity comes back.
type lineup struct {
	classes [4]class
	parked  map[string]*place
	owed    int64 // units set aside
	most    int64 // that the pool has
	arrived int64 // tasks so far
	live    [4]int64
}

// place is one parked task.
type place struct {
	id       string
	units    int64
	priority park.Priority
	again    bool // requeued
	order    int64
	owed     bool
	since    moment // it was owed
	gone     bool
}

// class is the parked tasks of one priority.
type class struct {
	again []*place        // requeued, the next one last
	queue []*place        // by arrival
	large map[*place]bool // those that cost more than the pool has
	head  int             // before it, all of the queue has gone
	owing int             // before it, all of the queue has gone or is owed its start
}

func newLineup() *lineup { return &lineup{parked: map[string]*place{}, most: math.MaxInt64} }

func (l *lineup) class(p park.Priority) *class { return &l.classes[int(p-park.Low)] }

// park puts a task into the line: at the end of its class, or in front of it after a run that was lost.
func (l *lineup) park(id string, p park.Priority, units int64, again bool) {
	l.leave(id)
	l.arrived++
	t := &place{id: id, units: units, priority: p, again: again, order: l.arrived}
	l.parked[id] = t
	l.live[int(p-park.Low)]++
	l.class(p).join(t, l.most)
}

func (c *class) join(t *place, most int64) {
	switch {
	case t.units > most:
		if c.large == nil {
			c.large = make(map[*place]bool)
		}
		c.large[t] = true
	case t.again:
		c.again = append(c.again, t)
	default:
		c.queue = append(c.queue, t)
	}
}

// leave takes a task out of the line and returns since when it was owed its start, if it was.
func (l *lineup) leave(id string) (moment, bool) {
	t := l.parked[id]
	if t == nil {
		return moment{}, false
	}
	delete(l.parked, id)
	l.live[int(t.priority-park.Low)]--
	t.gone = true
	if t.owed {
		l.owed -= t.units
	}
	c := l.class(t.priority)
	delete(c.large, t)
	if t.again {
		c.again = slices.DeleteFunc(c.again, func(o *place) bool { return o == t })
	}
	c.trim()
	return t.since, t.owed
}

// trim forgets the beginning of the queue that has gone.
func (c *class) trim() {
	for c.head < len(c.queue) && c.queue[c.head].gone {
		c.queue[c.head] = nil
		c.head++
	}
	c.owing = max(c.owing, c.head)
	if c.head > 1024 && c.head > len(c.queue)/2 {
		c.queue = slices.Delete(c.queue, 0, c.head)
		c.head, c.owing = 0, c.owing-c.head
	}
}

// last returns the position of the last task of a priority.
func (l *lineup) last(p park.Priority) (n int64) {
	for _, live := range l.live[int(p-park.Low):] {
		n += live
	}
	return n
}

// isNext reports whether a task may start now as far as the order goes. A task that is not parked may, when
// nobody of its own or a higher class is.
func (l *lineup) isNext(id string, p park.Priority) bool {
	t := l.parked[id]
	for i := len(l.classes) - 1; i >= 0; i-- {
		c := &l.classes[i]
		switch {
		case t == nil && i < int(p-park.Low):
			return true
		case len(c.again) > 0:
			return t != nil && t.again && l.class(t.priority) == c
		case c.head < len(c.queue):
			return t == c.queue[c.head]
		}
	}
	return t == nil
}

// settle owes their starts to all that could start at a moment at which so many units are free.
func (l *lineup) settle(m moment, free int64) {
	for t := l.next(); t != nil && t.units <= free-l.owed; t = l.next() {
		t.owed, t.since = true, m
		l.owed += t.units
	}
}

// next returns the first in line that is not owed its start yet.
func (l *lineup) next() *place {
	for i := len(l.classes) - 1; i >= 0; i-- {
		c := &l.classes[i]
		for _, t := range slices.Backward(c.again) {
			if !t.owed {
				return t
			}
		}
		for ; c.owing < len(c.queue); c.owing++ {
			if t := c.queue[c.owing]; !t.gone && !t.owed {
				return t
			}
		}
	}
	return nil
}

// resize takes all debts back, because the pool's limits have changed, and sees who is in line now that it has so many units.
func (l *lineup) resize(most int64) {
	l.owed, l.most = 0, most
	all := slices.SortedFunc(maps.Values(l.parked), func(a, b *place) int { return cmp.Compare(a.order, b.order) })
	l.classes = [4]class{}
	for _, t := range all {
		t.owed = false
		l.class(t.priority).join(t, most)
	}
}

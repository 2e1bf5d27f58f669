package loadtest

import (
	"cmp"
	"maps"
	"math"
	"slices"

	"github.com/parkd-dev/parkd/pkg/park"
)

// stepTime is a step of a pool.
type stepTime struct {
	rev int64
	at  int64 // microseconds since 1970
}

// idealPool is the judge's model of who is to start when: a pool without delays. As soon as the first parked task fits
// into the free units, it reserves the units for it and continues with the next task. The wake time of a task is from
// its reservation until its start. So a slow pool is charged for every task that it delays, and not only for the first.
//
// The order is by priority, then by arrival. Requeued tasks come before those of the same priority that wait for their
// first run, the last one first, though any order among them is allowed. Tasks that cost more than the pool has are
// skipped until its capacity is raised.
type idealPool struct {
	classes  [4]class
	parked   map[string]*parkedTask
	reserved int64 // units
	maxUnits int64 // that the pool has
	arrived  int64 // tasks so far
	live     [4]int64
}

// parkedTask is one parked task.
type parkedTask struct {
	id         string
	units      int64
	priority   park.Priority
	requeued   bool
	order      int64
	reserved   bool
	reservedAt stepTime
	left       bool
}

// class is the parked tasks of one priority.
type class struct {
	requeued        []*parkedTask        // requeued, the next one last
	queue           []*parkedTask        // by arrival
	large           map[*parkedTask]bool // those that cost more than the pool has
	head            int                  // all tasks of the queue before it have left
	firstUnreserved int                  // all tasks of the queue before it have left or are reserved
}

func newIdealPool() *idealPool {
	return &idealPool{parked: map[string]*parkedTask{}, maxUnits: math.MaxInt64}
}

func (l *idealPool) class(p park.Priority) *class { return &l.classes[int(p-park.Low)] }

// park parks a task: at the end of its class, or in front of it after a lost run.
func (l *idealPool) park(id string, p park.Priority, units int64, again bool) {
	l.leave(id)
	l.arrived++
	t := &parkedTask{id: id, units: units, priority: p, requeued: again, order: l.arrived}
	l.parked[id] = t
	l.live[int(p-park.Low)]++
	l.class(p).join(t, l.maxUnits)
}

func (c *class) join(t *parkedTask, most int64) {
	switch {
	case t.units > most:
		if c.large == nil {
			c.large = make(map[*parkedTask]bool)
		}
		c.large[t] = true
	case t.requeued:
		c.requeued = append(c.requeued, t)
	default:
		c.queue = append(c.queue, t)
	}
}

// leave removes a task and returns since when it was reserved, if it was.
func (l *idealPool) leave(id string) (stepTime, bool) {
	t := l.parked[id]
	if t == nil {
		return stepTime{}, false
	}
	delete(l.parked, id)
	l.live[int(t.priority-park.Low)]--
	t.left = true
	if t.reserved {
		l.reserved -= t.units
	}
	c := l.class(t.priority)
	delete(c.large, t)
	if t.requeued {
		c.requeued = slices.DeleteFunc(c.requeued, func(o *parkedTask) bool { return o == t })
	}
	c.trim()
	return t.reservedAt, t.reserved
}

// trim removes the tasks at the beginning of the queue that have left.
func (c *class) trim() {
	for c.head < len(c.queue) && c.queue[c.head].left {
		c.queue[c.head] = nil
		c.head++
	}
	c.firstUnreserved = max(c.firstUnreserved, c.head)
	if c.head > 1024 && c.head > len(c.queue)/2 {
		c.queue = slices.Delete(c.queue, 0, c.head)
		c.head, c.firstUnreserved = 0, c.firstUnreserved-c.head
	}
}

// last returns the position of the last task of a priority.
func (l *idealPool) last(p park.Priority) (n int64) {
	for _, live := range l.live[int(p-park.Low):] {
		n += live
	}
	return n
}

// isNext reports whether a task may start now as far as the order goes. A task that is not parked may, when
// nobody of its own or a higher class is.
func (l *idealPool) isNext(id string, p park.Priority) bool {
	t := l.parked[id]
	for i := len(l.classes) - 1; i >= 0; i-- {
		c := &l.classes[i]
		switch {
		case t == nil && i < int(p-park.Low):
			return true
		case len(c.requeued) > 0:
			return t != nil && t.requeued && l.class(t.priority) == c
		case c.head < len(c.queue):
			return t == c.queue[c.head]
		}
	}
	return t == nil
}

// reserveStarts reserves the starts of all tasks that fit into the free units at a step.
func (l *idealPool) reserveStarts(m stepTime, free int64) {
	for t := l.next(); t != nil && t.units <= free-l.reserved; t = l.next() {
		t.reserved, t.reservedAt = true, m
		l.reserved += t.units
	}
}

// next returns the first task that is not reserved.
func (l *idealPool) next() *parkedTask {
	for i := len(l.classes) - 1; i >= 0; i-- {
		c := &l.classes[i]
		for _, t := range slices.Backward(c.requeued) {
			if !t.reserved {
				return t
			}
		}
		for ; c.firstUnreserved < len(c.queue); c.firstUnreserved++ {
			if t := c.queue[c.firstUnreserved]; !t.left && !t.reserved {
				return t
			}
		}
	}
	return nil
}

// resize cancels all reservations, because the pool's limits have changed, and sorts the tasks by the new capacity.
func (l *idealPool) resize(most int64) {
	l.reserved, l.maxUnits = 0, most
	all := slices.SortedFunc(maps.Values(l.parked), func(a, b *parkedTask) int { return cmp.Compare(a.order, b.order) })
	l.classes = [4]class{}
	for _, t := range all {
		t.reserved = false
		l.class(t.priority).join(t, most)
	}
}

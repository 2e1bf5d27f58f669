package lot

import (
	"math"

	"github.com/parkd-dev/parkd/pkg/internal/sparse"
)

// class holds the waiting tasks of one priority in the order of their ranks.
type class struct {
	waits sparse.List[ref] // by rank
	next  int64            // the rank behind all that have been here
	// resting holds the ranks of the tasks in a backoff, which nobody else may take meanwhile.
	resting map[int64]struct{}

	// What head has found out, so that it does not look again at tasks that cost too much: after the capacity was lowered
	// there may be a million of them. Tasks that cost at most so many units all have ranks from pass on, but for some early
	// ones that came later, whose ranks are from firstEarly on.
	most       int64
	pass       int64
	early      int
	firstEarly int64
}

// front returns a rank ahead of every task that waits.
func (c *class) front() int64 {
	rank, r := c.waits.From(math.MinInt64)
	if r == nil {
		return c.next
	}
	for {
		rank--
		if _, taken := c.resting[rank]; !taken {
			return rank
		}
	}
}

func (c *class) rest(rank int64) {
	if c.resting == nil {
		c.resting = make(map[int64]struct{})
	}
	c.resting[rank] = struct{}{}
}

func (c *class) insert(e *entry) {
	*c.waits.Add(e.rank) = e.ref
	if c.isEarly(e) {
		if c.early++; c.early == 1 {
			c.firstEarly = e.rank
		}
		c.firstEarly = min(c.firstEarly, e.rank)
	}
}

func (c *class) remove(e *entry) {
	c.waits.Remove(e.rank)
	if c.isEarly(e) {
		c.early--
	}
}

func (c *class) isEarly(e *entry) bool { return e.units <= c.most && e.rank < c.pass }

// head returns the task with the lowest rank of those that cost at most so many units, nil if no such task waits.
func (c *class) head(all *tasks, most int64) *entry {
	if c.waits.Len() == 0 {
		return nil
	}
	if c.most != most {
		c.most, c.pass, c.early = most, math.MinInt64, 0
	}
	from := &c.pass
	if c.early > 0 {
		from = &c.firstEarly
	}
	for rank, r := c.waits.From(*from); r != nil; rank, r = c.waits.From(rank + 1) {
		*from = rank
		if e := all.at(*r); e.units <= most {
			return e
		}
	}
	c.pass = max(c.pass, c.next)
	return nil
}

// position returns e's place in the order, from 1. A task in a backoff is placed where it will wait. One that costs more
// than the pool has keeps its place, and counts in those of the tasks behind it, though it is passed over. Anything but a
// parked task has position 0.
func (l *Lot) position(e *entry) int64 {
	if e.where != waiting && e.where != resting {
		return 0
	}
	n := l.class(e.priority).waits.Before(e.rank) + 1
	for i := int(e.priority-lowest) + 1; i < len(l.classes); i++ {
		n += int64(l.classes[i].waits.Len())
	}
	return n
}

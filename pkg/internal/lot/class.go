package lot

import (
	"math"

	"github.com/parkd-dev/parkd/pkg/internal/sparse"
)

// class holds the waiting tasks of one priority in the order of their ranks.
type class struct {
	waiting  sparse.List[ref] // by rank
	nextRank int64            // the rank after all that were ever used
	// reserved holds the ranks of the tasks in a backoff. No other task may take them meanwhile.
	reserved map[int64]struct{}

	// What first has learned, so that it does not examine tasks again that cost too much: after the capacity was lowered
	// there may be a million of them. The tasks that cost at most scanUnits have ranks from scannedTo on. The exceptions
	// were inserted after the scan: there are behindScan of them, and their ranks are at least firstBehind.
	scanUnits   int64
	scannedTo   int64
	behindScan  int
	firstBehind int64
}

// frontRank returns a rank before those of all waiting tasks.
func (c *class) frontRank() int64 {
	rank, r := c.waiting.From(math.MinInt64)
	if r == nil {
		return c.nextRank
	}
	for {
		rank--
		if _, taken := c.reserved[rank]; !taken {
			return rank
		}
	}
}

func (c *class) reserve(rank int64) {
	if c.reserved == nil {
		c.reserved = make(map[int64]struct{})
	}
	c.reserved[rank] = struct{}{}
}

func (c *class) insert(e *entry) {
	*c.waiting.Add(e.rank) = e.ref
	if c.isBehindScan(e) {
		if c.behindScan++; c.behindScan == 1 {
			c.firstBehind = e.rank
		}
		c.firstBehind = min(c.firstBehind, e.rank)
	}
}

func (c *class) remove(e *entry) {
	c.waiting.Remove(e.rank)
	if c.isBehindScan(e) {
		c.behindScan--
	}
}

func (c *class) isBehindScan(e *entry) bool { return e.units <= c.scanUnits && e.rank < c.scannedTo }

// first returns the task with the lowest rank among those that cost at most maxUnits, or nil.
func (c *class) first(all *tasks, maxUnits int64) *entry {
	if c.waiting.Len() == 0 {
		return nil
	}
	if c.scanUnits != maxUnits {
		c.scanUnits, c.scannedTo, c.behindScan = maxUnits, math.MinInt64, 0
	}
	from := &c.scannedTo
	if c.behindScan > 0 {
		from = &c.firstBehind
	}
	for rank, r := c.waiting.From(*from); r != nil; rank, r = c.waiting.From(rank + 1) {
		*from = rank
		if e := all.at(*r); e.units <= maxUnits {
			return e
		}
	}
	c.scannedTo = max(c.scannedTo, c.nextRank)
	return nil
}

// position returns the position of e among the parked tasks, from 1. A task in a backoff has the position at which it
// will wait. A task that costs more than the pool has keeps its position and counts in the positions after it, although it
// is skipped. A task that is not parked has position 0.
func (l *Lot) position(e *entry) int64 {
	if e.phase != waiting && e.phase != backingOff {
		return 0
	}
	n := l.class(e.priority).waiting.Before(e.rank) + 1
	for i := int(e.priority-lowest) + 1; i < len(l.classes); i++ {
		n += int64(l.classes[i].waiting.Len())
	}
	return n
}

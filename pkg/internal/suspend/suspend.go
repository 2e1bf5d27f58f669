// Package suspend measures how long this machine has been suspended. Go's monotonic clock stops during suspension,
// while other machines go on: after waking, a node would take leases for valid that the others have declared expired.
package suspend

import (
	"sync/atomic"
	"time"
)

// Counter counts the time in suspension since its creation.
type Counter struct {
	read   func() time.Duration // since boot, accurate to a millisecond
	glance func() (gap, mono time.Duration)
	began  time.Duration
	so     atomic.Int64
	gap    atomic.Int64 // at the last reading
	at     atomic.Int64 // time of that reading on the monotonic clock
}

const (
	// leastSleep is the shortest suspension that counts. A shorter one may be an error of the reading.
	leastSleep = 50 * time.Millisecond
	// readEach is how long a reading is valid: the error grows by less than a millisecond meanwhile.
	readEach = time.Second
)

// New returns a Counter that begins now. It stays at zero if the system does not report suspensions.
func New() *Counter {
	began := time.Now()
	return newCounter(suspended, func() (gap, mono time.Duration) {
		now := time.Now()
		mono = now.Sub(began)
		return time.Duration(now.UnixNano()) - mono, mono
	})
}

// newCounter has two functions: one that reads, which costs system calls, and one that tells without system calls
// whether a reading is needed. The latter is the gap between the wall clock and the monotonic clock, which changes only
// by a suspension or if the clock is set.
func newCounter(read func() time.Duration, glance func() (gap, mono time.Duration)) *Counter {
	c := &Counter{read: read, glance: glance}
	c.note(glance())
	c.began = read()
	c.so.Store(int64(c.began))
	return c
}

func (c *Counter) note(gap, mono time.Duration) {
	c.gap.Store(int64(gap))
	c.at.Store(int64(mono))
}

// Total returns the time in suspension since New. It never falls. If the clock is set back by the length of a
// suspension, that suspension is counted a second after its end.
func (c *Counter) Total() time.Duration {
	gap, mono := c.glance()
	if wider := gap - time.Duration(c.gap.Load()); wider.Abs() >= leastSleep/2 || mono-time.Duration(c.at.Load()) >= readEach {
		c.look()
		c.note(gap, mono) // after the reading, or other callers would use an older total; a later change of the gap is seen by the next call
	}
	return time.Duration(c.so.Load()) - c.began
}

// look reads how long the machine was suspended.
func (c *Counter) look() {
	so, now := c.so.Load(), int64(c.read())
	for now > so+int64(leastSleep) && !c.so.CompareAndSwap(so, now) {
		so = c.so.Load()
	}
}

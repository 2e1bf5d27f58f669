// Package suspend counts for how long this machine has been suspended. Go's monotonic clock stands still then, while other
// machines count on: whoever woke would take for valid what the others have given away.
package suspend

import (
	"sync/atomic"
	"time"
)

// Counter counts the time in suspension since it was made.
type Counter struct {
	read   func() time.Duration // since the machine was booted, give or take a millisecond
	glance func() (gap, mono time.Duration)
	began  time.Duration
	so     atomic.Int64
	gap    atomic.Int64 // at the last reading
	at     atomic.Int64 // when that was, by the monotonic clock
}

const (
	// leastSleep is the shortest that counts: what is less may be an error of the reading.
	leastSleep = 50 * time.Millisecond
	// readEach is how long a reading is good for: the gap stays within a millisecond of itself meanwhile.
	readEach = time.Second
)

// New returns a Counter that begins now. Where the system does not tell, it stays at zero.
func New() *Counter {
	began := time.Now()
	return newCounter(suspended, func() (gap, mono time.Duration) {
		now := time.Now()
		mono = now.Sub(began)
		return time.Duration(now.UnixNano()) - mono, mono
	})
}

// newCounter takes how to read, which costs system calls, and how to see whether it is worth it, which costs none: the gap
// between the wall clock and the monotonic one, which a suspension widens by its length, as only the setting of a clock does.
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

// Total returns the time in suspension since New. It never falls. One in which somebody sets the clock back by as much is
// seen a second after its end.
func (c *Counter) Total() time.Duration {
	gap, mono := c.glance()
	if wider := gap - time.Duration(c.gap.Load()); wider.Abs() >= leastSleep/2 || mono-time.Duration(c.at.Load()) >= readEach {
		c.look()
		c.note(gap, mono) // only now, or others would go by a total from before it; what came since the glance is seen by the next
	}
	return time.Duration(c.so.Load()) - c.began
}

// look reads.
func (c *Counter) look() {
	so, now := c.so.Load(), int64(c.read())
	for now > so+int64(leastSleep) && !c.so.CompareAndSwap(so, now) {
		so = c.so.Load()
	}
}

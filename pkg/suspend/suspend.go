// Package suspend counts for how long this machine has been suspended. Go's monotonic clock stands still then, while other
// machines count on: whoever woke would take for valid what the others have given away.
package suspend

import (
	"sync/atomic"
	"time"
)

// Counter counts the time in suspension since it was made.
type Counter struct {
	read  func() time.Duration // since the machine was booted, give or take a millisecond
	began time.Duration
	so    atomic.Int64
}

// leastSleep is the shortest that counts: what is less may be an error of the reading.
const leastSleep = 50 * time.Millisecond

// New returns a Counter that begins now. Where the system does not tell, it stays at zero.
func New() *Counter { return newCounter(suspended) }

func newCounter(read func() time.Duration) *Counter {
	c := &Counter{read: read, began: read()}
	c.so.Store(int64(c.began))
	return c
}

// Total returns the time in suspension since New. It never falls.
func (c *Counter) Total() time.Duration {
	so, now := c.so.Load(), int64(c.read())
	for now > so+int64(leastSleep) && !c.so.CompareAndSwap(so, now) {
		so = c.so.Load()
	}
	return time.Duration(c.so.Load()) - c.began
}

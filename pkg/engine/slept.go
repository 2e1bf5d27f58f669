package engine

import (
	"sync/atomic"
	"time"
)

// sleeps counts for how long the machine has been suspended. Go's monotonic clock stands still then, while other nodes
// count on: a node that woke would take itself for alive that the others have buried.
type sleeps struct {
	read  func() time.Duration // since the machine was booted, give or take a millisecond
	began time.Duration
	so    atomic.Int64
}

// leastSleep is the shortest that counts: what is less may be an error of the reading.
const leastSleep = 50 * time.Millisecond

func newSleeps(read func() time.Duration) *sleeps {
	s := &sleeps{read: read, began: read()}
	s.so.Store(int64(s.began))
	return s
}

// total returns the time since newSleeps. It never falls.
func (s *sleeps) total() time.Duration {
	so, now := s.so.Load(), int64(s.read())
	for now > so+int64(leastSleep) && !s.so.CompareAndSwap(so, now) {
		so = s.so.Load()
	}
	return time.Duration(s.so.Load()) - s.began
}

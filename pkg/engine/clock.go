package engine

import (
	"sync"
	"time"

	"github.com/parkd-dev/parkd/pkg/lot"
	"github.com/parkd-dev/parkd/pkg/park"
)

// clock reads both clocks. Its wall time never runs backwards, so that the audit log of one run is ordered
// in time across pools even when somebody sets the clock.
type clock struct {
	world World
	mu    sync.Mutex
	last  time.Time
}

func (c *clock) now() lot.Instant {
	t, mono := c.world.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.After(c.last) {
		c.last = t
	}
	return lot.Instant{Wall: park.At(c.last), Mono: mono}
}

// mono reads the monotonic clock alone.
func (c *clock) mono() time.Duration {
	_, mono := c.world.Now()
	return mono
}

// maxTimer bounds how long a timer for a wall-clock instant sleeps, so that a step of that clock is noticed.
const maxTimer = 5 * time.Second

// until returns how long to wait before the lot has something to do, and false where it has nothing.
func (c *clock) until(l *lot.Lot) (time.Duration, bool) {
	wall, mono := l.Next()
	if wall.IsZero() && mono == 0 {
		return 0, false
	}
	now, d := c.now(), maxTimer
	if !wall.IsZero() {
		d = min(d, wall.Sub(now.Wall.Time))
	}
	if mono != 0 {
		d = min(d, mono-now.Mono)
	}
	return max(d, 0), true
}

package engine

import "time"

// maxTimer bounds how long a timer for a wall-clock time sleeps, so that a step of that clock is noticed.
const maxTimer = 5 * time.Second

// untilNextTimer returns how long to wait until the lot has something to do, and false if it has nothing.
func (l *loop) untilNextTimer() (time.Duration, bool) {
	wall, mono := l.lot.NextTimers()
	if wall.IsZero() && mono == 0 {
		return 0, false
	}
	now, d := l.eng.env.Instant(), maxTimer
	if !wall.IsZero() {
		d = min(d, wall.Sub(now.Wall.Time))
	}
	if mono != 0 {
		d = min(d, mono-now.Mono)
	}
	return max(d, 0), true
}

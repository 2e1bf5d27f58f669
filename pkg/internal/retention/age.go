package retention

import (
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// leap is how far the wall clock may gain on the monotonic clock between two readings before it counts as set.
const leap = 10 * time.Minute

// age says what is older than the retention. Ages are measured by wall-clock times, so setting the wall clock ahead
// would make everything old at once. So the amount by which the clock was set ahead does not count for the length of
// the retention, by the monotonic clock; after that, what had ended before is really older. This costs nothing but disk
// space.
//
// If the clock was set while no daemon ran, the times of the pools' last steps show it, the last times known to be
// right.
type age struct {
	*Janitor
	wall   park.Time
	mono   time.Duration
	begun  bool
	ahead  time.Duration // what does not count
	beyond time.Duration // by the monotonic clock: when it counts again
}

// newAge begins to look at the clocks.
func newAge(j *Janitor) *age {
	now := j.Env.Instant()
	a := &age{Janitor: j, wall: now.Wall, mono: now.Mono}
	if !j.LastStep.IsZero() {
		a.wall = j.LastStep
	}
	return a
}

// before returns the time before which everything is old.
func (a *age) before() park.Time {
	now := a.Env.Instant()
	d := now.Wall.Sub(a.wall.Time) - (now.Mono - a.mono)
	a.wall, a.mono = now.Wall, now.Mono
	switch {
	case d > leap:
		a.ahead += d
		a.beyond = now.Mono + a.Keep
		if a.begun { // else it may just be that no daemon ran
			a.Log.Warn("the clock was set ahead: that does not count as age for as long as the retention",
				"ahead", d.Round(time.Second).String(), "retention", a.Keep.String())
		}
	case d < -leap:
		a.ahead = max(0, a.ahead+d)
	}
	a.begun = true
	if now.Mono >= a.beyond {
		a.ahead = 0
	}
	return park.At(now.Wall.Add(-a.Keep - a.ahead))
}

package engine

import (
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// leap is how far the wall clock may run ahead of the monotonic one between two looks without being taken for set.
const leap = 10 * time.Minute

// aging says what is older than the retention. Ages are told by wall-clock times, and a wall clock that is set ahead would
// make all that there is old at once. So what it was set ahead by does not count for as long as the retention, by the
// monotonic clock: what had ended before is then older in truth. Nothing is lost by this but room on the disk.
//
// A clock that was set while no daemon ran is seen by the pools: the time of their last steps is the last that was known
// to be right.
type aging struct {
	eng    *Engine
	wall   park.Time
	mono   time.Duration
	begun  bool
	ahead  time.Duration // what does not count
	beyond time.Duration // by the monotonic clock: when it counts again
}

// newAging begins to look at the clocks. Where all is kept for ever, nobody asks it.
func (e *Engine) newAging() *aging {
	now := e.env.Instant()
	a := &aging{eng: e, wall: now.Wall, mono: now.Mono}
	var last park.Time
	for _, id := range e.order {
		if at := e.pools[id].loadedAt; at.After(last.Time) {
			last = at
		}
	}
	if !last.IsZero() {
		a.wall = last
	}
	return a
}

// before returns the time before which everything is old.
func (a *aging) before() park.Time {
	now := a.eng.env.Instant()
	d := now.Wall.Sub(a.wall.Time) - (now.Mono - a.mono)
	a.wall, a.mono = now.Wall, now.Mono
	switch {
	case d > leap:
		a.ahead += d
		a.beyond = now.Mono + a.eng.cfg.Retention
		if a.begun { // else it may just be that no daemon ran
			a.eng.log.Warn("the clock was set ahead: that does not count as age for as long as the retention",
				"ahead", d.Round(time.Second).String(), "retention", a.eng.cfg.Retention.String())
		}
	case d < -leap:
		a.ahead = max(0, a.ahead+d)
	}
	a.begun = true
	if now.Mono >= a.beyond {
		a.ahead = 0
	}
	return park.At(now.Wall.Add(-a.eng.cfg.Retention - a.ahead))
}

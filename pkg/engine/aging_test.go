package engine

import (
	"log/slog"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// handClock is a world whose clocks a test sets.
type handClock struct {
	World
	wall time.Time
	mono time.Duration
}

func (c *handClock) Now() (time.Time, time.Duration) { return c.wall, c.mono }

// pass lets time go by, by both clocks.
func (c *handClock) pass(d time.Duration) { c.wall, c.mono = c.wall.Add(d), c.mono+d }

const (
	day  = 24 * time.Hour
	week = 7 * day
)

// agingOf returns what an engine with a retention of a week makes of a pool whose last step was at a time.
func agingOf(c *handClock, last time.Time) *aging {
	e := &Engine{clock: &clock{world: c}, cfg: Config{Retention: week}, log: slog.New(slog.DiscardHandler), order: []string{"cpu"}}
	e.pools = map[string]*pool{"cpu": {}}
	if !last.IsZero() {
		e.pools["cpu"].loadedAt = park.At(last)
	}
	return e.newAging()
}

// look looks each minute for as long as d and returns what is old at the end.
func (c *handClock) look(a *aging, d time.Duration) time.Time {
	for ; d > 0; d -= time.Minute {
		c.pass(time.Minute)
		a.before()
	}
	return a.before().Time
}

func TestClockSetAhead(t *testing.T) {
	began := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	c := &handClock{wall: began, mono: time.Hour}
	a := agingOf(c, time.Time{})
	if old := c.look(a, 2*day); !old.Equal(c.wall.Add(-week)) {
		t.Fatalf("with a clock that nobody sets, what is older than %s is removed at %s", old, c.wall)
	}
	ended := c.wall // of a task, by the clock as it was
	c.pass(time.Minute)
	c.wall = c.wall.Add(8 * day)
	if old := c.look(a, week-time.Hour); !old.Before(ended) {
		t.Fatalf("a task that ended %s ago is removed: what is older than %s is", week-time.Hour, old)
	}
	if old := c.look(a, 2*time.Hour); !old.After(ended) || !old.Equal(c.wall.Add(-week)) {
		t.Fatalf("later than the retention, what is older than %s is removed at %s", old, c.wall)
	}
}

func TestClockSetAheadAndBack(t *testing.T) {
	c := &handClock{wall: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	a := agingOf(c, time.Time{})
	ended := c.wall
	c.wall = c.wall.Add(8 * day)
	c.look(a, time.Hour)
	c.wall = c.wall.Add(-8 * day)
	if old := c.look(a, 6*day); !old.Before(ended) {
		t.Fatalf("a task that ended 6 days ago is removed: what is older than %s is", old)
	}
}

// TestClockSetWhileNoDaemonRan: the pools' last steps are the last that was known of the time.
func TestClockSetWhileNoDaemonRan(t *testing.T) {
	ended := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	c := &handClock{wall: ended.Add(8 * day)}
	a := agingOf(c, ended)
	if old := c.look(a, week-time.Hour); !old.Before(ended) {
		t.Fatalf("the pool's last task is removed: what is older than %s is", old)
	}
	if old := c.look(a, 2*time.Hour); !old.After(ended) {
		t.Fatalf("the pool's last task is kept for ever: only what is older than %s is removed", old)
	}
}

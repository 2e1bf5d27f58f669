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

// TestSmallStepsOfTheClock: what is within the leap counts as age, and just beyond it does not, until the retention is over.
func TestSmallStepsOfTheClock(t *testing.T) {
	c := &handClock{wall: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), mono: time.Hour}
	a := agingOf(c, time.Time{})
	warned := &lines{}
	a.eng.log = slog.New(slog.NewTextHandler(warned, nil))
	for i, step := range []struct {
		wall, mono time.Duration
		ahead      time.Duration // what does not count then
		warned     int
	}{
		{leap + time.Second, 0, leap + time.Second, 0}, // at the first look: no daemon may have run
		{week, week - time.Microsecond, leap + time.Second, 0},
		{time.Microsecond, time.Microsecond, 0, 0}, // the retention is over
		{leap + time.Second, time.Second, 0, 0},
		{8 * day, 0, 8 * day, 1},
		{-leap, 0, 8 * day, 1},
		{-leap - time.Second, 0, 8*day - leap - time.Second, 1},
		{-9 * day, 0, 0, 1},
		{day, 0, day, 2},
		{day, 0, 2 * day, 3},
	} {
		c.wall, c.mono = c.wall.Add(step.wall), c.mono+step.mono
		// That the clock never runs backwards is for the audit log: a world whose clock does is what is meant here.
		a.eng.clock.last = time.Time{}
		if got := c.wall.Add(-week).Sub(a.before().Time); got != step.ahead || warned.n != step.warned {
			t.Errorf("step %d: %s do not count, not %s; %d warnings, not %d", i, got, step.ahead, warned.n, step.warned)
		}
	}
}

// lines counts what is logged.
type lines struct{ n int }

func (l *lines) Write(b []byte) (int, error) {
	l.n++
	return len(b), nil
}

// TestLastStepOfAllPools: the last of all is the one that tells the time.
func TestLastStepOfAllPools(t *testing.T) {
	now := time.Date(2026, 3, 9, 12, 0, 0, 0, time.UTC)
	c := &handClock{wall: now}
	e := &Engine{clock: &clock{world: c}, cfg: Config{Retention: week}, order: []string{"a", "b"}}
	e.pools = map[string]*pool{"a": {loadedAt: park.At(now.Add(-time.Hour))}, "b": {loadedAt: park.At(now.Add(-day))}}
	if a := e.newAging(); !a.wall.Equal(now.Add(-time.Hour)) {
		t.Errorf("the last that is known of the time is %s", a.wall)
	}
}

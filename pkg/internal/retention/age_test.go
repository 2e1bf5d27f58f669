package retention

import (
	"log/slog"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/env"
	"github.com/parkd-dev/parkd/pkg/internal/env/envtest"
	"github.com/parkd-dev/parkd/pkg/park"
)

const (
	day  = 24 * time.Hour
	week = 7 * day
)

// ageOn begins to look at a machine's clocks for a retention of a week, where the pools' last step was at a time.
func ageOn(m *envtest.Machine, last time.Time) *age {
	j := &Janitor{Env: env.New(m), Log: slog.New(slog.DiscardHandler), Keep: week}
	if !last.IsZero() {
		j.LastStep = park.At(last)
	}
	return newAge(j)
}

// look looks each minute for as long as d and returns before which time everything is old in the end.
func look(m *envtest.Machine, a *age, d time.Duration) time.Time {
	for ; d > 0; d -= time.Minute {
		m.Pass(time.Minute)
		a.before()
	}
	return a.before().Time
}

func TestClockSetAhead(t *testing.T) {
	began := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	m := &envtest.Machine{Wall: began, Mono: time.Hour}
	a := ageOn(m, time.Time{})
	if old := look(m, a, 2*day); !old.Equal(m.Wall.Add(-week)) {
		t.Fatalf("with a clock that nobody sets, everything before %s is removed at %s", old, m.Wall)
	}
	ended := m.Wall // of a task, by the clock as it was
	m.Pass(time.Minute)
	m.Wall = m.Wall.Add(8 * day)
	if old := look(m, a, week-time.Hour); !old.Before(ended) {
		t.Fatalf("a task that ended %s ago is removed: everything before %s is", week-time.Hour, old)
	}
	if old := look(m, a, 2*time.Hour); !old.After(ended) || !old.Equal(m.Wall.Add(-week)) {
		t.Fatalf("once the retention is over, everything before %s is removed at %s", old, m.Wall)
	}
}

func TestClockSetAheadAndBack(t *testing.T) {
	m := &envtest.Machine{Wall: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	a := ageOn(m, time.Time{})
	ended := m.Wall
	m.Wall = m.Wall.Add(8 * day)
	look(m, a, time.Hour)
	m.Wall = m.Wall.Add(-8 * day)
	if old := look(m, a, 6*day); !old.Before(ended) {
		t.Fatalf("a task that ended 6 days ago is removed: everything before %s is", old)
	}
}

// TestClockSetWhileNoDaemonRan: the time of the pools' last steps is the last that was known to be right.
func TestClockSetWhileNoDaemonRan(t *testing.T) {
	ended := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	m := &envtest.Machine{Wall: ended.Add(8 * day)}
	a := ageOn(m, ended)
	if old := look(m, a, week-time.Hour); !old.Before(ended) {
		t.Fatalf("the pool's last task is removed: everything before %s is", old)
	}
	if old := look(m, a, 2*time.Hour); !old.After(ended) {
		t.Fatalf("the pool's last task is kept for ever: only what is before %s is removed", old)
	}
}

// TestSmallStepsOfTheClock: a step of the clock up to the leap counts as age. A larger one does not, until the retention is
// over.
func TestSmallStepsOfTheClock(t *testing.T) {
	m := &envtest.Machine{Wall: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), Mono: time.Hour}
	a := ageOn(m, time.Time{})
	warned := &lines{}
	a.Log = slog.New(slog.NewTextHandler(warned, nil))
	for i, step := range []struct {
		wall, mono time.Duration
		ahead      time.Duration // what does not count then
		warned     int
	}{
		{leap + time.Second, 0, leap + time.Second, 0}, // at the first look: it may be that no daemon ran
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
		m.Wall, m.Mono = m.Wall.Add(step.wall), m.Mono+step.mono
		a.Env = env.New(m) // the wall clock of an Env never runs backwards, and here it must
		if got := m.Wall.Add(-week).Sub(a.before().Time); got != step.ahead || warned.n != step.warned {
			t.Errorf("step %d: %s do not count, not %s; %d warnings, not %d", i, got, step.ahead, warned.n, step.warned)
		}
	}
}

// lines counts the lines of a log.
type lines struct{ n int }

func (l *lines) Write(b []byte) (int, error) {
	l.n++
	return len(b), nil
}

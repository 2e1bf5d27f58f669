package suspend

import (
	"testing"
	"time"
)

func TestTotalNeverFalls(t *testing.T) {
	now := 3 * time.Hour
	s := newCounter(func() time.Duration { return now })
	for _, step := range []struct{ more, want time.Duration }{
		{0, 0},
		{time.Millisecond, 0}, // an error of the reading
		{-2 * time.Millisecond, 0},
		{10 * time.Second, 10*time.Second - time.Millisecond},
		{-time.Millisecond, 10*time.Second - time.Millisecond},
		{-3 * time.Hour, 10*time.Second - time.Millisecond}, // could not be read
		{4 * time.Hour, time.Hour + 10*time.Second - 2*time.Millisecond},
	} {
		now += step.more
		if got := s.Total(); got != step.want {
			t.Errorf("at %s: %s, want %s", now, got, step.want)
		}
	}
}

// TestSuspendedIsSteady reads how long this machine has been suspended, which it is not now.
func TestSuspendedIsSteady(t *testing.T) {
	first := suspended()
	for range 1000 {
		if d := suspended() - first; d > leastSleep/2 || d < -leastSleep/2 {
			t.Fatalf("%s more", d)
		}
	}
}

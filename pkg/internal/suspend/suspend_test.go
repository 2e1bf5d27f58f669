package suspend

import (
	"testing"
	"time"
)

func TestTotalNeverFalls(t *testing.T) {
	now := 3 * time.Hour
	// The gap changes with each, as if the clock had been set.
	s := newCounter(func() time.Duration { return now }, func() (gap, mono time.Duration) { return 1000 * now, 0 })
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

// TestReadIsSpared: the counter reads only if the gap has changed, and once a second.
func TestReadIsSpared(t *testing.T) {
	var slept, gap, mono time.Duration
	reads := 0
	s := newCounter(func() time.Duration { reads++; return slept }, func() (_, _ time.Duration) { return gap, mono })
	for _, step := range []struct {
		what             string
		slept, gap, mono time.Duration
		reads            int
		want             time.Duration
	}{
		{"nothing", 0, 0, 0, 0, 0},
		{"a while", 0, 0, readEach - 1, 0, 0},
		{"the second is over", 0, 0, 1, 1, 0},
		{"the clock is slewed", 0, 500 * time.Microsecond, readEach - 1, 0, 0},
		{"a sleep", time.Hour, time.Hour, 0, 1, time.Hour},
		{"once more", 0, 0, 0, 0, time.Hour},
		{"the shortest sleep", leastSleep + 1, leastSleep + 1, 0, 1, time.Hour + leastSleep + 1},
		{"the clock is set back", 0, -time.Hour, 0, 1, time.Hour + leastSleep + 1},
		{"a sleep in which it is", time.Hour, 0, 0, 0, time.Hour + leastSleep + 1},
		{"a second later", 0, 0, readEach, 1, 2*time.Hour + leastSleep + 1},
	} {
		slept, gap, mono = slept+step.slept, gap+step.gap, mono+step.mono
		before := reads
		if got := s.Total(); got != step.want || reads-before != step.reads {
			t.Errorf("%s: %s after %d reads, want %s after %d", step.what, got, reads-before, step.want, step.reads)
		}
	}
}

func BenchmarkTotal(b *testing.B) {
	s := New()
	for b.Loop() {
		s.Total()
	}
}

// TestSuspendedIsSteady reads how long this machine has been suspended twice; it is not suspended in between.
func TestSuspendedIsSteady(t *testing.T) {
	first := suspended()
	for range 1000 {
		if d := suspended() - first; d > leastSleep/2 || d < -leastSleep/2 {
			t.Fatalf("%s more", d)
		}
	}
}

// TestNobodyPassesAReading: while one caller reads after a suspension, no other caller gets the older total.
func TestNobodyPassesAReading(t *testing.T) {
	var slept time.Duration
	reading, read := make(chan struct{}, 1), make(chan struct{})
	s := newCounter(func() time.Duration {
		if slept > 0 {
			reading <- struct{}{}
			<-read
		}
		return slept
	}, func() (gap, mono time.Duration) { return slept, 0 })
	slept = time.Hour
	totals := make(chan time.Duration, 2)
	for range 2 {
		go func() { totals <- s.Total() }()
		select {
		case <-reading:
		case d := <-totals:
			t.Fatalf("told %s before it was read", d)
		}
	}
	close(read)
	for range 2 {
		if d := <-totals; d != time.Hour {
			t.Errorf("slept for %s", d)
		}
	}
}

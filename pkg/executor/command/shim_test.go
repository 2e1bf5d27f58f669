package command

import (
	"testing"
	"time"
)

// TestLooksThoughTimersSleep: a machine that wakes up must soon see that its command is past the fence. Timers stand
// still during suspension, so checks are frequent however far off the fence is.
func TestLooksThoughTimersSleep(t *testing.T) {
	const fence = 4 * time.Second
	s := &shim{job: &job{Fence: fence, Deadline: time.Hour}}
	for ago := time.Duration(0); ago <= 2*fence; ago += fence / 64 {
		next := s.nextCheck(time.Minute, time.Minute-ago)
		if most := max(min(fence-ago, fence/8), minFence/4); next != most {
			t.Errorf("%s after the last sign the next look is in %s, want %s", ago, next, most)
		}
	}
}

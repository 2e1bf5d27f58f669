package command

import (
	"testing"
	"time"
)

// TestLooksThoughTimersSleep: a machine that was suspended must not run a command on that others have taken over. Its
// timers slept, so however far off the fence is, the next look at the clock is near.
func TestLooksThoughTimersSleep(t *testing.T) {
	const fence = 4 * time.Second
	s := &shim{job: &job{Fence: fence, Deadline: time.Hour}}
	for ago := time.Duration(0); ago <= 2*fence; ago += fence / 64 {
		next := s.nextLook(time.Minute, time.Minute-ago)
		if most := max(min(fence-ago, fence/8), minFence/4); next != most {
			t.Errorf("%s after the last sign the next look is in %s, want %s", ago, next, most)
		}
	}
}

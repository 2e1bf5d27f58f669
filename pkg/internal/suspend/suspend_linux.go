package suspend

import (
	"time"

	"golang.org/x/sys/unix"
)

// suspended returns how long this machine has been suspended since boot, to the millisecond.
func suspended() time.Duration {
	for range 10 {
		before, since, after := read(unix.CLOCK_MONOTONIC), read(unix.CLOCK_BOOTTIME), read(unix.CLOCK_MONOTONIC)
		if after-before < time.Millisecond { // the two readings were close together
			return since - before
		}
	}
	return 0
}

func read(clock int32) time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(clock, &t) // every Linux that Go supports has both clocks
	return time.Duration(t.Nano())
}

package suspend

import (
	"time"

	"golang.org/x/sys/unix"
)

// suspended returns for how long this machine has been suspended since it was booted, to the millisecond.
func suspended() time.Duration {
	for range 10 {
		before, since, after := read(unix.CLOCK_MONOTONIC), read(unix.CLOCK_BOOTTIME), read(unix.CLOCK_MONOTONIC)
		if after-before < time.Millisecond { // nothing came between
			return since - before
		}
	}
	return 0
}

func read(clock int32) time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(clock, &t) // both are there on every Linux that Go runs on
	return time.Duration(t.Nano())
}

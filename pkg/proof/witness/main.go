//go:build linux

// Command witness is what test tasks run: it tells, by means that parkd has no part in, when it ran and whether there
// was room for it.
//
//	witness LOG LOCKS UNITS TASK DURATION
//
// Before anything else it takes as many of the files in the folder LOCKS as it costs units, one for each unit that its
// pool has. The kernel gives such a lock to one process at a time and takes it back the instant that process is dead,
// so a witness that finds too few of them free has been started beyond the capacity: it appends "over". Then it appends
// "start" and, unless it is killed, "end" after DURATION, each a line with the time of CLOCK_MONOTONIC in nanoseconds.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "witness:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 5 {
		return fmt.Errorf("needs LOG LOCKS UNITS TASK DURATION, not %q", args)
	}
	log, err := os.OpenFile(args[0], os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	units, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	d, err := time.ParseDuration(args[4])
	if err != nil {
		return err
	}
	got, err := take(args[1], units)
	if err != nil {
		return err
	}
	if got < units {
		if err := tell(log, "over", args[3], units); err != nil {
			return err
		}
	}
	if err := tell(log, "start", args[3], units); err != nil {
		return err
	}
	time.Sleep(d)
	return tell(log, "end", args[3], units)
}

// take locks up to n of the files in dir, for as long as this process lives.
func take(dir string, n int) (got int, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		return 0, err
	}
	for _, f := range files {
		if got == n {
			break
		}
		fd, err := unix.Open(f, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return got, fmt.Errorf("open %s: %w", f, err)
		}
		if unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) == nil {
			got++
		}
	}
	return got, nil
}

// tell appends one line in one write.
func tell(log *os.File, what, task string, units int) error {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return err
	}
	_, err := fmt.Fprintf(log, "%s %s %d %d %d\n", what, task, units, os.Getpid(), now.Nano())
	return err
}

//go:build linux

// Command lockholder is run by test tasks. It records, independently of parkd, when it ran and whether there was
// capacity for it.
//
//	lockholder LOG LOCKS UNITS TASK DURATION [SAVE CHECKPOINT]
//
// First it locks as many of the files in the folder LOCKS as it costs units; there is one file for each unit of its
// pool. The kernel gives such a lock to one process at a time and releases it when that process dies. So if too few
// files are free, the process was started beyond the capacity, and it appends "over". Then it appends "start" and,
// unless it is killed, "end" after DURATION, each a line with the time of CLOCK_MONOTONIC in nanoseconds.
//
// With SAVE it takes that long to save its work: on SIGTERM it writes the file CHECKPOINT and appends "saved". If the
// file exists when it starts, it ends at once.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "lockholder:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 5 && len(args) != 7 {
		return fmt.Errorf("needs LOG LOCKS UNITS TASK DURATION [SAVE CHECKPOINT], not %q", args)
	}
	told := make(chan os.Signal, 1)
	if len(args) == 7 {
		signal.Notify(told, unix.SIGTERM)
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
	if len(args) == 7 {
		if _, err := os.Stat(args[6]); err == nil {
			d = 0
		}
	}
	select {
	case <-time.After(d):
		return tell(log, "end", args[3], units)
	case <-told:
		if err := save(args[5], args[6]); err != nil {
			return err
		}
		return tell(log, "saved", args[3], units)
	}
}

// save writes a file after a while.
func save(takes, path string) error {
	d, err := time.ParseDuration(takes)
	if err != nil {
		return err
	}
	time.Sleep(d)
	return os.WriteFile(path, nil, 0o600)
}

// take locks up to n of the files in dir, until this process ends.
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

// tell appends one line with one write.
func tell(log *os.File, what, task string, units int) error {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return err
	}
	_, err := fmt.Fprintf(log, "%s %s %d %d %d\n", what, task, units, os.Getpid(), now.Nano())
	return err
}

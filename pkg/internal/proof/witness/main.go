//go:build linux

// Command witness is what test tasks run: it tells, by means that parkd has no part in, when it ran and whether there
// was room for it.
//
//	witness LOG LOCKS UNITS TASK DURATION [SAVE CHECKPOINT]
//
// Before anything else it takes as many of the files in the folder LOCKS as it costs units, one for each unit that its
// pool has. The kernel gives such a lock to one process at a time and takes it back the instant that process is dead,
// so a witness that finds too few of them free has been started beyond the capacity: it appends "over". Then it appends
// "start" and, unless it is killed, "end" after DURATION, each a line with the time of CLOCK_MONOTONIC in nanoseconds.
//
// With SAVE it is a program that takes that long to save its work: told to end by SIGTERM it writes the file CHECKPOINT and
// appends "saved". If the file is there when it begins, little is left to do, and it comes to its end at once.
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
		fmt.Fprintln(os.Stderr, "witness:", err)
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

// save takes a while to write a file.
func save(takes, path string) error {
	d, err := time.ParseDuration(takes)
	if err != nil {
		return err
	}
	time.Sleep(d)
	return os.WriteFile(path, nil, 0o600)
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

package powercut

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Freeze stops a process and returns once none of its threads can do anything more. SIGSTOP alone is not enough: on a
// busy machine a thread may go on for milliseconds, and what it acknowledges then is not in a copy that has begun.
func Freeze(ctx context.Context, pid int) error {
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return fmt.Errorf("stop process %d: %w", pid, err)
	}
	for {
		stopped, err := allStopped(pid)
		if stopped || err != nil {
			return err
		}
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// allStopped reads the states of a process's threads. In /proc/PID/task/TID/stat it follows the name, which is in
// parentheses and may hold any character.
func allStopped(pid int) (bool, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/[0-9]*/stat", pid))
	if err != nil || len(files) == 0 {
		return false, fmt.Errorf("process %d is gone", pid)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return false, nil //nolint:nilerr // the thread ended just now; the next look tells
		}
		if fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:]); len(fields) == 0 || string(fields[0]) != "T" {
			return false, nil
		}
	}
	return true, nil
}

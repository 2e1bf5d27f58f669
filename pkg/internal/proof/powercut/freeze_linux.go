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

// freezeWithin bounds the wait for a process to stop. A thread that waits for a disk stops when the disk has answered.
const freezeWithin = 2 * time.Minute

// Freeze stops a process and returns once none of its threads can do anything more: each has stopped or has ended. SIGSTOP
// alone is not enough: on a busy machine a thread may go on for milliseconds, and what it acknowledges then is not in a
// copy that has begun.
func Freeze(ctx context.Context, pid int) error {
	ctx, cancel := context.WithTimeout(ctx, freezeWithin)
	defer cancel()
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
			return fmt.Errorf("process %d does not stop: %w", pid, ctx.Err())
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
		if fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:]); len(fields) == 0 || !idle(string(fields[0])) {
			return false, nil
		}
	}
	return true, nil
}

// idle reports whether a thread in this state does nothing until somebody else has it go on: it was stopped, or it has
// ended and its parent has not asked for its exit code yet.
func idle(state string) bool { return state == "T" || state == "t" || state == "Z" || state == "X" }

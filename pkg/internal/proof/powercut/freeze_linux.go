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

// freezeTimeout bounds the wait for a process to stop. A thread that waits for a disk stops when the disk has answered.
const freezeTimeout = 2 * time.Minute

// Freeze stops a process and returns once all its threads have stopped or ended. SIGSTOP alone is not enough: on a busy
// machine a thread may run on for milliseconds, and data that it acknowledges then is not in a copy that has begun.
func Freeze(ctx context.Context, pid int) error {
	ctx, cancel := context.WithTimeout(ctx, freezeTimeout)
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

// allStopped reports whether all threads of a process have stopped. In /proc/PID/task/TID/stat the state follows the
// name, which is in parentheses and may contain any character.
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
		if fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:]); len(fields) == 0 || !isStopped(string(fields[0])) {
			return false, nil
		}
	}
	return true, nil
}

// isStopped reports whether a thread in this state does nothing until it is continued, or has ended.
func isStopped(state string) bool {
	return state == "T" || state == "t" || state == "Z" || state == "X"
}

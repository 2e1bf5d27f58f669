//go:build unix && !linux

package command

import (
	"errors"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// selfExe is no name that a file has: the program is known by its path alone.
const selfExe = ""

func thisProgram() (string, error) { return os.Executable() }

// bootTime is the wall clock here: no other is the same for two processes on all these systems.
func bootTime() time.Duration { return time.Duration(time.Now().UnixNano()) }

func adoptOrphans() {}

func childAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// descendants finds none: what left the command's group is out of reach.
func descendants() []int { return nil }

// leftovers cannot say more here.
func leftovers(dir, _ string) string { return "processes that keep a lock in " + dir }

func isBelow(int) bool { return false }

func signalIf(pid int, sig unix.Signal, meant func() bool) bool {
	return meant() && unix.Kill(pid, sig) == nil
}

func (s *shim) reapOne(status *unix.WaitStatus) (pid int, err error) {
	return unix.Wait4(-1, status, 0, nil)
}

// groupHeld reports whether there is anything in the command's group: until it is empty its number is given to nobody.
func groupHeld(group int) bool {
	err := unix.Kill(-group, 0)
	return err == nil || errors.Is(err, unix.EPERM)
}

// awaitGroup waits until the group is empty: what lost its parent is no child of this process here.
func awaitGroup(group int) {
	for group > 0 && groupHeld(group) {
		time.Sleep(groupRest)
	}
}

// groupRest is the time between two looks at a group.
const groupRest = 10 * time.Millisecond

// hunt kills the group of the command whose shim is dead. What left the group is not found.
func hunt(_ string, _, group int) {
	if group > 0 {
		_ = unix.Kill(-group, unix.SIGKILL)
	}
}

func awaitDeath(int) {}

func newWatch(*os.File) *watch { return poll() }

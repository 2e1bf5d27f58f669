//go:build unix && !linux

package command

import (
	"errors"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// selfExe matches no file: the program is known by its path alone.
const selfExe = ""

func thisProgram() (string, error) { return os.Executable() }

// bootTime is the wall clock here: no other clock is shared by processes on all these systems.
func bootTime() time.Duration { return time.Duration(time.Now().UnixNano()) }

func adoptOrphans() {}

func childAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// descendants finds none: processes outside the command's group cannot be found.
func descendants() []int { return nil }

// describeOrphans cannot say more here.
func describeOrphans(dir, _ string) string { return "processes that keep a lock in " + dir }

func isDescendant(int) bool { return false }

func signalIf(pid int, sig unix.Signal, matches func() bool) bool {
	return matches() && unix.Kill(pid, sig) == nil
}

func (s *shim) reapOne(status *unix.WaitStatus) (pid int, err error) {
	return unix.Wait4(-1, status, 0, nil)
}

// groupInUse reports whether any process is in the command's group. Until it is empty its id is not reused.
func groupInUse(group int) bool {
	err := unix.Kill(-group, 0)
	return err == nil || errors.Is(err, unix.EPERM)
}

// waitForGroup waits until the group is empty: orphans do not become children of this process here.
func waitForGroup(group int) {
	for group > 0 && groupInUse(group) {
		time.Sleep(groupPollInterval)
	}
}

// groupPollInterval is the time between two checks of a group.
const groupPollInterval = 10 * time.Millisecond

// killStragglers kills the group of the command whose shim is dead. Processes outside the group are not found.
func killStragglers(_ string, _, group int) {
	if group > 0 {
		_ = unix.Kill(-group, unix.SIGKILL)
	}
}

func waitForExit(int) {}

func newWatch(*os.File) *watch { return newPollWatch() }

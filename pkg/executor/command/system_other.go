//go:build unix && !linux

package command

import (
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

func hunt(_ string, group int) {
	if group > 0 {
		_ = unix.Kill(-group, unix.SIGKILL)
	}
}

func newWatch(*os.File) *watch { return poll() }

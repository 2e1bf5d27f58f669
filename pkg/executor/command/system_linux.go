package command

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// selfExe is the program that is running, even where its file has been replaced meanwhile.
const selfExe = "/proc/self/exe"

func thisProgram() (string, error) {
	if _, err := os.Stat(selfExe); err != nil {
		return os.Executable() // without /proc
	}
	return selfExe, nil
}

// bootTime is a clock that all processes share, that nobody sets, and that goes on while the machine sleeps.
func bootTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic(err) // the system has no such clock
	}
	return time.Duration(ts.Nano())
}

// adoptOrphans makes this process the parent of every descendant that loses its own.
func adoptOrphans() {
	_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
}

func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// descendants returns all processes below this one.
func descendants() []int {
	children := make(map[int][]int)
	for _, pid := range processes() {
		if parent, ok := parentOf(pid); ok {
			children[parent] = append(children[parent], pid)
		}
	}
	below := children[os.Getpid()]
	for i := 0; i < len(below); i++ {
		below = append(below, children[below[i]]...)
	}
	return below
}

func processes() []int {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	pids := make([]int, 0, len(names))
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// parentOf reads the parent from /proc/PID/stat: after the name, which is in parentheses and may hold any
// character, come the state and the parent.
func parentOf(pid int) (int, bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, false
	}
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(fields) < 2 {
		return 0, false
	}
	parent, err := strconv.Atoi(string(fields[1]))
	return parent, err == nil
}

// hunt kills what a run left whose shim is dead: the command's group, and every process that carries the run's
// mark. It returns when none is left that it can see.
func hunt(run string, group int) {
	mark := []byte(runMark + "=" + run)
	for rest := time.Millisecond; ; rest = min(2*rest, killAgain) {
		if group > 0 {
			_ = unix.Kill(-group, unix.SIGKILL)
		}
		found := false
		for _, pid := range processes() {
			if marked(pid, mark) && unix.Kill(pid, unix.SIGKILL) == nil {
				found = true
			}
		}
		if !found {
			return
		}
		time.Sleep(rest)
	}
}

// marked reports whether a process has the mark in its environment. That of a dead process cannot be read.
func marked(pid int, mark []byte) bool {
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return false
	}
	for v := range bytes.SplitSeq(env, []byte{0}) {
		if bytes.Equal(v, mark) {
			return true
		}
	}
	return false
}

// newWatch watches a folder by inotify.
func newWatch(dir *os.File) *watch {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return poll()
	}
	f := os.NewFile(uintptr(fd), "inotify")
	if _, err := unix.InotifyAddWatch(fd, fmt.Sprintf("/proc/self/fd/%d", dir.Fd()), unix.IN_MODIFY|unix.IN_CREATE|unix.IN_DELETE_SELF); err != nil {
		_ = f.Close()
		return poll()
	}
	changed := make(chan struct{}, 1)
	go func() {
		events := make([]byte, 4<<10)
		for {
			if _, err := f.Read(events); err != nil {
				return
			}
			select {
			case changed <- struct{}{}:
			default: // one that has not been seen yet stands for all
			}
		}
	}()
	return &watch{changed: changed, stop: func() { _ = f.Close() }}
}

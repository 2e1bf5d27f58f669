package command

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
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

// leftovers says which processes keep the shims of an earlier daemon from ending, and of which tasks they are.
func leftovers(dir, pool string) string {
	var found []string
	children := make(map[int][]int)
	var shims []int
	all := processes()
	for _, pid := range all {
		if parent, ok := parentOf(pid); ok {
			children[parent] = append(children[parent], pid)
		}
		held, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", pid, lockFD))
		if err == nil && (held == filepath.Join(dir, lockName(pool)) || held == filepath.Join(dir, allShims)) {
			shims = append(shims, pid)
		}
	}
	for _, shim := range shims {
		logs, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", shim, logsFD))
		task := strings.TrimPrefix(filepath.Base(logs), taskPrefix)
		below := children[shim]
		for i := 0; i < len(below); i++ {
			below = append(below, children[below[i]]...)
			found = append(found, fmt.Sprintf("%s of task %s", describe(below[i]), task))
		}
		if len(below) == 0 {
			found = append(found, fmt.Sprintf("the supervisor %s of task %s", describe(shim), task))
		}
	}
	if len(found) > mostNamed {
		found = append(found[:mostNamed], fmt.Sprintf("%d more", len(found)-mostNamed))
	}
	return strings.Join(found, ", ")
}

// mostNamed bounds how many processes are named.
const mostNamed = 5

func describe(pid int) string {
	name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	var info unix.Stat_t
	_ = unix.Stat(fmt.Sprintf("/proc/%d", pid), &info)
	return fmt.Sprintf("process %d (%q, user %d)", pid, bytes.TrimSpace(name), info.Uid)
}

// isBelow reports whether a process is below this one.
func isBelow(pid int) bool {
	for own := os.Getpid(); pid > 1; {
		parent, ok := parentOf(pid)
		if !ok {
			return false
		}
		if parent == own {
			return true
		}
		pid = parent
	}
	return false
}

// signalIf signals the process that has a number now, if it is the one that is meant: the descriptor stands for the same
// process after the number was given to another.
func signalIf(pid int, sig unix.Signal, meant func() bool) bool {
	fd, err := unix.PidfdOpen(pid, 0)
	switch {
	case errors.Is(err, unix.ESRCH):
		return false
	case err != nil: // a system before Linux 5.3, or one that forbids it: between look and signal lie microseconds
		return meant() && unix.Kill(pid, sig) == nil
	}
	defer func() { _ = unix.Close(fd) }()
	return meant() && unix.PidfdSendSignal(fd, sig, nil, 0) == nil
}

// reapOne waits for a child that has ended and reaps it. The lock is held for the latter alone.
func (s *shim) reapOne(status *unix.WaitStatus) (pid int, err error) {
	if err := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		return 0, err
	}
	s.reaping.Lock()
	defer s.reaping.Unlock()
	return unix.Wait4(-1, status, unix.WNOHANG, nil)
}

// groupHeld reports whether a child of this process that was not reaped is in the group. While it is, no other group is
// given the number.
func groupHeld(group int) bool {
	return unix.Waitid(unix.P_PGID, group, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil) == nil
}

// awaitGroup has nothing to wait for: who lost his parent is this process's child.
func awaitGroup(int) {}

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

// parentOf returns the parent of a process that lives.
func parentOf(pid int) (int, bool) {
	f := statOf(pid)
	return f.parent, f.state != 0
}

// stat is what /proc tells of a process; state is 0 where there is none.
type stat struct {
	state           byte
	parent, session int
}

func (f stat) dead() bool { return f.state == 0 || f.state == 'Z' || f.state == 'X' }

// statOf reads /proc/PID/stat: after the name, which is in parentheses and may hold any character, come the state, the
// parent, the group and the session.
func statOf(pid int) (f stat) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}
	}
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(fields) < 4 {
		return stat{}
	}
	parent, err1 := strconv.Atoi(string(fields[1]))
	session, err2 := strconv.Atoi(string(fields[3]))
	if err1 != nil || err2 != nil {
		return stat{}
	}
	return stat{fields[0][0], parent, session}
}

// hunt kills what a run left whose shim is dead: all that is in the shim's session, and every process that carries the
// run's mark. It returns when none is left that it can see. The shim must not have been reaped: nobody else has its
// number then, and so nobody else has that of its session.
func hunt(run string, shim, _ int) {
	mark := []byte(runMark + "=" + run)
	for rest := time.Millisecond; ; rest = min(2*rest, killAgain) {
		found := false
		for _, pid := range processes() {
			left := func() bool {
				f := statOf(pid)
				return pid != shim && !f.dead() && (f.session == shim || marked(pid, mark))
			}
			if left() && signalIf(pid, unix.SIGKILL, left) {
				found = true
			}
		}
		if !found {
			return
		}
		time.Sleep(rest)
	}
}

// awaitDeath waits until a child has ended, and leaves it to be reaped.
func awaitDeath(pid int) {
	for errors.Is(unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil), unix.EINTR) {
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

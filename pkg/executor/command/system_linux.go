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

// selfExe is the running program, even if its file was replaced meanwhile.
const selfExe = "/proc/self/exe"

func thisProgram() (string, error) {
	if _, err := os.Stat(selfExe); err != nil {
		return os.Executable() // without /proc
	}
	return selfExe, nil
}

// bootTime reads a monotonic clock that all processes share and that goes on while the machine is suspended.
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
	found := children[os.Getpid()]
	for i := 0; i < len(found); i++ {
		found = append(found, children[found[i]]...)
	}
	return found
}

// describeOrphans names the processes that keep the shims of an earlier daemon from ending, and their tasks.
func describeOrphans(dir, pool string) string {
	var found []string
	children := make(map[int][]int)
	var shims []int
	all := processes()
	for _, pid := range all {
		if parent, ok := parentOf(pid); ok {
			children[parent] = append(children[parent], pid)
		}
		held, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", pid, lockFD))
		if err == nil && (held == filepath.Join(dir, lockName(pool)) || held == filepath.Join(dir, legacyLock)) {
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
	if len(found) > maxListed {
		found = append(found[:maxListed], fmt.Sprintf("%d more", len(found)-maxListed))
	}
	return strings.Join(found, ", ")
}

// maxListed bounds how many processes are named.
const maxListed = 5

func describe(pid int) string {
	name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	var info unix.Stat_t
	_ = unix.Stat(fmt.Sprintf("/proc/%d", pid), &info)
	return fmt.Sprintf("process %d (%q, user %d)", pid, bytes.TrimSpace(name), info.Uid)
}

// isDescendant reports whether a process is a descendant of this one.
func isDescendant(pid int) bool {
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

// signalIf signals a process if matches returns true for it. It holds a descriptor of the process meanwhile, so that the
// signal cannot reach another process that gets the same id.
func signalIf(pid int, sig unix.Signal, matches func() bool) bool {
	fd, err := unix.PidfdOpen(pid, 0)
	switch {
	case errors.Is(err, unix.ESRCH):
		return false
	case err != nil: // before Linux 5.3, or forbidden: a race of microseconds remains
		return matches() && unix.Kill(pid, sig) == nil
	}
	defer func() { _ = unix.Close(fd) }()
	return matches() && unix.PidfdSendSignal(fd, sig, nil, 0) == nil
}

// reapOne waits for a child that has ended and reaps it. It holds the lock only to reap.
func (s *shim) reapOne(status *unix.WaitStatus) (pid int, err error) {
	if err := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		return 0, err
	}
	s.reaping.Lock()
	defer s.reaping.Unlock()
	return unix.Wait4(-1, status, unix.WNOHANG, nil)
}

// groupInUse reports whether an unreaped child of this process is in the group. While one is, the id of the group is not
// reused.
func groupInUse(group int) bool {
	return unix.Waitid(unix.P_PGID, group, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil) == nil
}

// waitForGroup has nothing to wait for: all orphans are children of this process.
func waitForGroup(int) {}

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

// parentOf returns the parent of a live process.
func parentOf(pid int) (int, bool) {
	f := statOf(pid)
	return f.parent, f.state != 0
}

// stat is a part of /proc/PID/stat; state is 0 if there is no such process.
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

// killStragglers kills what is left of a run whose shim is dead: the shim's session, and every process with the run's
// variable. It returns when it finds no more. The shim must not have been reaped, so that the id of its session is not
// reused.
func killStragglers(run string, shim, _ int) {
	marker := []byte(runVariable + "=" + run)
	for delay := time.Millisecond; ; delay = min(2*delay, killInterval) {
		killed := false
		for _, pid := range processes() {
			isStraggler := func() bool {
				f := statOf(pid)
				return pid != shim && !f.dead() && (f.session == shim || hasMarker(pid, marker))
			}
			if isStraggler() && signalIf(pid, unix.SIGKILL, isStraggler) {
				killed = true
			}
		}
		if !killed {
			return
		}
		time.Sleep(delay)
	}
}

// waitForExit waits until a child has ended, and does not reap it.
func waitForExit(pid int) {
	for errors.Is(unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil), unix.EINTR) {
	}
}

// hasMarker reports whether a process has the run's variable in its environment. That of a dead process cannot be read.
func hasMarker(pid int, marker []byte) bool {
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return false
	}
	for v := range bytes.SplitSeq(env, []byte{0}) {
		if bytes.Equal(v, marker) {
			return true
		}
	}
	return false
}

// newWatch watches a folder with inotify.
func newWatch(dir *os.File) *watch {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return newPollWatch()
	}
	f := os.NewFile(uintptr(fd), "inotify")
	if _, err := unix.InotifyAddWatch(fd, fmt.Sprintf("/proc/self/fd/%d", dir.Fd()), unix.IN_MODIFY|unix.IN_CREATE|unix.IN_DELETE_SELF); err != nil {
		_ = f.Close()
		return newPollWatch()
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
			default: // a notice that was not read yet is enough
			}
		}
	}()
	return &watch{changed: changed, stop: func() { _ = f.Close() }}
}

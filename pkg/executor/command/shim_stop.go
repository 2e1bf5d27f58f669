package command

// How a run ends: by itself, or stopped.

import (
	"encoding/binary"
	"errors"
	"io"
	"time"

	"golang.org/x/sys/unix"
)

// reap waits for every child: the command and the orphans that the shim has adopted. When no child is left the whole tree has
// ended, because an orphan is adopted at the instant its parent dies.
func (s *shim) reap() {
	defer close(s.treeEnded)
	for {
		var status unix.WaitStatus
		pid, err := s.reapOne(&status)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			waitForGroup(s.pid)
			return
		case pid == s.pid && (status.Exited() || status.Signaled()):
			s.status = status
			close(s.commandEnded)
		}
	}
}

// message is what a daemon sends to a shim.
type message struct {
	kind    byte
	aliveAt time.Duration // for msgAlive: when the node was last known to be alive, on the clock of bootTime
}

// readMessages passes on the daemon's messages; the channel is closed when the daemon is dead.
func (s *shim) readMessages(control io.Reader) <-chan message {
	messages := make(chan message)
	go func() {
		defer close(messages)
		var b [aliveBytes]byte
		for {
			if _, err := io.ReadFull(control, b[:1]); err != nil {
				return
			}
			m := message{kind: b[0]}
			if m.kind == msgAlive {
				if _, err := io.ReadFull(control, b[1:]); err != nil {
					return
				}
				m.aliveAt = time.Duration(binary.LittleEndian.Uint64(b[1:]))
			}
			messages <- m
		}
	}()
	return messages
}

// supervise returns when the command has ended by itself, when a stopped run has ended entirely, or when the rest of it has to
// be killed.
func (s *shim) supervise(messages <-chan message) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	alive := bootTime()
	if s.job.Alive > 0 {
		alive = s.job.Alive
	}
	commandEnded := s.commandEnded
	var kill <-chan time.Time
	for {
		select {
		case <-s.treeEnded:
			return
		case <-commandEnded:
			if s.stopReason == notStopped {
				return
			}
			// The command's descendants may still be saving their work. The grace period is for the whole tree.
			commandEnded = nil
			s.terminateOthers()
		case m, ok := <-messages:
			switch {
			case !ok:
				s.setStopReason(stoppedByDaemonDeath)
				return
			case m.kind == msgAlive:
				alive = max(alive, m.aliveAt)
			case m.kind == msgStop && kill == nil:
				kill = s.terminate(stoppedByDaemon)
			}
		case <-timer.C:
			now := bootTime()
			if s.job.Fence > 0 && now-alive >= s.job.Fence {
				s.setStopReason(stoppedByFence)
				return
			}
			if s.job.Deadline > 0 && now >= s.job.Deadline && kill == nil {
				kill = s.terminate(stoppedByDeadline)
			}
			timer.Reset(s.nextCheck(now, alive))
		case <-kill:
			return
		}
	}
}

const (
	// killInterval is the longest time between two attempts to kill a tree.
	killInterval = 100 * time.Millisecond
	// maxCheckInterval bounds how late a deadline is seen after the machine was suspended, while timers stand still.
	maxCheckInterval = 5 * time.Second
)

// nextCheck returns the time until the next check of deadline and fence.
func (s *shim) nextCheck(now, alive time.Duration) time.Duration {
	next := maxCheckInterval
	if s.job.Deadline > now {
		next = min(next, s.job.Deadline-now)
	}
	if s.job.Fence > 0 {
		// A single timer for the whole fence would not run while the machine is suspended, but other nodes count that time.
		next = min(next, max(min(alive+s.job.Fence-now, s.job.Fence/8), minFence/4))
	}
	return next
}

// setStopReason keeps the first reason.
func (s *shim) setStopReason(reason stopReason) {
	if s.stopReason == notStopped {
		s.stopReason = reason
	}
}

// terminate sends TERM to the command's group. The channel it returns fires when the rest of the tree is to be killed.
func (s *shim) terminate(reason stopReason) <-chan time.Time {
	s.setStopReason(reason)
	s.signalGroup(unix.SIGTERM)
	s.signalGroup(unix.SIGCONT) // a stopped process would not get it
	return time.After(s.job.Grace)
}

// terminateOthers sends TERM to the descendants outside the command's group. It is called once the command has ended; until
// then the command may stop them itself.
func (s *shim) terminateOthers() {
	for _, pid := range descendants() {
		outsideGroup := func() bool {
			group, err := unix.Getpgid(pid)
			return err == nil && group != s.pid && isDescendant(pid)
		}
		signalIf(pid, unix.SIGTERM, outsideGroup)
		signalIf(pid, unix.SIGCONT, outsideGroup)
	}
}

// killTree kills the command's group and all other descendants.
func (s *shim) killTree() {
	s.signalGroup(unix.SIGKILL)
	for _, pid := range descendants() {
		signalIf(pid, unix.SIGKILL, func() bool { return isDescendant(pid) })
	}
}

// signalGroup signals the command's group, unless its id may have been reused.
func (s *shim) signalGroup(sig unix.Signal) {
	s.reaping.Lock()
	defer s.reaping.Unlock()
	if !groupInUse(s.pid) {
		return
	}
	_ = unix.Kill(-s.pid, sig)
}

// killRest kills what the command left behind until nothing is left. It repeats, because a process may fork between the
// listing and the kill.
func (s *shim) killRest() {
	for delay := time.Millisecond; ; delay = min(2*delay, killInterval) {
		select {
		case <-s.treeEnded:
			return
		case <-time.After(delay):
			s.killTree()
		}
	}
}

package command

// How a run ends: by itself, or stopped.

import (
	"encoding/binary"
	"errors"
	"io"
	"time"

	"golang.org/x/sys/unix"
)

// reap waits for every child, the command and what became the shim's by its parent's death. When there is no
// child left, there is nothing left of the run: an orphan becomes the shim's in the instant its parent dies.
func (s *shim) reap() {
	defer close(s.gone)
	for {
		var status unix.WaitStatus
		pid, err := s.reapOne(&status)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			awaitGroup(s.pid)
			return
		case pid == s.pid && (status.Exited() || status.Signaled()):
			s.status = status
			close(s.leader)
		}
	}
}

// sign is a message from the daemon.
type sign struct {
	kind  byte
	alive time.Duration // with signAlive: when the node last proved alive, on the clock of bootTime
}

// listen passes on what the daemon says; the channel is closed when the daemon is dead.
func (s *shim) listen(control io.Reader) <-chan sign {
	said := make(chan sign)
	go func() {
		defer close(said)
		var b [signBytes]byte
		for {
			if _, err := io.ReadFull(control, b[:1]); err != nil {
				return
			}
			m := sign{kind: b[0]}
			if m.kind == signAlive {
				if _, err := io.ReadFull(control, b[1:]); err != nil {
					return
				}
				m.alive = time.Duration(binary.LittleEndian.Uint64(b[1:]))
			}
			said <- m
		}
	}()
	return said
}

// supervise returns when the command has ended by itself, when nothing is left of a run that was stopped, and when what
// is left of it has to be killed.
func (s *shim) supervise(said <-chan sign) {
	alarm := time.NewTimer(0)
	defer alarm.Stop()
	alive := bootTime()
	if s.job.Alive > 0 {
		alive = s.job.Alive
	}
	leader := s.leader
	var kill <-chan time.Time
	for {
		select {
		case <-s.gone:
			return
		case <-leader:
			if s.why == notStopped {
				return
			}
			// What the command began may still be saving its work. The grace is for all of the tree.
			leader = nil
			s.tellRest()
		case m, ok := <-said:
			switch {
			case !ok:
				s.stop(stoppedByDeath)
				return
			case m.kind == signAlive:
				alive = max(alive, m.alive)
			case m.kind == askStop && kill == nil:
				kill = s.terminate(stoppedByDaemon)
			}
		case <-alarm.C:
			now := bootTime()
			if s.job.Fence > 0 && now-alive >= s.job.Fence {
				s.stop(stoppedByFence)
				return
			}
			if s.job.Deadline > 0 && now >= s.job.Deadline && kill == nil {
				kill = s.terminate(stoppedByDeadline)
			}
			alarm.Reset(s.nextLook(now, alive))
		case <-kill:
			return
		}
	}
}

const (
	// killAgain is how often a tree is killed that does not go.
	killAgain = 100 * time.Millisecond
	// longestLook bounds how late a deadline is seen by a machine that slept: timers sleep with it.
	longestLook = 5 * time.Second
)

// nextLook returns when the clocks have to be looked at again.
func (s *shim) nextLook(now, alive time.Duration) time.Duration {
	next := longestLook
	if s.job.Deadline > now {
		next = min(next, s.job.Deadline-now)
	}
	if s.job.Fence > 0 {
		// A timer that was to last until the fence falls would have slept through the time in which others waited for it.
		next = min(next, max(min(alive+s.job.Fence-now, s.job.Fence/8), minFence/4))
	}
	return next
}

// stop notes who ends the command, the first of them.
func (s *shim) stop(by why) {
	if s.why == notStopped {
		s.why = by
	}
}

// terminate asks the command's group to end, and returns when what is left of the tree is to be killed.
func (s *shim) terminate(by why) <-chan time.Time {
	s.stop(by)
	s.signalGroup(unix.SIGTERM)
	s.signalGroup(unix.SIGCONT) // a stopped process would not hear
	return time.After(s.job.Grace)
}

// tellRest asks those to end who left the command's group, once the command has ended: until then it is the command's
// business to stop what it began.
func (s *shim) tellRest() {
	for _, pid := range descendants() {
		elsewhere := func() bool {
			group, err := unix.Getpgid(pid)
			return err == nil && group != s.pid && isBelow(pid)
		}
		signalIf(pid, unix.SIGTERM, elsewhere)
		signalIf(pid, unix.SIGCONT, elsewhere)
	}
}

// killTree kills the command's group and whatever left it.
func (s *shim) killTree() {
	s.signalGroup(unix.SIGKILL)
	for _, pid := range descendants() {
		signalIf(pid, unix.SIGKILL, func() bool { return isBelow(pid) })
	}
}

// signalGroup signals the command's group while its number cannot be that of others.
func (s *shim) signalGroup(sig unix.Signal) {
	s.reaping.Lock()
	defer s.reaping.Unlock()
	if !groupHeld(s.pid) {
		return
	}
	_ = unix.Kill(-s.pid, sig)
}

// sweep kills what the command left behind, until there is nothing. A process may have begun another between
// the look and the kill, so it looks again.
func (s *shim) sweep() {
	for rest := time.Millisecond; ; rest = min(2*rest, killAgain) {
		select {
		case <-s.gone:
			return
		case <-time.After(rest):
			s.killTree()
		}
	}
}

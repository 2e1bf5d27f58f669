package sim

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/env"
)

// epoch is the true wall-clock time at which every history begins.
var epoch = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// machine is a computer with its clocks, which may be wrong, and the commands that run on it.
type machine struct {
	*loop
	name       string
	rate       float64       // of its clocks
	wallOffset time.Duration // of its wall clock
	// how long the machine was suspended in total: timers stand still meanwhile, clocks do not
	suspendedFor time.Duration
	suspended    bool
	suspendedAt  time.Duration // true time of the suspension
	resumedAt    time.Duration // boot time at the end of the last one
	shims        []*shim
	starved      bool // no process can be started
}

// boot reads the monotonic clock, which goes on while the machine is suspended.
func (m *machine) boot() time.Duration { return time.Duration(float64(m.now) * m.rate) }

func (m *machine) wall() time.Time { return epoch.Add(m.boot() + m.wallOffset) }

func (m *machine) awake() time.Duration {
	slept := m.suspendedFor
	if m.suspended {
		slept += m.boot() - m.suspendedAt
	}
	return m.boot() - slept
}

// after calls f once d has passed by the machine's timers.
func (m *machine) after(d time.Duration, of *process, f func()) {
	due := m.awake() + d
	var look func()
	look = func() {
		if m.suspended {
			m.loop.after(time.Duration(float64(max(due-m.awake(), 50*time.Millisecond))/m.rate)+1, of, look)
			return
		}
		if left := due - m.awake(); left > 0 {
			m.loop.after(time.Duration(float64(left)/m.rate)+1, of, look)
			return
		}
		f()
	}
	m.loop.after(time.Duration(float64(d)/m.rate)+1, of, look)
}

func (m *machine) suspend(on bool) {
	if on == m.suspended {
		return
	}
	if on {
		m.suspendedAt = m.boot()
	} else {
		m.suspendedFor += m.boot() - m.suspendedAt
		m.resumedAt = m.boot()
	}
	m.suspended = on
}

// process is one run of a program on a machine, from its start to its end.
type process struct {
	*loop
	machine    *machine
	number     uint64 // unique
	procs      []*proc
	frozen     bool // stopped until it is continued
	ended      bool
	delayed    []event       // events that could not happen while it was frozen
	unfrozenAt time.Duration // true time of the end of its last freeze
	slow       bool          // its coroutines wait longer for the processor
	ids        uint64
}

// jitter is how long a coroutine waits for the processor.
func (f *process) jitter() time.Duration {
	if f.slow && f.chance(1.0/32) {
		return f.between(0, 20*time.Millisecond)
	}
	return time.Duration(f.rng.Uint32() & (1<<17 - 1))
}

// accepts reports whether an event of this process may happen now. If not, it is lost with the process, or delayed.
func (f *process) accepts(e event) bool {
	if f.ended {
		return false
	}
	if f.frozen || f.machine.suspended {
		f.delayed = append(f.delayed, e)
		return false
	}
	return true
}

// setFrozen stops the process, or continues it.
func (f *process) setFrozen(on bool) {
	f.frozen = on
	if !on {
		f.unfrozenAt = f.now
		f.releaseDelayed()
	}
}

// releaseDelayed handles the delayed events.
func (f *process) releaseDelayed() {
	if f.frozen || f.machine.suspended || f.ended {
		return
	}
	held := f.delayed
	f.delayed = nil
	for _, e := range held {
		f.after(f.jitter(), f, e.f)
	}
}

// end kills the process and its coroutines.
func (f *process) end() {
	if f.ended {
		return
	}
	f.ended = true
	for _, p := range f.procs {
		if !p.finished {
			before := f.current
			f.current = p
			p.stop()
			f.current = before
			p.finished = true
		}
	}
	f.procs, f.delayed = nil, nil
}

func (f *process) removeProc(p *proc) {
	for i, q := range f.procs {
		if q == p {
			f.procs = append(f.procs[:i], f.procs[i+1:]...)
			return
		}
	}
}

// wakeReady schedules the coroutines that can resume.
func (f *process) wakeReady() {
	if f.ended {
		return
	}
	for _, p := range f.procs {
		if !p.scheduled && p.ready != nil && p.ready() {
			p.scheduled = true
			f.after(f.jitter(), f, func() { f.resume(p) })
		}
	}
}

var _ env.Simulator = (*process)(nil)

// Now implements [env.Simulator], as the methods after it do.
func (f *process) Now() (time.Time, time.Duration) { return f.machine.wall(), f.machine.boot() }

// Go starts a coroutine.
func (f *process) Go(fn func()) {
	if !f.ended {
		f.spawn(f, fn)
	}
}

// AfterFunc calls fn after d by the machine's timers.
func (f *process) AfterFunc(d time.Duration, fn func()) (stop func()) {
	stopped := false
	f.machine.after(d, f, func() {
		if !stopped {
			fn()
		}
	})
	return func() { stopped = true }
}

// Wait lets other coroutines run.
func (f *process) Wait(d time.Duration, ready func() bool) { f.wait(d, ready) }

// ID returns a name that no other process returns.
func (f *process) ID() string {
	f.ids++
	return fmt.Sprintf("%d-%d", f.number, f.ids)
}

// Read fills b from the seed.
func (f *process) Read(b []byte) {
	for len(b) > 0 {
		var word [8]byte
		binary.LittleEndian.PutUint64(word[:], f.rng.Uint64())
		b = b[copy(b, word[:]):]
	}
}

// sleep waits, for code that is written for the simulation.
func (f *process) sleep(d time.Duration) { f.wait(d, func() bool { return false }) }

package sim

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/env"
)

// epoch is the true wall-clock time at which every history begins.
var epoch = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// machine is a computer: its clocks, which may be wrong, and what runs on it beside its daemon.
type machine struct {
	*loop
	name string
	rate float64       // of its clocks
	off  time.Duration // of its wall clock
	// slept is how long the machine was suspended so far: timers sleep with it, clocks do not.
	slept     time.Duration
	suspended bool
	since     time.Duration // true time of the suspension
	woke      time.Duration // boot time at the end of the last one
	shims     []*shim
	short     bool // no process can be started
}

// boot reads the monotonic clock, which goes on while the machine is suspended.
func (m *machine) boot() time.Duration { return time.Duration(float64(m.now) * m.rate) }

func (m *machine) wall() time.Time { return epoch.Add(m.boot() + m.off) }

func (m *machine) awake() time.Duration {
	slept := m.slept
	if m.suspended {
		slept += m.boot() - m.since
	}
	return m.boot() - slept
}

// after has f happen once d has passed by the machine's timers.
func (m *machine) after(d time.Duration, of *life, f func()) {
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
		m.since = m.boot()
	} else {
		m.slept += m.boot() - m.since
		m.woke = m.boot()
	}
	m.suspended = on
}

// life is one run of a program on a machine, from its start to its death.
type life struct {
	*loop
	machine *machine
	number  uint64 // no other life has it
	procs   []*proc
	frozen  bool // it was stopped, and does nothing until it is continued
	ended   bool
	held    []event       // what could not happen while it was frozen
	thawed  time.Duration // true time of the end of its last freeze
	slow    bool          // it gets the processor late
	ids     uint64
}

// jitter is how long a coroutine that could go on waits for the processor.
func (f *life) jitter() time.Duration {
	if f.slow && f.chance(1.0/32) {
		return f.between(0, 20*time.Millisecond)
	}
	return time.Duration(f.rng.Uint32() & (1<<17 - 1))
}

// takes reports whether an event of this life may happen now. One that may not is lost with the life, or waits.
func (f *life) takes(e event) bool {
	if f.ended {
		return false
	}
	if f.frozen || f.machine.suspended {
		f.held = append(f.held, e)
		return false
	}
	return true
}

// freeze stops the life, or continues it.
func (f *life) freeze(on bool) {
	f.frozen = on
	if !on {
		f.thawed = f.now
		f.thaw()
	}
}

// thaw has happen what was held up.
func (f *life) thaw() {
	if f.frozen || f.machine.suspended || f.ended {
		return
	}
	held := f.held
	f.held = nil
	for _, e := range held {
		f.after(f.jitter(), f, e.f)
	}
}

// end kills the life with everything in it.
func (f *life) end() {
	if f.ended {
		return
	}
	f.ended = true
	for _, p := range f.procs {
		if !p.finished {
			before := f.cur
			f.cur = p
			p.stop()
			f.cur = before
			p.finished = true
		}
	}
	f.procs, f.held = nil, nil
}

func (f *life) forget(p *proc) {
	for i, q := range f.procs {
		if q == p {
			f.procs = append(f.procs[:i], f.procs[i+1:]...)
			return
		}
	}
}

// poll finds the coroutines that can go on.
func (f *life) poll() {
	if f.ended {
		return
	}
	for _, p := range f.procs {
		if !p.woken && p.ready != nil && p.ready() {
			p.woken = true
			f.after(f.jitter(), f, func() { f.resume(p) })
		}
	}
}

var _ env.Simulator = (*life)(nil)

// Now implements [env.Simulator], as the methods after it do.
func (f *life) Now() (time.Time, time.Duration) { return f.machine.wall(), f.machine.boot() }

// Go begins a coroutine.
func (f *life) Go(fn func()) {
	if !f.ended {
		f.spawn(f, fn)
	}
}

// AfterFunc calls fn once the machine's timers say so.
func (f *life) AfterFunc(d time.Duration, fn func()) (stop func()) {
	stopped := false
	f.machine.after(d, f, func() {
		if !stopped {
			fn()
		}
	})
	return func() { stopped = true }
}

// Wait lets others run.
func (f *life) Wait(d time.Duration, ready func() bool) { f.pause(d, ready) }

// ID returns a name that no other life gives.
func (f *life) ID() string {
	f.ids++
	return fmt.Sprintf("%d-%d", f.number, f.ids)
}

// Read fills b from the seed.
func (f *life) Read(b []byte) {
	for len(b) > 0 {
		var word [8]byte
		binary.LittleEndian.PutUint64(word[:], f.rng.Uint64())
		b = b[copy(b, word[:]):]
	}
}

// sleep waits, for programs that are written for the simulation.
func (f *life) sleep(d time.Duration) { f.pause(d, func() bool { return false }) }

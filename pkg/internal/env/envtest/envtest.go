// Package envtest has machines that a test controls, for an [env.Env].
package envtest

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/env"
)

// Machine is a machine whose clocks a test sets and whose goroutines begin when the test says so. Its randomness is
// always the same. It must not be used by several goroutines.
type Machine struct {
	Wall   time.Time
	Mono   time.Duration
	Random uint64 // what Read returns
	// Begun are the goroutines that wait to begin.
	Begun []func()
	// Timer is the last timer that was set.
	Timer Timer
}

// Timer is a timer of a [Machine]. Fire is called by the test alone.
type Timer struct {
	After   time.Duration
	Fire    func()
	Stopped bool
}

// Now reads both clocks.
func (m *Machine) Now() (time.Time, time.Duration) { return m.Wall, m.Mono }

// Pass moves both clocks on.
func (m *Machine) Pass(d time.Duration) { m.Wall, m.Mono = m.Wall.Add(d), m.Mono+d }

// Go keeps f for Finish.
func (m *Machine) Go(f func()) { m.Begun = append(m.Begun, f) }

// Finish runs what was begun, one after the other, until nothing is left.
func (m *Machine) Finish() {
	for len(m.Begun) > 0 {
		f := m.Begun[0]
		m.Begun = m.Begun[1:]
		f()
	}
}

// AfterFunc sets Timer.
func (m *Machine) AfterFunc(d time.Duration, f func()) func() {
	m.Timer = Timer{After: d, Fire: f}
	return func() { m.Timer.Stopped = true }
}

// ID returns no id.
func (m *Machine) ID() string { return "" }

// Read fills b with Random.
func (m *Machine) Read(b []byte) { binary.LittleEndian.PutUint64(b, m.Random) }

// Simulator is a [Machine] that simulates: each wait ends at once, because something is ready or its time has passed. The
// test fails if a wait would never end or if ready has side effects.
type Simulator struct {
	Machine
	*testing.T
	Waited []Wait
	OnWait func() // called as each wait begins, unless it is nil
}

// Wait is one wait that a [Simulator] was asked for.
type Wait struct {
	For   time.Duration
	Ready bool // before any time has passed
}

// NewSimulator returns a simulator whose monotonic clock shows one hour.
func NewSimulator(t *testing.T) *Simulator {
	s := &Simulator{T: t}
	s.Pass(time.Hour)
	return s
}

// Wait notes the wait.
func (s *Simulator) Wait(d time.Duration, ready func() bool) {
	s.Helper()
	if s.OnWait != nil {
		s.OnWait()
	}
	first := ready()
	s.Waited = append(s.Waited, Wait{d, first})
	if first != ready() {
		s.Errorf("ready reports %t, and the opposite when called again", first)
	} else if !first && d < 0 {
		s.Error("the wait never ends")
	}
}

// TakeWaited returns the waits since the last call.
func (s *Simulator) TakeWaited() []Wait {
	defer func() { s.Waited = nil }()
	return s.Waited
}

// WithClocks returns the real machine with the clocks of m.
func WithClocks(m *Machine) env.Machine { return withClocks{env.Real(), m} }

type withClocks struct {
	env.Machine
	clocks *Machine
}

func (m withClocks) Now() (time.Time, time.Duration) { return m.clocks.Now() }

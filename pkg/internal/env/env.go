// Package env is the machine as background work sees it: its clocks, goroutines, timers and randomness, and the one
// way to wait for something.
//
// Work that gets all of these from an [Env] can be simulated: a [Simulator] decides what happens when, lets one
// goroutine run at a time, and so repeats a run exactly. The code that waits is the same in both cases: it asks the
// simulator to let others run until something is ready, and then does what it always does.
package env

import (
	"context"
	"crypto/rand"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/internal/suspend"
	"github.com/parkd-dev/parkd/pkg/park"
)

// Machine is what an Env is made of.
type Machine interface {
	// Now reads the wall clock and a monotonic clock. The monotonic clock has an arbitrary zero and runs on while the
	// machine is suspended.
	Now() (wall time.Time, mono time.Duration)
	// Go calls f in a goroutine of its own.
	Go(f func())
	// AfterFunc calls f after d unless stop was called before. f must not wait.
	AfterFunc(d time.Duration, f func()) (stop func())
	// ID returns an id that was never returned before.
	ID() string
	// Read fills b with random bytes that nobody can guess.
	Read(b []byte)
}

// Simulator is a Machine that decides alone what happens when. Stores and executors that are called from simulated
// work wait in the same simulator.
type Simulator interface {
	Machine
	// Wait lets others run until ready reports true or d has passed; a negative d is for ever. ready changes nothing
	// and may be called any number of times.
	Wait(d time.Duration, ready func() bool)
}

// Env is a machine with the means to wait. Its methods may be called by many goroutines.
type Env struct {
	Machine
	// Sim is the machine if it is a simulator, else nil.
	Sim Simulator

	timers sync.Pool      // of timers to be used again
	over   chan time.Time // closed: the end of a wait of no length
	mu     sync.Mutex
	last   time.Time
}

// New returns an Env for a machine; nil is the real one.
func New(m Machine) *Env {
	if m == nil {
		m = Real()
	}
	e := &Env{Machine: m, over: make(chan time.Time)}
	close(e.over)
	e.Sim, _ = m.(Simulator)
	return e
}

// Real returns the machine outside of simulations.
func Real() Machine { return realMachine{time.Now(), suspend.New()} }

type realMachine struct {
	began time.Time
	*suspend.Counter
}

func (m realMachine) Now() (time.Time, time.Duration) {
	t := time.Now()
	return t.Round(0), t.Sub(m.began) + m.Total()
}

func (realMachine) Go(f func()) { go f() }

func (realMachine) AfterFunc(d time.Duration, f func()) func() {
	t := time.AfterFunc(d, f)
	return func() { t.Stop() }
}

func (realMachine) ID() string { return uuid.Must(uuid.NewV7()).String() }

func (realMachine) Read(b []byte) { _, _ = rand.Read(b) } // never fails

// Instant reads both clocks. Its wall time never runs backwards, so that what one run writes is ordered in time even
// if somebody sets the clock back.
func (e *Env) Instant() lot.Instant {
	t, mono := e.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	if t.After(e.last) {
		e.last = t
	}
	return lot.Instant{Wall: park.At(e.last), Mono: mono}
}

// Wall reads the wall clock as Instant does.
func (e *Env) Wall() park.Time { return e.Instant().Wall }

// Mono reads the monotonic clock.
func (e *Env) Mono() time.Duration {
	_, mono := e.Now()
	return mono
}

// WithTimeout returns a copy of ctx that ends with cause after d.
func (e *Env) WithTimeout(ctx context.Context, d time.Duration, cause error) (context.Context, context.CancelFunc) {
	if e.Sim == nil {
		return context.WithTimeoutCause(ctx, d, cause)
	}
	ctx, end := context.WithCancelCause(ctx)
	stop := e.AfterFunc(d, func() { end(cause) })
	return ctx, func() {
		stop()
		end(nil)
	}
}

// Group is a number of goroutines that can be waited for, as with [sync.WaitGroup].
type Group struct {
	Env *Env

	all  sync.WaitGroup
	left atomic.Int64 // as all counts, for simulators to see
}

// Go calls f in a goroutine of the group.
func (g *Group) Go(f func()) {
	g.all.Add(1)
	g.left.Add(1)
	g.Env.Go(func() {
		defer func() {
			g.left.Add(-1)
			g.all.Done()
		}()
		f()
	})
}

// Wait returns once all goroutines of the group have ended.
func (g *Group) Wait() {
	if s := g.Env.Sim; s != nil {
		s.Wait(Forever, func() bool { return g.left.Load() == 0 })
	}
	g.all.Wait()
}

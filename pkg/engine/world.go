package engine

import (
	"context"
	"crypto/rand"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/parkd-dev/parkd/pkg/suspend"
)

// World is the machine as an engine sees it: its clocks, its goroutines, and chance. An engine lives in the real one
// unless its Config names another. One that is simulated decides alone what happens when and in which order: whatever
// the engine would wait for it waits for in Wait, one goroutine at a time runs, and so a run can be had again.
//
// What an engine calls from outside (a store, an executor) waits in its own way, and in a simulated world in that world's.
type World interface {
	// Now reads the wall clock, and a monotonic one, whose zero is arbitrary and which goes on while the machine is suspended.
	Now() (wall time.Time, mono time.Duration)
	// Go calls f apart from its caller.
	Go(f func())
	// AfterFunc calls f, which does not wait, after d unless stop was called before.
	AfterFunc(d time.Duration, f func()) (stop func())
	// Wait returns once ready reports true or d has passed; a negative d is for ever. ready changes nothing, and is
	// called as often as the world likes. Only a simulated world is asked.
	Wait(d time.Duration, ready func() bool)
	// ID returns an id that nobody has had before.
	ID() string
	// Read fills b with random bytes that nobody can guess.
	Read(b []byte)
}

// realWorld is the one outside of simulations.
type realWorld struct {
	began time.Time
	*suspend.Counter
}

func (w realWorld) Now() (time.Time, time.Duration) {
	t := time.Now()
	return t.Round(0), t.Sub(w.began) + w.Total()
}

func (realWorld) Go(f func()) { go f() }

func (realWorld) AfterFunc(d time.Duration, f func()) func() {
	t := time.AfterFunc(d, f)
	return func() { t.Stop() }
}

func (realWorld) Wait(time.Duration, func() bool) {
	panic("engine: the real world waits for channels") // see wait.go
}

func (realWorld) ID() string { return uuid.Must(uuid.NewV7()).String() }

func (realWorld) Read(b []byte) { _, _ = rand.Read(b) } // never fails

// crew is a number of goroutines that can be waited for. Its methods are those of [sync.WaitGroup].
type crew struct {
	eng  *Engine
	all  sync.WaitGroup
	left atomic.Int64 // as all counts, for a simulated world to see
}

func (c *crew) Go(f func()) {
	c.all.Add(1)
	c.left.Add(1)
	c.eng.world.Go(func() {
		defer func() {
			c.left.Add(-1)
			c.all.Done()
		}()
		f()
	})
}

func (c *crew) Wait() {
	if c.eng.simulated {
		c.eng.world.Wait(forever, func() bool { return c.left.Load() == 0 })
	}
	c.all.Wait()
}

// withTimeout returns a copy of ctx that ends with cause after d.
func (e *Engine) withTimeout(ctx context.Context, d time.Duration, cause error) (context.Context, context.CancelFunc) {
	if !e.simulated {
		return context.WithTimeoutCause(ctx, d, cause)
	}
	ctx, end := context.WithCancelCause(ctx)
	stop := e.world.AfterFunc(d, func() { end(cause) })
	return ctx, func() {
		stop()
		end(nil)
	}
}

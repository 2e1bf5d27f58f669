package env_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/env"
	"github.com/parkd-dev/parkd/pkg/internal/env/envtest"
)

// onBoth runs a test on the real machine, with a nil simulator, and on a simulated one.
func onBoth(t *testing.T, f func(t *testing.T, e *env.Env, s *envtest.Simulator)) {
	t.Run("real", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { f(t, env.New(nil), nil) })
	})
	t.Run("simulated", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := envtest.NewSimulator(t)
			f(t, env.New(s), s)
		})
	})
}

// TestMachineOfAnEnv: the real machine is the default, and only a simulator simulates.
func TestMachineOfAnEnv(t *testing.T) {
	s := envtest.NewSimulator(t)
	if e := env.New(s); e.Machine != env.Machine(s) || e.Sim != env.Simulator(s) {
		t.Errorf("the machine is %T, the simulator %T", e.Machine, e.Sim)
	}
	if e := env.New(&s.Machine); e.Machine != env.Machine(&s.Machine) || e.Sim != nil {
		t.Errorf("the machine is %T, the simulator %T", e.Machine, e.Sim)
	}
	a, b := env.New(nil), env.New(nil)
	if a.Sim != nil || a.ID() == "" || a.ID() == b.ID() {
		t.Errorf("the real machine simulates with %T, or returns an id twice", a.Sim)
	}
}

// TestGroupIsWaitedFor: a group is done once all its goroutines have ended, whatever the machine.
func TestGroupIsWaitedFor(t *testing.T) {
	s := envtest.NewSimulator(t)
	for _, m := range []env.Machine{s, &s.Machine} {
		g := env.Group{Env: env.New(m)}
		g.Go(func() {})
		g.Go(func() {})
		if g.Left() != 2 {
			t.Errorf("%d are left of two", g.Left())
		}
		s.Finish()
		g.Wait()
		if n := len(s.TakeWaited()); g.Left() != 0 || (n == 1) != (g.Env.Sim != nil) {
			t.Errorf("%d are left, and the simulator waited %d times", g.Left(), n)
		}
	}
}

// TestTimeouts end by the clock of the simulator, with their cause, and their timers are stopped.
func TestTimeouts(t *testing.T) {
	cause := errors.New("too late")
	s := envtest.NewSimulator(t)
	e := env.New(s)
	ctx, cancel := e.WithTimeout(t.Context(), time.Minute, cause)
	if s.Timer.After != time.Minute || ctx.Err() != nil {
		t.Errorf("the timer is set to %s", s.Timer.After)
	}
	if s.Timer.Fire(); !errors.Is(context.Cause(ctx), cause) {
		t.Errorf("it ended by %v", context.Cause(ctx))
	}
	cancel()
	ctx, cancel = e.WithTimeout(t.Context(), time.Minute, cause)
	if cancel(); !s.Timer.Stopped || !errors.Is(context.Cause(ctx), context.Canceled) {
		t.Errorf("cancelled, it is stopped %t and ended by %v", s.Timer.Stopped, context.Cause(ctx))
	}
}

// TestRealTimeout ends by itself on the real machine.
func TestRealTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cause := errors.New("too late")
		began := time.Now()
		ctx, cancel := env.New(nil).WithTimeout(t.Context(), time.Minute, cause)
		defer cancel()
		<-ctx.Done()
		if took := time.Since(began); took != time.Minute || !errors.Is(context.Cause(ctx), cause) {
			t.Errorf("after %s it ended by %v", took, context.Cause(ctx))
		}
	})
}

// TestRealRandomness: two reads differ.
func TestRealRandomness(t *testing.T) {
	var a, b [16]byte
	env.Real().Read(a[:])
	env.Real().Read(b[:])
	if a == b {
		t.Error("two reads return the same")
	}
}

// TestWallClockNeverRunsBackwards: the monotonic clock is read as it is.
func TestWallClockNeverRunsBackwards(t *testing.T) {
	began := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	m := &envtest.Machine{Wall: began, Mono: time.Hour}
	e := env.New(m)
	for i, c := range []struct{ wall, mono, want time.Duration }{
		{0, time.Hour, 0},
		{118 * time.Second, time.Hour, 118 * time.Second},
		{0, 2 * time.Hour, 118 * time.Second},
		{117 * time.Second, 3 * time.Hour, 118 * time.Second},
		{119 * time.Second, time.Minute, 119 * time.Second},
	} {
		m.Wall, m.Mono = began.Add(c.wall), c.mono
		now := e.Instant()
		if !now.Wall.Equal(began.Add(c.want)) || now.Mono != c.mono || e.Wall() != now.Wall || e.Mono() != c.mono {
			t.Errorf("step %d: %s after the start, not %s; the monotonic clock shows %s", i, now.Wall.Sub(began), c.want, now.Mono)
		}
	}
}

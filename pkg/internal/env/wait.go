package env

import (
	"slices"
	"time"
)

// Forever is how long a wait without an end lasts.
const Forever time.Duration = -1

// Until lets others run in a simulation until ready reports true or d has passed, and returns what is left of d: 0 if
// nothing is ready. Outside of simulations it must not be called; see [Env.Sim].
func (e *Env) Until(d time.Duration, ready func() bool) time.Duration {
	e.Sim.Wait(d, ready)
	if ready() {
		return d
	}
	return 0
}

// After returns a channel on which something is received after d, never if d is negative, and a function that must be
// called once nobody waits any more.
func (e *Env) After(d time.Duration) (<-chan time.Time, func()) {
	switch {
	case d < 0:
		return nil, func() {}
	case d == 0:
		return e.over, func() {}
	}
	t, ok := e.timers.Get().(*time.Timer)
	if ok {
		t.Reset(d)
	} else {
		t = time.NewTimer(d)
	}
	return t.C, func() {
		t.Stop()
		e.timers.Put(t)
	}
}

// Await receives from one of at most three channels and returns its index, the lowest if several are ready, or -1
// after d; a negative d is for ever.
func (e *Env) Await(d time.Duration, from ...<-chan struct{}) int {
	if e.Sim != nil {
		d = e.Until(d, func() bool { return slices.ContainsFunc(from, Ready[struct{}]) })
	}
	for i, c := range from {
		select {
		case <-c:
			return i
		default:
		}
	}
	var c [3]<-chan struct{}
	copy(c[:], from)
	end, stop := e.After(d)
	defer stop()
	select {
	case <-c[0]:
		return 0
	case <-c[1]:
		return 1
	case <-c[2]:
		return 2
	case <-end:
		return -1
	}
}

// Ready reports whether c has a value or is closed. It may be asked of channels that are only ever closed, and in a
// simulation of others: a value that is sent during the look is lost.
func Ready[T any](c <-chan T) bool {
	if len(c) > 0 {
		return true
	}
	select {
	case <-c:
		return true
	default:
		return false
	}
}

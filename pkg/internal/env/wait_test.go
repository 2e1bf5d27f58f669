package env_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/env"
	"github.com/parkd-dev/parkd/pkg/internal/env/envtest"
)

// TestTimersAreUsedAgain: one timer serves the next wait once it was stopped, for the next wait's time.
func TestTimersAreUsedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := env.New(nil)
		if c, stop := e.After(env.Forever); c != nil {
			t.Error("forever has an end")
		} else {
			stop()
		}
		c, stop := e.After(0)
		if !env.Ready(c) {
			t.Error("a wait of no length has not ended")
		}
		stop()
		for range 3 {
			_, stop := e.After(time.Second)
			stop()
			began := time.Now()
			c, stop := e.After(time.Minute)
			<-c
			if got := time.Since(began); got != time.Minute {
				t.Errorf("a minute took %s", got)
			}
			stop()
		}
	})
}

// TestAwaitReturnsWhichIsReady, the first of several, and takes what it has received.
func TestAwaitReturnsWhichIsReady(t *testing.T) {
	onBoth(t, func(t *testing.T, e *env.Env, s *envtest.Simulator) {
		open, closed := make(chan struct{}), make(chan struct{})
		close(closed)
		one := make(chan struct{}, 1)
		for want, from := range [][]<-chan struct{}{{closed, open, open}, {open, closed}, {open, open, closed}} {
			for _, d := range []time.Duration{env.Forever, time.Hour} {
				if got := e.Await(d, from...); got != want {
					t.Errorf("%d is ready, want %d", got, want)
				}
			}
		}
		for range 20 {
			if got := e.Await(0, open, closed, closed); got != 1 {
				t.Errorf("%d is the first that is ready, want 1", got)
			}
		}
		one <- struct{}{}
		if got := e.Await(time.Second, nil, one); got != 1 || len(one) != 0 {
			t.Errorf("%d is ready, and %d are left", got, len(one))
		}
		one <- struct{}{}
		if got := e.Await(time.Second, one); got != 0 || len(one) != 0 {
			t.Errorf("%d is ready, and %d are left", got, len(one))
		}
		if s != nil {
			s.TakeWaited()
		}
		began := time.Now()
		if got := e.Await(time.Minute, open, one); got != -1 || s == nil && time.Since(began) != time.Minute {
			t.Errorf("%d is ready, after %s", got, time.Since(began))
		}
		if want := []envtest.Wait{{For: time.Minute}}; s != nil && !slices.Equal(s.TakeWaited(), want) {
			t.Errorf("the simulator was not asked for %v", want)
		}
		if got := e.Await(0, open); got != -1 {
			t.Errorf("%d is ready at once", got)
		}
	})
}

// TestAwaitReceivesLater: what comes during a real wait ends it.
func TestAwaitReceivesLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := env.New(nil)
		for want := range 3 {
			c := []chan struct{}{make(chan struct{}), make(chan struct{}), make(chan struct{})}
			began := time.Now()
			e.AfterFunc(time.Second, func() { close(c[want]) })
			got := e.Await(time.Minute, c[0], c[1], c[2])
			if took := time.Since(began); got != want || took != time.Second {
				t.Errorf("%d is ready after %s, want %d", got, took, want)
			}
		}
	})
}

// TestUntilReturnsWhatIsLeft: nothing if nothing is ready.
func TestUntilReturnsWhatIsLeft(t *testing.T) {
	s := envtest.NewSimulator(t)
	e := env.New(s)
	for _, ready := range []bool{false, true} {
		want := time.Duration(0)
		if ready {
			want = time.Minute
		}
		if got := e.Until(time.Minute, func() bool { return ready }); got != want {
			t.Errorf("ready %t: %s are left, want %s", ready, got, want)
		}
		if waits := s.TakeWaited(); !slices.Equal(waits, []envtest.Wait{{For: time.Minute, Ready: ready}}) {
			t.Errorf("ready %t: the simulator was asked for %v", ready, waits)
		}
	}
}

// TestReadyLooksAndLeaves: a value is seen and stays in the channel, and a closed channel is ready.
func TestReadyLooksAndLeaves(t *testing.T) {
	c := make(chan struct{}, 1)
	if env.Ready(c) || env.Ready[struct{}](nil) {
		t.Error("an empty channel is ready")
	}
	c <- struct{}{}
	if !env.Ready(c) || len(c) != 1 {
		t.Error("a value in the channel is not seen, or was taken")
	}
	<-c
	close(c)
	if !env.Ready(c) {
		t.Error("a closed channel is not ready")
	}
}

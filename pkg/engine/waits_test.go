package engine

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/lot"
	"github.com/parkd-dev/parkd/pkg/park"
)

// strict is a simulated world in which nobody else does anything: a wait ends at once, by what is ready or by its time.
// The test fails where a wait would never end, or ready has side effects.
type strict struct {
	handClock
	*testing.T
	waited []wait
	onWait func() // unless nil, called as each wait begins
}

// wait is one that the world was asked for: for how long, and whether it was for nothing.
type wait struct {
	d     time.Duration
	ready bool
}

func (w *strict) Wait(d time.Duration, ready func() bool) {
	w.Helper()
	if w.onWait != nil {
		w.onWait()
	}
	first := ready()
	w.waited = append(w.waited, wait{d, first})
	if first != ready() {
		w.Errorf("it is ready %t, and then it is not so", first)
	} else if !first && d < 0 {
		w.Error("it waits for ever")
	}
}

// idlePool returns a pool that nobody serves, in a strict world, or in the real one.
func idlePool(t *testing.T, simulated bool) *pool {
	w := &strict{T: t}
	w.pass(time.Hour)
	e := &Engine{world: w, clock: &clock{world: w}, simulated: simulated}
	if !simulated {
		e.world = realWorld{began: time.Now()}
		e.clock = &clock{world: w}
	}
	e.ctx, e.stop = context.WithCancel(t.Context())
	return &pool{
		Pool: Pool{PoolSpec: park.PoolSpec{ID: "cpu"}}, eng: e,
		requests: make(chan *request, 1), urgent: make(chan *request, 1), quit: make(chan struct{}), done: make(chan struct{}),
	}
}

// asksOf returns what the simulated world was asked for since the last time.
func asksOf(p *pool) []wait {
	w, ok := p.eng.world.(*strict)
	if !ok {
		return nil
	}
	defer func() { w.waited = nil }()
	return w.waited
}

func bothWorlds(t *testing.T, f func(t *testing.T, simulated bool)) {
	for name, simulated := range map[string]bool{"real": false, "simulated": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { f(t, simulated) })
		})
	}
}

func gone() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// TestWaitsEndByWhatComes has a call be answered, be given up, find the pool stopped, or be due.
func TestWaitsEndByWhatComes(t *testing.T) {
	const soon = time.Hour + time.Second
	bothWorlds(t, func(t *testing.T, simulated bool) {
		full := func(p *pool) { p.requests <- &request{} }
		for name, c := range map[string]struct {
			before func(p *pool)
			ctx    context.Context
			due    time.Duration
			send   string // "" where it is sent
			answer string
		}{
			"room":           {func(*pool) {}, t.Context(), soon, "", errDue.Error()},
			"room, past due": {func(*pool) {}, t.Context(), time.Minute, "", errDue.Error()},
			"full":           {full, t.Context(), soon, "did not take the step", errDue.Error()},
			"full, gone":     {full, gone(), never, "canceled", "canceled"},
			"full, gone too": {full, gone(), soon, "canceled", "canceled"},
			"full, stopped":  {func(p *pool) { full(p); close(p.done) }, t.Context(), never, "has stopped on this node", "has stopped on this node"},
		} {
			p := idlePool(t, simulated)
			c.before(p)
			err := p.sendBy(c.ctx, &request{}, c.due)
			if (err == nil) != (c.send == "") || err != nil && !strings.Contains(err.Error(), c.send) {
				t.Errorf("%s: sent: %v", name, err)
			}
			if len(p.requests) != 1 {
				t.Errorf("%s: %d requests", name, len(p.requests))
			}
			here := c.ctx.Err() != nil || ready(p.done)
			if want := []wait{{p.eng.left(c.due), here || c.send == ""}}; simulated && !slices.Equal(asksOf(p), want) {
				t.Errorf("%s: to send it the world was not asked for %v", name, want)
			}
			r := make(chan reply, 1)
			if _, err = receiveBy(c.ctx, p, r, c.due); err == nil || !strings.Contains(err.Error(), c.answer) {
				t.Errorf("%s: answered: %v", name, err)
			}
			if want := []wait{{p.eng.left(c.due), here}}; simulated && !slices.Equal(asksOf(p), want) {
				t.Errorf("%s: for the answer the world was not asked for %v", name, want)
			}
			r <- reply{results: make([]lot.Result, 1)}
			if got, err := receiveBy(t.Context(), p, r, never); err != nil || len(got.results) != 1 {
				t.Errorf("%s: the answer is %+v, %v", name, got, err)
			}
		}
		for range 20 { // what is answered at the last moment is answered, whichever is seen first
			for _, end := range []func(p *pool) time.Duration{
				func(p *pool) time.Duration { close(p.done); return never },
				func(*pool) time.Duration { return time.Minute },
			} {
				p, r := idlePool(t, simulated), make(chan reply, 1)
				r <- reply{}
				if _, err := receiveBy(t.Context(), p, r, end(p)); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

// TestLeftUntilDue tells how long it is.
func TestLeftUntilDue(t *testing.T) {
	p := idlePool(t, true)
	for due, want := range map[time.Duration]time.Duration{never: forever, 0: 0, time.Minute: 0, time.Hour: 0, time.Hour + 5: 5} {
		if got := p.eng.left(due); got != want {
			t.Errorf("until %s it is %s, want %s", due, got, want)
		}
	}
	p.eng.cfg.Patience = time.Minute
	if got := p.eng.due(); got != time.Hour+time.Minute {
		t.Errorf("a call is due at %s", got)
	}
}

// TestTimersAreUsedAgain: one that was let go of serves the next, and has forgotten what it was set to.
func TestTimersAreUsedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &Engine{}
		if c, leave := e.after(forever); c != nil {
			t.Error("for ever has an end")
		} else {
			leave()
		}
		for range 3 {
			_, leave := e.after(time.Second)
			leave()
			began := time.Now()
			c, leave := e.after(time.Minute)
			<-c
			if got := time.Since(began); got != time.Minute {
				t.Errorf("a minute took %s", got)
			}
			leave()
		}
	})
}

// TestNextRequest: what is urgent comes first, the end before all, and time brings nothing but itself.
func TestNextRequest(t *testing.T) {
	bothWorlds(t, func(t *testing.T, simulated bool) {
		p := idlePool(t, simulated)
		timer := time.NewTimer(time.Hour)
		defer timer.Stop()
		next := func(want *request, wantOK bool) {
			t.Helper()
			if r, ok := p.next(timer, time.Second); r != want || ok != wantOK {
				t.Errorf("the next is %p, %t, want %p, %t", r, ok, want, wantOK)
			}
			if asks := []wait{{time.Second, want != nil || !wantOK}}; simulated && !slices.Equal(asksOf(p), asks) {
				t.Errorf("the world was not asked for %v", asks)
			}
		}
		began := time.Now()
		next(nil, true)
		if took := time.Since(began); !simulated && took != time.Second {
			t.Errorf("a second took %s", took)
		}
		urgent, plain := &request{}, &request{}
		p.requests <- plain
		p.urgent <- urgent
		next(urgent, true)
		next(plain, true)
		next(nil, true)
		close(p.quit)
		next(nil, false)
	})
}

// TestAwaitSaysWhich of several came, and what comes at once for each of those who wait in other words.
func TestAwaitSaysWhich(t *testing.T) {
	bothWorlds(t, func(t *testing.T, simulated bool) {
		p := idlePool(t, simulated)
		open, closed := make(chan struct{}), make(chan struct{})
		close(closed)
		one := make(chan struct{}, 1)
		for want, from := range [][]<-chan struct{}{{closed, open, open}, {open, closed}, {open, open, closed}} {
			for _, d := range []time.Duration{forever, time.Hour} {
				if got := p.eng.await(d, from...); got != want {
					t.Errorf("%d came, want %d", got, want)
				}
			}
		}
		one <- struct{}{}
		if got := p.eng.await(time.Second, nil, one); got != 1 || len(one) != 0 {
			t.Errorf("%d came, and %d are left", got, len(one))
		}
		one <- struct{}{}
		if got := p.eng.await(time.Second, one); got != 0 || len(one) != 0 {
			t.Errorf("%d came, and %d are left", got, len(one))
		}
		asksOf(p)
		began := time.Now()
		if got := p.eng.await(time.Minute, open, one); got != -1 || !simulated && time.Since(began) != time.Minute {
			t.Errorf("%d came, after %s", got, time.Since(began))
		}
		if want := []wait{{time.Minute, false}}; simulated && !slices.Equal(asksOf(p), want) {
			t.Errorf("the world was not asked for %v", want)
		}
		if got := p.eng.await(0, open); got != -1 || !p.eng.rest(time.Second) {
			t.Errorf("%d came at once", got)
		}
		for _, rung := range []<-chan struct{}{open, closed} {
			if err := errors.Join(sleep(t.Context(), p, rung, time.Second), p.eng.linger(t.Context(), rung, time.Second)); err != nil {
				t.Error(err)
			}
		}
		for _, err := range []error{sleep(gone(), p, open, time.Hour), p.eng.linger(gone(), open, time.Hour)} {
			if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
		p.eng.stop()
		if err := p.eng.linger(t.Context(), open, time.Hour); !errors.Is(err, errNodeStopped) || p.eng.rest(time.Hour) {
			t.Error(err)
		}
		close(p.done)
		if err := sleep(t.Context(), p, open, time.Hour); park.CodeOf(err) != park.StorageUnavailable {
			t.Error(err)
		}
	})
}

// TestReadyLooksAndLeaves: what is in a channel is seen and stays there, and a closed one is ready.
func TestReadyLooksAndLeaves(t *testing.T) {
	c := make(chan struct{}, 1)
	if ready(c) || firstReady([]<-chan struct{}{nil, c}) != -1 {
		t.Error("an empty channel is ready")
	}
	c <- struct{}{}
	if !ready(c) || firstReady([]<-chan struct{}{nil, c}) != 1 || len(c) != 1 {
		t.Error("what is in the channel is not ready, or was taken")
	}
	<-c
	close(c)
	if !ready(c) {
		t.Error("a closed channel is not ready")
	}
}

// TestWhatBecomesOfRequests: a call that is due takes its request back, unless it is part of a step.
func TestWhatBecomesOfRequests(t *testing.T) {
	bothWorlds(t, func(t *testing.T, simulated bool) {
		p := idlePool(t, simulated)
		r := &request{reply: make(chan reply, 1)}
		if _, err := p.waitBy(t.Context(), r, time.Minute); park.CodeOf(err) != park.StorageUnavailable || r.take() {
			t.Errorf("one that waits: %v", err)
		}
		r = &request{reply: make(chan reply, 1)}
		if first, again := r.take(), r.take(); !first || !again || r.abandon() {
			t.Error("what is taken is not taken for good")
		}
		if _, err := p.waitBy(t.Context(), r, time.Minute); park.CodeOf(err) != park.OutcomeUnknown {
			t.Errorf("one that was taken: %v", err)
		}
		r = &request{reply: make(chan reply, 1)}
		if _, err := p.waitBy(gone(), r, never); !errors.Is(err, context.Canceled) || !r.take() {
			t.Errorf("one whose caller is gone: %v", err)
		}
		said := errors.New("said")
		r.reply <- reply{err: said}
		if _, err := p.wait(t.Context(), r); !errors.Is(err, said) {
			t.Errorf("one that is answered: %v", err)
		}
		p.requests <- r
		p.eng.cfg.Patience = -time.Second
		if _, err := p.do(t.Context(), lot.Cancel{}); park.CodeOf(err) != park.StorageUnavailable {
			t.Errorf("one that finds no room: %v", err)
		}
		if _, err := p.doFresh(t.Context(), lot.Cancel{}); park.CodeOf(err) != park.StorageUnavailable {
			t.Errorf("one that may come after a look, and finds no room: %v", err)
		}
		if err := p.askBy(t.Context(), func() {}, time.Minute); park.CodeOf(err) != park.StorageUnavailable {
			t.Errorf("a look that finds no room: %v", err)
		}
	})
	away := errAway("cpu")
	if err := about("t", away); !errors.Is(err, error(away)) || strings.Contains(err.Error(), "task t") {
		t.Errorf("about what was not accepted: %v", err)
	}
	if err := about("t", context.Canceled); !errors.Is(err, context.Canceled) {
		t.Errorf("about what is no error of ours: %v", err)
	}
	if err := about("t", errUnknown("pool cpu")); park.CodeOf(err) != park.OutcomeUnknown || !strings.Contains(err.Error(), "ask for task t,") {
		t.Errorf("about what is unknown: %v", err)
	}
	for _, e := range []*park.Error{away, errNodeStopped} {
		if e.RetryAfter != time.Second {
			t.Errorf("%v: again after %s", e, e.RetryAfter)
		}
	}
}

// TestCrewIsWaitedFor: a crew is done when all its goroutines are, in either world.
func TestCrewIsWaitedFor(t *testing.T) {
	bothWorlds(t, func(t *testing.T, simulated bool) {
		p := idlePool(t, simulated)
		w := &byHand{}
		p.eng.world = &crewWorld{byHand: w, strict: &strict{T: t}}
		c := crew{eng: p.eng}
		c.Go(func() {})
		c.Go(func() {})
		if c.left.Load() != 2 {
			t.Errorf("%d are left of two", c.left.Load())
		}
		w.finish()
		c.Wait()
		if n := len(p.eng.world.(*crewWorld).waited); c.left.Load() != 0 || (n == 1) != simulated {
			t.Errorf("%d are left, and the world waited %d times", c.left.Load(), n)
		}
	})
}

// crewWorld begins goroutines by hand and waits strictly.
type crewWorld struct {
	*byHand
	*strict
}

func (w *crewWorld) Now() (time.Time, time.Duration)            { return w.byHand.Now() }
func (w *crewWorld) Go(f func())                                { w.byHand.Go(f) }
func (w *crewWorld) ID() string                                 { return "" }
func (w *crewWorld) AfterFunc(d time.Duration, f func()) func() { return w.byHand.AfterFunc(d, f) }
func (w *crewWorld) Read(b []byte)                              { w.byHand.Read(b) }
func (w *crewWorld) Wait(d time.Duration, ready func() bool)    { w.strict.Wait(d, ready) }

// TestTimeoutsOfASimulatedWorld end by its clock, with their cause, and are let go of.
func TestTimeoutsOfASimulatedWorld(t *testing.T) {
	w := &alarm{}
	e := &Engine{simulated: true, world: w}
	ctx, cancel := e.withTimeout(t.Context(), time.Minute, errDue)
	if w.d != time.Minute || ctx.Err() != nil {
		t.Errorf("set to %s", w.d)
	}
	if w.ring(); !errors.Is(context.Cause(ctx), errDue) {
		t.Errorf("it ended by %v", context.Cause(ctx))
	}
	cancel()
	ctx, cancel = e.withTimeout(t.Context(), time.Minute, errDue)
	if cancel(); !w.stopped || !errors.Is(context.Cause(ctx), context.Canceled) {
		t.Errorf("let go of, it is stopped %t and ended by %v", w.stopped, context.Cause(ctx))
	}
}

// alarm is a world of one timer.
type alarm struct {
	World
	d       time.Duration
	ring    func()
	stopped bool
}

func (w *alarm) AfterFunc(d time.Duration, f func()) func() {
	w.d, w.ring, w.stopped = d, f, false
	return func() { w.stopped = true }
}

// TestRealChance: what is drawn is not always the same.
func TestRealChance(t *testing.T) {
	var a, b [16]byte
	realWorld{}.Read(a[:])
	realWorld{}.Read(b[:])
	if a == b {
		t.Error("the same was drawn twice")
	}
}

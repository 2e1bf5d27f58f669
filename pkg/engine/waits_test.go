package engine

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/env"
	"github.com/parkd-dev/parkd/pkg/internal/env/envtest"
	"github.com/parkd-dev/parkd/pkg/internal/health"
	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/park"
)

// idleLoop returns a loop that does not run, on a simulated machine or on the real one with a clock that stands still.
func idleLoop(t *testing.T, simulated bool) *loop {
	m := envtest.NewSimulator(t)
	e := &Engine{env: env.New(m), health: &health.Stores{}}
	if !simulated {
		e.env = env.New(envtest.WithClocks(&m.Machine))
	}
	e.background.Env = e.env
	e.ctx, e.stop = context.WithCancel(t.Context())
	return newLoop(&pool{
		Pool: Pool{PoolSpec: park.PoolSpec{ID: "cpu"}}, eng: e,
		messages: make(chan message, 1), urgent: make(chan message, 1), quit: make(chan struct{}), done: make(chan struct{}),
	})
}

// simulatorOf returns the machine of a pool that is simulated.
func simulatorOf(p *loop) *envtest.Simulator { return p.eng.env.Machine.(*envtest.Simulator) }

// takeWaits returns the waits of the simulator since the last call; nil if the pool is not simulated.
func takeWaits(p *loop) []envtest.Wait {
	if s, ok := p.eng.env.Machine.(*envtest.Simulator); ok {
		return s.TakeWaited()
	}
	return nil
}

// onBoth runs a test on the real machine and on a simulated one.
func onBoth(t *testing.T, f func(t *testing.T, simulated bool)) {
	for name, simulated := range map[string]bool{"real": false, "simulated": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { f(t, simulated) })
		})
	}
}

func cancelledContext() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// TestWaitsEndByWhatComes has a call be answered, be given up, find the pool stopped, or be due.
func TestWaitsEndByWhatComes(t *testing.T) {
	const soon = time.Hour + time.Second
	onBoth(t, func(t *testing.T, simulated bool) {
		full := func(p *loop) { p.messages <- &operations{} }
		for name, c := range map[string]struct {
			before func(p *loop)
			ctx    context.Context
			due    time.Duration
			send   string // "" where it is sent
			answer string
		}{
			"room":           {func(*loop) {}, t.Context(), soon, "", errDeadline.Error()},
			"room, past due": {func(*loop) {}, t.Context(), time.Minute, "", errDeadline.Error()},
			"full":           {full, t.Context(), soon, "did not accept the step", errDeadline.Error()},
			"full, gone":     {full, cancelledContext(), noDeadline, "canceled", "canceled"},
			"full, gone too": {full, cancelledContext(), soon, "canceled", "canceled"},
			"full, stopped":  {func(p *loop) { full(p); close(p.done) }, t.Context(), noDeadline, "has stopped on this node", "has stopped on this node"},
		} {
			p := idleLoop(t, simulated)
			c.before(p)
			err := p.sendBy(c.ctx, &operations{}, c.due)
			if (err == nil) != (c.send == "") || err != nil && !strings.Contains(err.Error(), c.send) {
				t.Errorf("%s: sent: %v", name, err)
			}
			if len(p.messages) != 1 {
				t.Errorf("%s: %d requests", name, len(p.messages))
			}
			here := c.ctx.Err() != nil || env.Ready(p.done)
			if want := []envtest.Wait{{For: p.eng.remaining(c.due), Ready: here || c.send == ""}}; simulated && !slices.Equal(takeWaits(p), want) {
				t.Errorf("%s: to send it the simulator was not asked for %v", name, want)
			}
			r := make(chan reply, 1)
			if _, err = receiveBy(c.ctx, p.pool, r, c.due); err == nil || !strings.Contains(err.Error(), c.answer) {
				t.Errorf("%s: answered: %v", name, err)
			}
			if want := []envtest.Wait{{For: p.eng.remaining(c.due), Ready: here}}; simulated && !slices.Equal(takeWaits(p), want) {
				t.Errorf("%s: for the answer the simulator was not asked for %v", name, want)
			}
			r <- reply{results: make([]lot.Result, 1)}
			if got, err := receiveBy(t.Context(), p.pool, r, noDeadline); err != nil || len(got.results) != 1 {
				t.Errorf("%s: the answer is %+v, %v", name, got, err)
			}
		}
		for range 20 { // what is answered at the last moment is answered, whichever is seen first
			for _, end := range []func(p *loop) time.Duration{
				func(p *loop) time.Duration { close(p.done); return noDeadline },
				func(*loop) time.Duration { return time.Minute },
			} {
				p, r := idleLoop(t, simulated), make(chan reply, 1)
				r <- reply{}
				if _, err := receiveBy(t.Context(), p.pool, r, end(p)); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

// TestLeftUntilDue tells how long it is.
func TestLeftUntilDue(t *testing.T) {
	p := idleLoop(t, true)
	for due, want := range map[time.Duration]time.Duration{noDeadline: noTimeout, 0: 0, time.Minute: 0, time.Hour: 0, time.Hour + 5: 5} {
		if got := p.eng.remaining(due); got != want {
			t.Errorf("until %s it is %s, want %s", due, got, want)
		}
	}
	p.eng.cfg.Patience = time.Minute
	if got := p.eng.newDeadline(); got != time.Hour+time.Minute {
		t.Errorf("a call is due at %s", got)
	}
}

// TestNextRequest: what is urgent comes first, the end before all, and time brings nothing but itself.
func TestNextRequest(t *testing.T) {
	onBoth(t, func(t *testing.T, simulated bool) {
		p := idleLoop(t, simulated)
		timer := time.NewTimer(time.Hour)
		defer timer.Stop()
		next := func(want message, wantOK bool) {
			t.Helper()
			if r, ok := p.nextMessage(timer, time.Second); r != want || ok != wantOK {
				t.Errorf("the next is %p, %t, want %p, %t", r, ok, want, wantOK)
			}
			if asks := []envtest.Wait{{For: time.Second, Ready: want != nil || !wantOK}}; simulated && !slices.Equal(takeWaits(p), asks) {
				t.Errorf("the simulator was not asked for %v", asks)
			}
		}
		began := time.Now()
		next(nil, true)
		if took := time.Since(began); !simulated && took != time.Second {
			t.Errorf("a second took %s", took)
		}
		urgent, plain := &operations{}, &operations{}
		p.messages <- plain
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
	onBoth(t, func(t *testing.T, simulated bool) {
		p := idleLoop(t, simulated)
		open, closed := make(chan struct{}), make(chan struct{})
		close(closed)
		one := make(chan struct{}, 1)
		for want, from := range [][]<-chan struct{}{{closed, open, open}, {open, closed}, {open, open, closed}} {
			for _, d := range []time.Duration{noTimeout, time.Hour} {
				if got := p.eng.env.Await(d, from...); got != want {
					t.Errorf("%d came, want %d", got, want)
				}
			}
		}
		one <- struct{}{}
		if got := p.eng.env.Await(time.Second, nil, one); got != 1 || len(one) != 0 {
			t.Errorf("%d came, and %d are left", got, len(one))
		}
		one <- struct{}{}
		if got := p.eng.env.Await(time.Second, one); got != 0 || len(one) != 0 {
			t.Errorf("%d came, and %d are left", got, len(one))
		}
		takeWaits(p)
		began := time.Now()
		if got := p.eng.env.Await(time.Minute, open, one); got != -1 || !simulated && time.Since(began) != time.Minute {
			t.Errorf("%d came, after %s", got, time.Since(began))
		}
		if want := []envtest.Wait{{For: time.Minute, Ready: false}}; simulated && !slices.Equal(takeWaits(p), want) {
			t.Errorf("the simulator was not asked for %v", want)
		}
		if got := p.eng.env.Await(0, open); got != -1 || !p.eng.sleep(time.Second) {
			t.Errorf("%d came at once", got)
		}
		for _, rung := range []<-chan struct{}{open, closed} {
			if err := errors.Join(waitOn(t.Context(), p.pool, rung, time.Second), p.eng.waitOn(t.Context(), rung, time.Second)); err != nil {
				t.Error(err)
			}
		}
		for _, err := range []error{waitOn(cancelledContext(), p.pool, open, time.Hour), p.eng.waitOn(cancelledContext(), open, time.Hour)} {
			if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
		p.eng.stop()
		if err := p.eng.waitOn(t.Context(), open, time.Hour); !errors.Is(err, errEngineStopped) || p.eng.sleep(time.Hour) {
			t.Error(err)
		}
		close(p.done)
		if err := waitOn(t.Context(), p.pool, open, time.Hour); park.CodeOf(err) != park.StorageUnavailable {
			t.Error(err)
		}
	})
}

// TestWhatBecomesOfRequests: a call that is due takes its request back, unless it is part of a step.
func TestWhatBecomesOfRequests(t *testing.T) {
	onBoth(t, func(t *testing.T, simulated bool) {
		p := idleLoop(t, simulated)
		r := &request{reply: make(chan reply, 1)}
		if _, err := p.waitBy(t.Context(), r, time.Minute); park.CodeOf(err) != park.StorageUnavailable || r.claim() {
			t.Errorf("one that waits: %v", err)
		}
		r = &request{reply: make(chan reply, 1)}
		if first, again := r.claim(), r.claim(); !first || !again || r.abandon() {
			t.Error("what is taken is not taken for good")
		}
		if _, err := p.waitBy(t.Context(), r, time.Minute); park.CodeOf(err) != park.OutcomeUnknown {
			t.Errorf("one that was taken: %v", err)
		}
		r = &request{reply: make(chan reply, 1)}
		if _, err := p.waitBy(cancelledContext(), r, noDeadline); !errors.Is(err, context.Canceled) || !r.claim() {
			t.Errorf("one whose caller is gone: %v", err)
		}
		said := errors.New("said")
		r.reply <- reply{err: said}
		if _, err := p.wait(t.Context(), r); !errors.Is(err, said) {
			t.Errorf("one that is answered: %v", err)
		}
		p.messages <- r
		p.eng.cfg.Patience = -time.Second
		if _, err := p.do(t.Context(), lot.Cancel{}); park.CodeOf(err) != park.StorageUnavailable {
			t.Errorf("one that finds no room: %v", err)
		}
		if _, err := p.doRetryStale(t.Context(), lot.Cancel{}); park.CodeOf(err) != park.StorageUnavailable {
			t.Errorf("one that may come after a look, and finds no room: %v", err)
		}
		if err := p.inLoopBy(t.Context(), func(*loop) {}, time.Minute); park.CodeOf(err) != park.StorageUnavailable {
			t.Errorf("a look that finds no room: %v", err)
		}
	})
	away := errNotAccepted("cpu")
	if err := withTaskID("t", away); !errors.Is(err, error(away)) || strings.Contains(err.Error(), "task t") {
		t.Errorf("about what was not accepted: %v", err)
	}
	if err := withTaskID("t", context.Canceled); !errors.Is(err, context.Canceled) {
		t.Errorf("about what is no error of ours: %v", err)
	}
	if err := withTaskID("t", errOutcomeUnknown("pool cpu")); park.CodeOf(err) != park.OutcomeUnknown || !strings.Contains(err.Error(), "query task t,") {
		t.Errorf("about what is unknown: %v", err)
	}
	for _, e := range []*park.Error{away, errEngineStopped} {
		if e.RetryAfter != time.Second {
			t.Errorf("%v: again after %s", e, e.RetryAfter)
		}
	}
}

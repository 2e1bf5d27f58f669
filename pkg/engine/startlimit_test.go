package engine

import (
	"errors"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/env/envtest"
	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

// TestBrake has a brake go through what may come, instant by instant.
func TestBrake(t *testing.T) {
	const ms = time.Millisecond
	files := &park.ShortageError{Reason: park.ShortFiles, Err: errors.New("too many")}
	memory := &park.ShortageError{Reason: park.ShortMemory, Err: errors.New("none left")}
	var b startLimiter
	began := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	strike := func(at time.Duration, s *park.ShortageError, changed bool) {
		t.Helper()
		if got := b.recordShortage(s, lot.Instant{Wall: park.At(began.Add(at)), Mono: at}); got != changed {
			t.Errorf("struck at %s: changed is %t", at, got)
		}
		if d := b.deferral(); d == nil || d.Reason != s.Reason || d.Message != s.Error() {
			t.Errorf("struck at %s: clients see %+v", at, d)
		}
	}
	allow := func(at time.Duration, want int, over bool) {
		t.Helper()
		if n, now := b.allowed(at); n != want || now != over {
			t.Errorf("at %s: allows %d starts, over %t; not %d, %t", at, n, now, want, over)
		}
	}
	next := func(want time.Duration, ok bool) {
		t.Helper()
		if at, by := b.nextChange(); by != ok || ok && at != want {
			t.Errorf("it may say something else at %s, %t; not %s, %t", at, by, want, ok)
		}
	}
	allow(0, -1, false)
	next(0, false)
	strike(1000*ms, files, true)
	since := b.deferral().Since
	next(1100*ms, true)
	strike(1050*ms, files, false) // of the same burst: it does not rest for longer
	next(1100*ms, true)
	allow(1099*ms, 0, false)
	allow(1100*ms, 1, false)
	next(0, false) // nothing was tried yet
	allow(5000*ms, 1, false)
	b.windowLeft = 0
	next(1300*ms, true)
	strike(1200*ms, memory, true) // that one came back too: the rest doubles
	next(1400*ms, true)
	if got := b.deferral().Since; got != since {
		t.Errorf("starts have been put off since %s, not %s", got, since)
	}
	at := 1400 * ms
	for _, n := range []int{1, 4, 16, 64, 256} {
		allow(at, n, false)
		b.windowLeft--
		if at += probeWindow; n == 4 {
			allow(at-1, 3, false)
		}
	}
	allow(at, -1, true)
	next(0, false)
	if d := b.deferral(); d != nil {
		t.Errorf("when starts go on clients see %+v", d)
	}
	// Where some could begin, the next shortage is a new one.
	strike(at, files, true)
	at += minDeferral
	allow(at, 1, false)
	b.windowLeft--
	strike(at, files, false)
	at += 2 * minDeferral
	next(at, true)
	allow(at, 1, false)
	b.windowLeft--
	at += probeWindow
	allow(at, 4, false)
	strike(at, files, false)
	next(at+minDeferral, true)
	for range 20 {
		allow(b.until, 1, false)
		b.windowLeft--
		strike(b.until, files, false)
	}
	if b.delay != maxDeferral {
		t.Errorf("rests for %s at last", b.delay)
	}
}

// TestStartsPutOffGoLast: those that a batch puts off come after all else, the first of them in order at the very end, so
// that each is the first again; and what comes together counts once.
func TestStartsPutOffGoLast(t *testing.T) {
	p := (&fakeShared{}).newLoop(&envtest.Machine{Mono: time.Hour})
	now := p.eng.env.Instant()
	p.lot = lot.New(lot.Config{Pool: "remote"}, now)
	names := map[message]string{}
	var batch []message
	for i, name := range []string{"b", "plain", "a", "other", "c"} {
		r := outcomeReport(name, 1000)
		names[r] = name
		if len(name) == 1 {
			r.shortage = &park.ShortageError{Reason: park.ShortFiles, Err: errAsked}
			rank := map[string]int64{"a": 1, "b": 2, "c": 3}[name]
			record := ledger.Record{Spec: ledger.Spec{TaskID: name, Units: 1}, State: ledger.State{Status: park.Running, Attempt: 1, Rank: rank}}
			p.lot.Restore(&record, now)
		}
		batch = append(batch, r)
		if i == 0 {
			p.recordShortages([]message{outcomeReport("x", 1000)})
			if p.limiter.shortage != nil {
				t.Error("starts are put off for nothing")
			}
		}
	}
	p.recordShortages(batch)
	if got := batchNames(names, batch...); got != "plain other c b a" {
		t.Errorf("done in the order %s", got)
	}
	for _, r := range batch {
		if r.(*report).shortage != nil {
			t.Errorf("%s counts once more when the step is tried again", names[r])
		}
	}
	if p.limiter.delay != minDeferral || p.view.Load().StartsDeferred == nil {
		t.Errorf("rests for %s; clients see %+v", p.limiter.delay, p.view.Load().StartsDeferred)
	}
	p.limiter.window, p.limiter.windowLeft = maxProbes, 0
	p.limiter.until = 0
	if n := p.quota(time.Hour); n != -1 || p.view.Load().StartsDeferred != nil {
		t.Errorf("when starts go on %d may; clients see %+v", n, p.view.Load().StartsDeferred)
	}
}

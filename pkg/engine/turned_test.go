package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/cluster"
	"github.com/parkd-dev/parkd/pkg/internal/env"
	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// TestTurnedAwayInDoubt: of what comes while a step is in doubt nothing is lost that must not be.
func TestTurnedAwayInDoubt(t *testing.T) {
	away := errors.New("away")
	p := stoppedLoop()
	p.refreshPending.Store(true)
	looked := false
	owed, leaves := outcomeReport("x", 1000), &workerLeaves{worker: &waiter{}}
	look, other, reload, fresh := &loopFunc{fn: func(*loop) { looked = true }}, &operations{}, &refreshRequest{reload: true}, &refreshRequest{}
	for _, m := range []message{owed, leaves, look, other, reload, fresh} {
		m.base().reply = make(chan reply, 1)
	}
	p.rejectInDoubt(owed, away)
	p.rejectInDoubt(leaves, away)
	if !slices.Equal(p.retries, []message{owed, leaves}) || !owed.run.returned || len(owed.reply)+len(leaves.reply) > 0 {
		t.Errorf("%d requests are kept for later", len(p.retries))
	}
	p.rejectInDoubt(look, away)
	if a := <-look.reply; !looked || a.err != nil {
		t.Errorf("a look: %v", a.err)
	}
	p.rejectInDoubt(other, away)
	if a := <-other.reply; !errors.Is(a.err, away) || p.mustReload || !p.refreshPending.Load() {
		t.Errorf("a request: %v, stale %t", a.err, p.mustReload)
	}
	p.rejectInDoubt(fresh, away)
	if a := <-fresh.reply; !errors.Is(a.err, away) || p.refreshPending.Load() {
		t.Error("nothing would be heard of other nodes any more")
	}
	p.rejectInDoubt(reload, away)
	if a := <-reload.reply; !errors.Is(a.err, away) || !p.mustReload {
		t.Error("the pool is not to be loaded again")
	}
	p.rejectInDoubt(&operations{request: request{reply: make(chan reply, 1)}}, away)
	if !p.mustReload {
		t.Error("the pool is not to be loaded again any more")
	}
}

// TestRefusalsDouble: up to a bound, and they are told once.
func TestRefusalsDouble(t *testing.T) {
	told := &logLines{}
	p := stoppedLoop()
	p.eng.log = slog.New(slog.NewTextHandler(told, nil))
	var rests []time.Duration
	for range 10 {
		p.recordRefusal(errors.New("no"))
		rests = append(rests, p.refusalDelay/time.Millisecond)
	}
	if want := []time.Duration{200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000}; !slices.Equal(rests, want) || told.n != 1 {
		t.Errorf("rests for %v ms, told %d times", rests, told.n)
	}
	said := errors.New("said")
	if got := refusalCause(fmt.Errorf("commit: %w", &store.RefusedError{Err: said})); !errors.Is(got, said) {
		t.Errorf("the store has said %v", got)
	}
	if got := refusalCause(said); !errors.Is(got, said) {
		t.Errorf("the store has said %v", got)
	}
}

// TestWorkThatIsToStop: each run is told why, also one that comes later, and the end of the last one is told once.
func TestWorkThatIsToStop(t *testing.T) {
	why := errors.New("why")
	var w runSet
	var stopped []string
	run := func(name string) *run {
		return &run{task: name, cancel: func(err error) { stopped = append(stopped, name+" "+fmt.Sprint(err)) }}
	}
	a, b, c := run("a"), run("b"), run("c")
	if w.add(a) != nil || w.add(b) != nil || w.stopCause() != nil {
		t.Error("runs are to stop from the start")
	}
	w.remove(a)
	none := w.stop(why)
	if !errors.Is(w.stopCause(), why) || !errors.Is(w.add(c), why) || !slices.Equal(stopped, []string{"b why"}) {
		t.Errorf("stopped %v", stopped)
	}
	w.remove(b)
	if env.Ready(none) {
		t.Error("one is left")
	}
	w.remove(c)
	if !env.Ready(none) {
		t.Error("none is left")
	}
	w.remove(c)
	var idle runSet
	if !env.Ready(idle.stop(why)) {
		t.Error("there was none")
	}
}

// TestLeaseIDs are taken apart as they were made.
func TestLeaseIDs(t *testing.T) {
	p := &pool{}
	e := &Engine{pools: map[string]*pool{"remote": p}}
	for id, want := range map[string]leaseRef{
		lot.LeaseID("remote", 3, "secret", "a.b"): {p, 3, "a.b"},
		lot.LeaseID("nowhere", 3, "secret", "a"):  {},
		"remote.x.secret.a":                       {},
		"remote.1.a":                              {},
		"":                                        {},
	} {
		got, err := e.parseLease(id)
		if got != want || (err == nil) != (want != leaseRef{}) || err != nil && park.CodeOf(err) != park.LeaseNotFound {
			t.Errorf("%q: %+v, %v", id, got, err)
		}
	}
	for ttl, want := range map[time.Duration]time.Duration{0: 7, minTTL: minTTL, maxTTL: maxTTL, minTTL - 1: -1, maxTTL + 1: -1} {
		got, err := checkTTL(park.Duration(ttl), 7)
		if want < 0 && park.CodeOf(err) != park.InvalidRequest || want >= 0 && (err != nil || got != want) {
			t.Errorf("ttl %s: %s, %v", ttl, got, err)
		}
	}
}

// TestLingering: who stands in line takes along what comes meanwhile, and leaves alone what does not belong to the step.
func TestLingering(t *testing.T) {
	plain := func(bytes int) message { return &operations{request: request{ops: outcomeReport("x", bytes).ops}} }
	for name, c := range map[string]struct {
		batch  []message
		comes  []message
		aside  []message
		d      time.Duration
		closed bool
		took   time.Duration
		want   string
		put    int // aside, after all
		left   int // that nobody looked at
	}{
		"nobody comes":      {d: time.Second, took: time.Second},
		"no time":           {comes: []message{plain(1000)}, left: 1},
		"some come":         {comes: []message{plain(1000), plain(1000)}, d: time.Second, took: time.Second, want: "c0 c1"},
		"others come":       {comes: []message{&loopFunc{fn: func(*loop) {}}, plain(1000)}, d: time.Second, took: time.Second, want: "c1", put: 1},
		"as large as it is": {batch: []message{plain(maxStepBytes / 2)}, comes: []message{plain(maxStepBytes / 2), plain(1000)}, d: time.Second, took: time.Second, want: "c0", left: 1},
		"too large":         {batch: []message{plain(maxStepBytes / 2)}, comes: []message{plain(maxStepBytes/2 + 2), plain(1000)}, d: time.Second, took: time.Second, put: 1, left: 1},
		"full":              {batch: []message{plain(maxStepBytes)}, comes: []message{plain(1000)}, d: time.Second, took: time.Second, left: 1},
		"behind others":     {aside: []message{plain(1000)}, comes: []message{plain(1000)}, d: time.Second, took: time.Second, put: 1, left: 1},
		"an outcome comes":  {comes: []message{outcomeReport("x", 1000)}, d: time.Second, took: 10 * time.Millisecond, want: "c0"},
		"two come":          {comes: []message{outcomeReport("x", 1000), outcomeReport("y", 1000)}, d: time.Second, took: 10 * time.Millisecond, want: "c0 c1"},
		"just in time":      {comes: []message{outcomeReport("x", 1000)}, d: 5 * time.Millisecond, took: 5 * time.Millisecond, want: "c0"},
		"the end":           {d: time.Second, closed: true},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := stoppedLoop()
			p.eng.env = env.New(nil)
			p.eng.ctx = t.Context()
			p.commitTime, p.postponed = 40*time.Millisecond, c.aside
			names := map[message]string{}
			for i, r := range c.comes {
				names[r] = fmt.Sprint("c", i)
				p.messages <- r
			}
			if c.closed {
				close(p.quit)
			}
			began := time.Now()
			timer := time.NewTimer(time.Hour)
			batch, ok := p.collectFor(timer, c.batch, c.d)
			if took := time.Since(began); took != c.took || ok == c.closed {
				t.Errorf("%s: took %s, not %s; ok %t", name, took, c.took, ok)
			}
			if got := batchNames(names, batch[len(c.batch):]...); got != c.want || len(p.postponed) != c.put || len(p.messages) != c.left {
				t.Errorf("%s: took %q, put %d aside, left %d", name, got, len(p.postponed), len(p.messages))
			}
			for _, r := range batch {
				if r, ok := r.(*report); ok && !r.run.returned {
					t.Errorf("%s: a run of which the outcome is there goes on", name)
				}
			}
		})
	}
}

// logLines counts the lines of a log.
type logLines struct{ n int }

func (l *logLines) Write(b []byte) (int, error) {
	l.n++
	return len(b), nil
}

// nodeConfig is that of the node me on an engine's machine.
func nodeConfig(e *Engine, s store.Shared) cluster.Config {
	return cluster.Config{
		Env: env.New(inertMachine{e.env.Machine}), Log: slog.New(slog.DiscardHandler), Health: e.health, Backend: park.InMemory, Store: s,
		Name: "me", TTL: time.Minute, Grace: 5 * time.Second, Quiet: true,
	}
}

// inertMachine has the clocks of another machine, and starts no goroutines.
type inertMachine struct{ env.Machine }

func (inertMachine) Go(func())                              {}
func (inertMachine) AfterFunc(time.Duration, func()) func() { return func() {} }

// nodeAmong returns the node me of a store. It has sent one heartbeat, sends no others, and found other nodes alive.
func nodeAmong(e *Engine, s store.Shared, others ...string) *cluster.Node {
	live := map[string]store.NodeHeartbeat{"me": {}}
	for _, name := range others {
		live[name] = store.NodeHeartbeat{}
	}
	n := cluster.New(context.Background(), nodeConfig(e, beatStore{s, live}))
	n.Start(&env.Group{Env: n.Env})
	n.Store = s
	return n
}

// beatStore is a shared store that accepts heartbeats.
type beatStore struct {
	store.Shared
	live map[string]store.NodeHeartbeat
}

func (s beatStore) Heartbeat(context.Context, string, store.NodeConfig) (map[string]store.NodeHeartbeat, error) {
	return s.live, nil
}

// TestTakeover requeues what ran on a dead node, the last of it first, as the attempt that it was.
func TestTakeover(t *testing.T) {
	p := stoppedLoop()
	now := p.eng.env.Instant()
	p.lot = lot.New(lot.Config{Pool: "cpu"}, now)
	for i, on := range []string{"dead", "dead", "me"} {
		r := ledger.Record{Spec: ledger.Spec{TaskID: fmt.Sprint(i), Units: 1}, State: ledger.State{Status: park.Running, Attempt: 2 + i, Node: on}}
		p.lot.Restore(&r, now)
	}
	(member{p.pool}).TakeOver("dead")
	leased := stoppedLoop()
	leased.Runtime = park.WebWorker
	if (member{leased.pool}).TakeOver("dead"); len(p.messages) != 1 || len(leased.messages) != 0 {
		t.Errorf("%d and %d takeovers", len(p.messages), len(leased.messages))
	}
	r := (<-p.messages).(*refreshRequest)
	want := []lot.Op{
		lot.Requeue{TaskID: "1", Attempt: 3, Reason: park.ReasonNodeLost}, lot.Requeue{TaskID: "0", Attempt: 2, Reason: park.ReasonNodeLost},
	}
	if ops := r.derive(p); r.reload || !reflect.DeepEqual(ops, want) {
		t.Errorf("reload %t, %+v", r.reload, ops)
	}
}

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

	"github.com/parkd-dev/parkd/pkg/lot"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/suspend"
)

// TestTurnedAwayInDoubt: of what comes while a step is in doubt nothing is lost that must not be.
func TestTurnedAwayInDoubt(t *testing.T) {
	away := errors.New("away")
	answered := func(r *request) *request {
		r.reply = make(chan reply, 1)
		return r
	}
	p := heldPool()
	p.called.Store(true)
	looked := false
	owed, leaves := answered(endOf("x", 1000)), answered(&request{leaves: &waiter{}, look: func() {}})
	look, other, reload, fresh := answered(&request{look: func() { looked = true }}), answered(&request{}), answered(&request{reload: true}), answered(&request{fresh: true})
	p.turnAway(owed, away)
	p.turnAway(leaves, away)
	if !slices.Equal(p.owed, []*request{owed, leaves}) || !owed.owed.over || len(owed.reply)+len(leaves.reply) > 0 {
		t.Errorf("%d requests are kept for later", len(p.owed))
	}
	p.turnAway(look, away)
	if a := <-look.reply; !looked || a.err != nil {
		t.Errorf("a look: %v", a.err)
	}
	p.turnAway(other, away)
	if a := <-other.reply; !errors.Is(a.err, away) || p.stale || !p.called.Load() {
		t.Errorf("a request: %v, stale %t", a.err, p.stale)
	}
	p.turnAway(fresh, away)
	if a := <-fresh.reply; !errors.Is(a.err, away) || p.called.Load() {
		t.Error("nothing would be heard of other nodes any more")
	}
	p.turnAway(reload, away)
	if a := <-reload.reply; !errors.Is(a.err, away) || !p.stale {
		t.Error("the pool is not to be loaded again")
	}
	p.turnAway(answered(&request{}), away)
	if !p.stale {
		t.Error("the pool is not to be loaded again any more")
	}
}

// TestRefusalsDouble: up to a bound, and they are told once.
func TestRefusalsDouble(t *testing.T) {
	told := &lines{}
	p := heldPool()
	p.eng.log = slog.New(slog.NewTextHandler(told, nil))
	var rests []time.Duration
	for range 10 {
		p.refused(errors.New("no"))
		rests = append(rests, p.refusal/time.Millisecond)
	}
	if want := []time.Duration{200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000}; !slices.Equal(rests, want) || told.n != 1 {
		t.Errorf("rests for %v ms, told %d times", rests, told.n)
	}
	said := errors.New("said")
	if got := cause(fmt.Errorf("commit: %w", &store.RefusedError{Err: said})); !errors.Is(got, said) {
		t.Errorf("the store has said %v", got)
	}
	if got := cause(said); !errors.Is(got, said) {
		t.Errorf("the store has said %v", got)
	}
}

// TestWorkThatIsToStop: each run is told why, also one that comes later, and the end of the last one is told once.
func TestWorkThatIsToStop(t *testing.T) {
	why := errors.New("why")
	var w work
	var stopped []string
	run := func(name string) *run {
		return &run{task: name, cancel: func(err error) { stopped = append(stopped, name+" "+fmt.Sprint(err)) }}
	}
	a, b, c := run("a"), run("b"), run("c")
	if w.add(a) != nil || w.add(b) != nil || w.closed() != nil {
		t.Error("runs are to stop from the start")
	}
	w.remove(a)
	none := w.close(why)
	if !errors.Is(w.closed(), why) || !errors.Is(w.add(c), why) || !slices.Equal(stopped, []string{"b why"}) {
		t.Errorf("stopped %v", stopped)
	}
	w.remove(b)
	if ready(none) {
		t.Error("one is left")
	}
	w.remove(c)
	if !ready(none) {
		t.Error("none is left")
	}
	w.remove(c)
	var idle work
	if !ready(idle.close(why)) {
		t.Error("there was none")
	}
}

// TestLeaseIDs are taken apart as they were made.
func TestLeaseIDs(t *testing.T) {
	p := &pool{}
	e := &Engine{pools: map[string]*pool{"remote": p}}
	for id, want := range map[string]leased{
		lot.LeaseID("remote", 3, "secret", "a.b"): {p, 3, "a.b"},
		lot.LeaseID("nowhere", 3, "secret", "a"):  {},
		"remote.x.secret.a":                       {},
		"remote.1.a":                              {},
		"":                                        {},
	} {
		got, err := e.parseLease(id)
		if got != want || (err == nil) != (want != leased{}) || err != nil && park.CodeOf(err) != park.LeaseNotFound {
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
	plain := func(bytes int) *request { return &request{ops: endOf("x", bytes).ops} }
	for name, c := range map[string]struct {
		batch  []*request
		comes  []*request
		aside  []*request
		d      time.Duration
		closed bool
		took   time.Duration
		want   string
		put    int // aside, after all
		left   int // that nobody looked at
	}{
		"nobody comes":      {d: time.Second, took: time.Second},
		"no time":           {comes: []*request{plain(1000)}, left: 1},
		"some come":         {comes: []*request{plain(1000), plain(1000)}, d: time.Second, took: time.Second, want: "c0 c1"},
		"others come":       {comes: []*request{{look: func() {}}, plain(1000)}, d: time.Second, took: time.Second, want: "c1", put: 1},
		"as large as it is": {batch: []*request{plain(maxStepBytes / 2)}, comes: []*request{plain(maxStepBytes / 2), plain(1000)}, d: time.Second, took: time.Second, want: "c0", left: 1},
		"too large":         {batch: []*request{plain(maxStepBytes / 2)}, comes: []*request{plain(maxStepBytes/2 + 2), plain(1000)}, d: time.Second, took: time.Second, put: 1, left: 1},
		"full":              {batch: []*request{plain(maxStepBytes)}, comes: []*request{plain(1000)}, d: time.Second, took: time.Second, left: 1},
		"behind others":     {aside: []*request{plain(1000)}, comes: []*request{plain(1000)}, d: time.Second, took: time.Second, put: 1, left: 1},
		"an outcome comes":  {comes: []*request{endOf("x", 1000)}, d: time.Second, took: 10 * time.Millisecond, want: "c0"},
		"two come":          {comes: []*request{endOf("x", 1000), endOf("y", 1000)}, d: time.Second, took: 10 * time.Millisecond, want: "c0 c1"},
		"just in time":      {comes: []*request{endOf("x", 1000)}, d: 5 * time.Millisecond, took: 5 * time.Millisecond, want: "c0"},
		"the end":           {d: time.Second, closed: true},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := heldPool()
			p.eng.clock = &clock{world: realWorld{began: time.Now(), Counter: suspend.New()}}
			p.eng.ctx = t.Context()
			p.stepped, p.aside = 40*time.Millisecond, c.aside
			names := map[*request]string{}
			for i, r := range c.comes {
				names[r] = fmt.Sprint("c", i)
				p.requests <- r
			}
			if c.closed {
				close(p.quit)
			}
			began := time.Now()
			timer := time.NewTimer(time.Hour)
			batch, ok := p.linger(timer, c.batch, c.d)
			if took := time.Since(began); took != c.took || ok == c.closed {
				t.Errorf("%s: took %s, not %s; ok %t", name, took, c.took, ok)
			}
			if got := takenFrom(names, batch[len(c.batch):]...); got != c.want || len(p.aside) != c.put || len(p.requests) != c.left {
				t.Errorf("%s: took %q, put %d aside, left %d", name, got, len(p.aside), len(p.requests))
			}
			for _, r := range batch {
				if r.owed != nil && !r.owed.over {
					t.Errorf("%s: a run of which the outcome is there goes on", name)
				}
			}
		})
	}
}

// undertaker is a shared store that buries nodes as a test wants.
type undertaker struct {
	store.Shared
	refuses bool
	buried  []string
}

func (u *undertaker) Bury(_ context.Context, name string, counter int64) (bool, error) {
	u.buried = append(u.buried, fmt.Sprint(name, counter))
	return !u.refuses, nil
}

// heldNode is a node that does not beat by itself.
func heldNode(c *handClock, s store.Shared) (*node, *lines) {
	told := &lines{}
	e := &Engine{
		clock: &clock{world: c}, log: slog.New(slog.NewTextHandler(told, &slog.HandlerOptions{Level: slog.LevelInfo})), meter: noMeter{}, ctx: context.Background(), node: "me",
		cfg: Config{NodeTTL: 10 * time.Second, NodeGrace: 5 * time.Second},
	}
	return newNode(e, park.InMemory, s), told
}

// TestDeadNodesAreBuried: those whose counter has stood still for the longest terms of all nodes, and no others.
func TestDeadNodesAreBuried(t *testing.T) {
	c, u := &handClock{mono: time.Hour}, &undertaker{}
	n, told := heldNode(c, u)
	cpu, remote := heldPool(), heldPool()
	remote.Runtime = park.WebWorker
	n.pools = []*pool{cpu, remote}
	look := func(after time.Duration, live map[string]int64, want ...string) {
		t.Helper()
		c.pass(after)
		u.buried = nil
		pulses := map[string]store.Pulse{}
		for name, counter := range live {
			pulses[name] = store.Pulse{Counter: counter, Terms: store.Terms{TTL: 10 * time.Second, Grace: 5 * time.Second}}
		}
		n.bury(t.Context(), pulses)
		if !slices.Equal(u.buried, want) {
			t.Errorf("buries %v, not %v", u.buried, want)
		}
	}
	look(0, map[string]int64{"me": 1, "a": 1, "b": 1, "new": 0}) // who has not beaten yet is seen too
	look(14*time.Second, map[string]int64{"me": 1, "a": 1, "b": 2})
	look(time.Second-1, map[string]int64{"me": 1, "a": 1, "b": 2})
	u.refuses = true
	look(1, map[string]int64{"me": 1, "a": 1, "b": 2}, "a1")
	if len(cpu.requests) > 0 || told.n != 0 {
		t.Errorf("tasks of a node are taken over that lives, or the log tells of it: %d", told.n)
	}
	u.refuses = false
	look(0, map[string]int64{"me": 1, "a": 1, "b": 2}, "a1")
	if len(cpu.requests) != 1 || len(remote.requests) != 0 || told.n != 1 {
		t.Errorf("%d and %d takeovers, told %d times", len(cpu.requests), len(remote.requests), told.n)
	}
	look(0, map[string]int64{"me": 1, "a": 1, "b": 2}) // it is seen anew
	look(14*time.Second-1, map[string]int64{"me": 1, "a": 1, "b": 2})
	look(0, map[string]int64{"me": 1, "a": 1})
	look(1, map[string]int64{"me": 1, "a": 1, "b": 2}) // who was away is seen anew too
	look(time.Second, map[string]int64{"me": 1, "a": 1, "b": 2}, "a1")
	if _, seen := n.seen["a"]; seen {
		t.Error("who was buried is still seen")
	}
	delete(n.seen, "me")
	look(time.Minute, map[string]int64{})
	if len(n.seen) != 0 {
		t.Errorf("nobody lives, and %v are seen", n.seen)
	}
}

// TestTakeover requeues what ran on a dead node, the last of it first, as the attempt that it was.
func TestTakeover(t *testing.T) {
	n, _ := heldNode(&handClock{}, &undertaker{})
	p := heldPool()
	n.pools = []*pool{p}
	now := p.eng.env.Instant()
	p.lot = lot.New(lot.Config{Pool: "cpu"}, now)
	for i, on := range []string{"dead", "dead", "me"} {
		r := park.Record{Spec: park.Spec{TaskID: fmt.Sprint(i), Units: 1}, State: park.State{Status: park.Running, Attempt: 2 + i, Node: on}}
		p.lot.Restore(&r, now)
	}
	n.takeOver("dead")
	r := <-p.requests
	want := []lot.Op{
		lot.Requeue{TaskID: "1", Attempt: 3, Reason: park.ReasonNodeLost}, lot.Requeue{TaskID: "0", Attempt: 2, Reason: park.ReasonNodeLost},
	}
	if ops := r.late(); !r.fresh || !reflect.DeepEqual(ops, want) {
		t.Errorf("fresh %t, %+v", r.fresh, ops)
	}
}

// TestNodeKnowsHowItStands: when it is certain to be taken for alive, and what it says where it cannot beat.
func TestNodeKnowsHowItStands(t *testing.T) {
	c := &handClock{mono: time.Hour}
	n, told := heldNode(c, &undertaker{})
	stands := func(alive bool, spare time.Duration, trouble error) {
		t.Helper()
		if n.alive() != alive || n.spare() != spare || !errors.Is(n.trouble(), trouble) {
			t.Errorf("alive %t for %s, %v; not %t for %s, %v", n.alive(), n.spare(), n.trouble(), alive, spare, trouble)
		}
	}
	stands(false, 0, errNodeLost)
	if !n.unheard("me") || n.unheard("other") {
		t.Error("before its first beat")
	}
	n.beat.Store(int64(c.mono))
	stands(true, 10*time.Second, nil)
	if n.unheard("me") {
		t.Error("after its first beat")
	}
	c.pass(10*time.Second - 1)
	stands(true, 1, nil)
	c.pass(1)
	stands(false, 0, errNodeLost)
	if n.proved() != 10*time.Second {
		t.Errorf("proved %s ago", n.proved())
	}
	err1, err2 := errors.New("1"), errors.New("2")
	for i, step := range []struct {
		after time.Duration
		err   error // of a beat; nil: it counts
		told  int
	}{{0, err1, 1}, {complainRest - 1, err2, 1}, {1, err1, 2}, {1, err1, 2}, {0, nil, 3}, {0, nil, 3}, {0, err1, 4}} {
		c.pass(step.after)
		if step.err == nil {
			n.beaten()
			stands(false, n.spare(), errNodeLost)
		} else {
			n.unbeaten(step.err)
			stands(false, n.spare(), step.err)
		}
		if told.n != step.told {
			t.Errorf("step %d: told %d times, not %d", i, told.n, step.told)
		}
	}
	for _, of := range []struct {
		live         []string
		first, alone bool
	}{{nil, true, true}, {[]string{"me"}, true, true}, {[]string{"me", "you"}, true, false}, {[]string{"me", "a"}, false, false}} {
		n.live = map[string]store.Pulse{}
		for _, name := range of.live {
			n.live[name] = store.Pulse{}
		}
		if n.first() != of.first || n.alone() != of.alone {
			t.Errorf("among %v: first %t, alone %t", of.live, n.first(), n.alone())
		}
	}
}

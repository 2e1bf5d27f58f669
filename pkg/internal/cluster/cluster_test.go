package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/env"
	"github.com/parkd-dev/parkd/pkg/internal/env/envtest"
	"github.com/parkd-dev/parkd/pkg/internal/health"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// fakePool notes what its node asks of it.
type fakePool struct {
	Pool
	name, print string
	rev         int64
	executing   []int // by call, the last one for ever
	did         []string
	err         error // of all calls that can fail
	abandoned   bool
}

func (p *fakePool) Name() string        { return p.name }
func (p *fakePool) Fingerprint() string { return p.print }
func (p *fakePool) Rev() int64          { return p.rev }
func (p *fakePool) Abandoned() bool     { return p.abandoned }
func (p *fakePool) Follow(rev int64)    { p.note("follow ", rev) }
func (p *fakePool) Resume(reload bool)  { p.note("resume ", reload) }
func (p *fakePool) TakeOver(dead string) {
	p.note("take over ", dead)
}

func (p *fakePool) Executing(context.Context) (int, error) {
	p.note("executing")
	n := 0
	if len(p.executing) > 0 {
		n = p.executing[0]
		p.executing = p.executing[min(1, len(p.executing)-1):]
	}
	return n, p.err
}

func (p *fakePool) Renamed(context.Context) error {
	p.note("renamed")
	return p.err
}

func (p *fakePool) note(what ...any) { p.did = append(p.did, fmt.Sprint(what...)) }

// fakeStore is a shared store that does as a test wants.
type fakeStore struct {
	store.Shared
	refuses bool // to mark nodes as dead
	buried  []string
	live    map[string]store.NodeHeartbeat
	err     error // of heartbeats
	greeted int
	left    []string
}

func (s *fakeStore) DeclareDead(_ context.Context, name string, counter int64) (bool, error) {
	s.buried = append(s.buried, fmt.Sprint(name, counter))
	return !s.refuses, nil
}

func (s *fakeStore) Heartbeat(context.Context, string, store.NodeConfig) (map[string]store.NodeHeartbeat, error) {
	return s.live, s.err
}

func (s *fakeStore) NotifyRev(context.Context, string, int64) error {
	s.greeted++
	return nil
}

func (s *fakeStore) RemoveNode(_ context.Context, name string) error {
	s.left = append(s.left, name)
	return nil
}

// newNode returns the node me of a store, which sends no heartbeats by itself, and its log.
func newNode(t *testing.T, m env.Machine, s store.Shared, pools ...Pool) (*Node, *strings.Builder) {
	logged := &strings.Builder{}
	n := New(t.Context(), Config{
		Env: env.New(m), Log: slog.New(slog.NewTextHandler(logged, &slog.HandlerOptions{Level: slog.LevelInfo})),
		Health:  health.New([]park.Backend{park.InMemory}, func(park.Backend, string) {}),
		Backend: park.InMemory, Store: s, Name: "me", TTL: 10 * time.Second, Grace: 5 * time.Second,
	})
	for _, p := range pools {
		n.Add(p)
	}
	return n, logged
}

func lines(logged *strings.Builder) int { return strings.Count(logged.String(), "\n") }

// TestDeadNodesAreDeclared: those whose counter has stood still for the longest terms of all nodes, and no others.
func TestDeadNodesAreDeclared(t *testing.T) {
	m, s, p := &envtest.Machine{Mono: time.Hour}, &fakeStore{}, &fakePool{}
	n, logged := newNode(t, m, s, p)
	look := func(after time.Duration, live map[string]int64, want ...string) {
		t.Helper()
		m.Pass(after)
		s.buried = nil
		pulses := map[string]store.NodeHeartbeat{}
		for name, counter := range live {
			pulses[name] = store.NodeHeartbeat{Counter: counter, NodeConfig: store.NodeConfig{TTL: 10 * time.Second, Grace: 5 * time.Second}}
		}
		n.declareDead(t.Context(), pulses)
		if !slices.Equal(s.buried, want) {
			t.Errorf("declares %v dead, not %v", s.buried, want)
		}
	}
	look(0, map[string]int64{"me": 1, "a": 1, "b": 1, "new": 0}) // a node before its first heartbeat is observed too
	look(14*time.Second, map[string]int64{"me": 1, "a": 1, "b": 2})
	look(time.Second-1, map[string]int64{"me": 1, "a": 1, "b": 2})
	s.refuses = true
	look(1, map[string]int64{"me": 1, "a": 1, "b": 2}, "a1")
	if len(p.did) > 0 || lines(logged) != 0 {
		t.Errorf("tasks of a living node are taken over, or the log says so: %v, %s", p.did, logged)
	}
	s.refuses = false
	look(0, map[string]int64{"me": 1, "a": 1, "b": 2}, "a1")
	if !slices.Equal(p.did, []string{"take over a"}) || lines(logged) != 1 {
		t.Errorf("%v, logged %s", p.did, logged)
	}
	look(0, map[string]int64{"me": 1, "a": 1, "b": 2}) // its observation begins again
	look(14*time.Second-1, map[string]int64{"me": 1, "a": 1, "b": 2})
	look(0, map[string]int64{"me": 1, "a": 1})
	look(1, map[string]int64{"me": 1, "a": 1, "b": 2}) // the observation of a node that was away begins again too
	look(time.Second, map[string]int64{"me": 1, "a": 1, "b": 2}, "a1")
	if _, seen := n.seen["a"]; seen {
		t.Error("a dead node is still observed")
	}
	delete(n.seen, "me")
	look(time.Minute, map[string]int64{})
	if len(n.seen) != 0 {
		t.Errorf("no node lives, and %v are observed", n.seen)
	}
}

// TestNodeKnowsItsState: when it is certain to be taken for alive, and what its trouble is if it cannot beat.
func TestNodeKnowsItsState(t *testing.T) {
	m := &envtest.Machine{Mono: time.Hour}
	n, logged := newNode(t, m, &fakeStore{})
	state := func(alive bool, left time.Duration, trouble error) {
		t.Helper()
		if n.Alive() != alive || n.aliveFor() != left || !errors.Is(n.Trouble(), trouble) {
			t.Errorf("alive %t for %s, %v; not %t for %s, %v", n.Alive(), n.aliveFor(), n.Trouble(), alive, left, trouble)
		}
	}
	state(false, 0, ErrNodeLost)
	if !n.Unregistered("me") || n.Unregistered("other") {
		t.Error("before its first heartbeat")
	}
	n.counted.Store(int64(m.Mono))
	state(true, 10*time.Second, nil)
	if n.Unregistered("me") {
		t.Error("after its first heartbeat")
	}
	m.Pass(10*time.Second - 1)
	state(true, 1, nil)
	m.Pass(1)
	state(false, 0, ErrNodeLost)
	if n.SinceHeartbeat() != 10*time.Second {
		t.Errorf("its last heartbeat was %s ago", n.SinceHeartbeat())
	}
	err1, err2 := errors.New("1"), errors.New("2")
	for i, step := range []struct {
		after  time.Duration
		err    error // of a heartbeat; nil: it counts
		logged int
	}{{0, err1, 1}, {complainRest - 1, err2, 1}, {1, err1, 2}, {1, err1, 2}, {0, nil, 3}, {0, nil, 3}, {0, err1, 4}} {
		m.Pass(step.after)
		if step.err == nil {
			n.heard()
			state(false, n.aliveFor(), ErrNodeLost)
		} else {
			n.unheard(step.err)
			state(false, n.aliveFor(), step.err)
		}
		if lines(logged) != step.logged || n.Health.Up(park.InMemory) != (step.err == nil) {
			t.Errorf("step %d: logged %d times, not %d; the store is up %t", i, lines(logged), step.logged, n.Health.Up(park.InMemory))
		}
	}
	for _, of := range []struct {
		live         []string
		first, alone bool
	}{{nil, true, true}, {[]string{"me"}, true, true}, {[]string{"me", "you"}, true, false}, {[]string{"me", "a"}, false, false}} {
		n.live = map[string]store.NodeHeartbeat{}
		for _, name := range of.live {
			n.live[name] = store.NodeHeartbeat{}
		}
		if n.First() != of.first || (n.Members() < 2) != of.alone || n.Members() != len(of.live) {
			t.Errorf("among %v: first %t, of %d", of.live, n.First(), n.Members())
		}
	}
}

// ownIDs is a simulator whose ids are its own.
type ownIDs struct{ *envtest.Simulator }

func (ownIDs) ID() string { return "its own" }

// TestTakenForDead: a node that was taken for dead while it could not beat gets another name once its pools run nothing, and
// has each of them load again under it.
func TestTakenForDead(t *testing.T) {
	away := errors.New("away")
	m, s := envtest.NewSimulator(t), &fakeStore{err: away}
	a, b := &fakePool{executing: []int{2, 1, 0}}, &fakePool{}
	n, _ := newNode(t, ownIDs{m}, s, a, b)
	n.heartbeat(t.Context())
	if err := n.Trouble(); !errors.Is(err, away) {
		t.Errorf("it cannot beat: %v", err)
	}
	life := n.Life()
	s.err = store.ErrDead
	n.heartbeat(t.Context())
	if err := n.Trouble(); !errors.Is(err, ErrNodeLost) || n.Name() != "its own" || !errors.Is(context.Cause(life), ErrNodeLost) {
		t.Errorf("taken for dead it is %s: %v, %v", n.Name(), err, context.Cause(life))
	}
	want := []string{"executing", "executing", "executing", "renamed"}
	if !slices.Equal(a.did, want) || !slices.Equal(b.did, want[2:]) {
		t.Errorf("%v and %v", a.did, b.did)
	}
	if rest := (envtest.Wait{For: renameRest}); !slices.Equal(m.Waited, []envtest.Wait{rest, rest}) {
		t.Errorf("it waits %v", m.Waited)
	}
}

// TestHeartbeats: one after an interruption begins another life in which pools go on. They are loaded again, except after the
// first heartbeat of all.
func TestHeartbeats(t *testing.T) {
	m, p := &envtest.Machine{Mono: time.Hour}, &fakePool{}
	s := &fakeStore{}
	n, _ := newNode(t, m, s, p)
	for i, c := range []struct {
		after   time.Duration
		renewed bool
		did     []string
	}{
		{0, true, []string{"resume false"}},
		{time.Second, false, nil},
		{10*time.Second - 1, false, nil},
		{10*time.Second + 1, true, []string{"resume true"}},
		{time.Second, false, nil},
	} {
		p.did, s.greeted, s.live = nil, 0, map[string]store.NodeHeartbeat{"me": {}, "you": {Counter: int64(i)}}
		life := n.Life()
		m.Pass(c.after)
		n.heartbeat(t.Context())
		if !n.Alive() || n.Life().Err() != nil || n.Members() != 2 || n.Trouble() != nil {
			t.Errorf("step %d: alive %t, of %d, %v", i, n.Alive(), n.Members(), n.Trouble())
		}
		if renewed := life.Err() != nil; renewed != c.renewed || (n.Life() != life) != c.renewed || (s.greeted == 1) != c.renewed || !slices.Equal(p.did, c.did) {
			t.Errorf("step %d: another life %t, greeted %d times, %v", i, renewed, s.greeted, p.did)
		}
	}
}

// TestLeaving: a node leaves if it ever was alive and no run is left behind.
func TestLeaving(t *testing.T) {
	s, p := &fakeStore{}, &fakePool{}
	n, _ := newNode(t, &envtest.Machine{Mono: time.Hour}, s, p)
	n.Leave()
	n.counted.Store(1)
	p.abandoned = true
	n.Leave()
	if len(s.left) != 0 {
		t.Errorf("%v left", s.left)
	}
	p.abandoned = false
	if n.Leave(); !slices.Equal(s.left, []string{"me"}) {
		t.Errorf("%v left", s.left)
	}
}

package engine_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/memory"
)

// tally is a meter that counts.
type tally struct {
	mu sync.Mutex
	n  map[string]int
}

func (m *tally) add(what string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.n == nil {
		m.n = make(map[string]int)
	}
	m.n[what]++
}

func (m *tally) of(what string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.n[what]
}

func (m *tally) Stepped(string, int, time.Duration) {}
func (m *tally) Happened(string, park.Action, int)  {}
func (m *tally) Waited(string, time.Duration)       {}
func (m *tally) Deferred(pool, reason string)       { m.add("deferred " + pool + " " + reason) }
func (m *tally) Ran(_ string, s park.Status, d time.Duration) {
	m.add("ran " + string(s) + " " + d.String())
}

func (m *tally) Ended(_ string, s park.Status, reason string) {
	m.add("ended " + string(s) + " " + reason)
}
func (m *tally) Rejected(_ string, c park.Code)           { m.add("rejected " + string(c)) }
func (m *tally) Retried(_ park.Backend, why engine.Retry) { m.add("retried " + string(why)) }
func (m *tally) Failed(_ park.Backend, what engine.Asked) { m.add("failed " + string(what)) }

// TestMeasures: what waits longest, what runs here, and what became of tasks and steps is told as it happens.
func TestMeasures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, away := &tally{}, &abandoned{Store: memory.New()}
		cpu := pool("cpu", 1, simulated())
		cpu.MaxQueueDepth = 2
		b := open(t, engine.Config{
			Pools: []engine.Pool{cpu}, Meter: m, Stores: map[park.Backend]store.Store{park.InMemory: away},
		})
		defer b.stop()
		b.submit("cpu", named("runs", sim(60_000)))
		b.submit("cpu", named("first", sim(1_000)))
		time.Sleep(10 * time.Second)
		b.submit("cpu", named("second", sim(1_000)))
		b.offer("cpu", named("third", sim(1_000)))
		time.Sleep(10 * time.Second)
		got := b.Measures()
		if p := got.Pools[0]; p.OldestAge != 20*time.Second || p.RunningHere != 1 || p.Deferred {
			t.Errorf("%+v", p)
		}
		if s := got.Stores[0]; !s.Up || s.Shared {
			t.Errorf("%+v", s)
		}
		if _, err := b.Cancel(t.Context(), "cpu", "first"); err != nil {
			t.Fatal(err)
		}
		if p := b.Measures().Pools[0]; p.OldestAge != 10*time.Second {
			t.Errorf("without the first: %+v", p)
		}
		away.gone.Store(true)
		b.offer("cpu", named("lost", sim(1_000)))
		if s := b.Measures().Stores[0]; s.Up {
			t.Error("up though it takes nothing")
		}
		away.gone.Store(false)
		b.ended("cpu", "second")
		if got := b.Measures(); !got.Stores[0].Up || got.Pools[0].OldestAge != 0 || got.Pools[0].RunningHere != 0 {
			t.Errorf("at the end %+v", got)
		}
		for _, what := range []string{
			"rejected queue_full", "ended dropped cancelled", "ran completed 1s", "ran completed 1m0s",
		} {
			if m.of(what) != 1 {
				t.Errorf("%s: %d times; %v", what, m.of(what), m.n)
			}
		}
		if m.of("ended completed ") != 2 || m.of("retried refused") == 0 || m.of("failed step") != m.of("retried refused") {
			t.Errorf("%v", m.n)
		}
	})
}

// TestNodesAreMeasured: of a shared store it is told who is alive, and since when this node could not say so.
func TestNodesAreMeasured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tm := newTeam(t, 2, func(_ int, c *engine.Config) { c.Pools = []engine.Pool{pool("cpu", 1, simulated())} })
		defer tm.stop()
		time.Sleep(5 * time.Second)
		if s := tm.nodes[0].Measures().Stores[0]; !s.Up || !s.Shared || s.Nodes != 2 || s.BeatAge > 2*time.Second {
			t.Errorf("%+v", s)
		}
		tm.lines[0].cut.Store(true)
		time.Sleep(5 * time.Second)
		if s := tm.nodes[0].Measures().Stores[0]; s.Up || s.BeatAge < 4*time.Second {
			t.Errorf("cut off: %+v", s)
		}
		tm.lines[0].cut.Store(false)
	})
}

// unreadable is a store that can be written, and not read while it is shut.
type unreadable struct {
	*memory.Store
	shut atomic.Bool
}

func (u *unreadable) told(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if u.shut.Load() {
		return errGone
	}
	return nil
}

func (u *unreadable) Records(ctx context.Context, pool string, ids []string) ([]ledger.Record, error) {
	if err := u.told(ctx); err != nil {
		return nil, err
	}
	return u.Store.Records(ctx, pool, ids)
}

func (u *unreadable) Messages(ctx context.Context, q park.MailboxQuery) ([]park.Message, error) {
	if err := u.told(ctx); err != nil {
		return nil, err
	}
	return u.Store.Messages(ctx, q)
}

func (u *unreadable) Events(ctx context.Context, q park.AuditQuery) ([]park.Event, error) {
	if err := u.told(ctx); err != nil {
		return nil, err
	}
	return u.Store.Events(ctx, q)
}

// TestReadsAreMeasured: a store that cannot be read is not up, whatever it stores meanwhile. A reader that goes away, or asks
// for what there cannot be, says nothing of the store.
func TestReadsAreMeasured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, u := &tally{}, &unreadable{Store: memory.New()}
		b := open(t, engine.Config{Pools: []engine.Pool{pool("cpu", 1, simulated())}, Meter: m, Stores: map[park.Backend]store.Store{park.InMemory: u}})
		defer b.stop()
		up := func(what string, want bool) {
			t.Helper()
			if got := b.Measures().Stores[0].Up; got != want {
				t.Errorf("%s: up %t", what, got)
			}
		}
		b.submit("cpu", named("a", sim(1)))
		b.ended("cpu", "a")
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		for what, read := range map[string]func(context.Context) error{
			"task": func(ctx context.Context) error { _, err := b.Task(ctx, "cpu", "a", 0); return err },
			"mailbox": func(ctx context.Context) error {
				_, err := b.Mailbox(ctx, park.MailboxQuery{Tenant: "default", Key: "box"})
				return err
			},
			"audit": func(ctx context.Context) error { _, err := b.Audit(ctx, park.AuditQuery{}); return err },
		} {
			before := m.of("failed read")
			if read(gone) == nil {
				t.Errorf("%s: read by nobody", what)
			}
			up(what+" for who has gone", true)
			u.shut.Store(true)
			if err := read(t.Context()); park.CodeOf(err) != park.StorageUnavailable {
				t.Errorf("%s: %v", what, err)
			}
			b.submit("cpu", named("then-"+what, sim(3_600_000)))
			up(what+" of a store that is shut", false)
			u.shut.Store(false)
			if err := read(t.Context()); err != nil {
				t.Errorf("%s: %v", what, err)
			}
			up(what+" of a store that is open again", true)
			if n := m.of("failed read") - before; n != 1 {
				t.Errorf("%s: %d failed reads", what, n)
			}
		}
		if _, err := b.Audit(t.Context(), park.AuditQuery{Cursor: "cpu:1000:0"}); err == nil {
			t.Error("read from an event that never was")
		}
		up("an event that never was", true)
	})
}

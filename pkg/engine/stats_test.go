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

// countingMeter is a meter that counts.
type countingMeter struct {
	mu sync.Mutex
	n  map[string]int
}

func (m *countingMeter) add(what string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.n == nil {
		m.n = make(map[string]int)
	}
	m.n[what]++
}

func (m *countingMeter) of(what string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.n[what]
}

func (m *countingMeter) StepCommitted(string, int, time.Duration) {}
func (m *countingMeter) Events(string, park.Action, int)          {}
func (m *countingMeter) QueueWait(string, time.Duration)          {}
func (m *countingMeter) StartDeferred(pool, reason string)        { m.add("deferred " + pool + " " + reason) }

func (m *countingMeter) RunTime(_ string, s park.Status, d time.Duration) {
	m.add("ran " + string(s) + " " + d.String())
}

func (m *countingMeter) TaskEnded(_ string, s park.Status, reason string) {
	m.add("ended " + string(s) + " " + reason)
}
func (m *countingMeter) Rejected(_ string, c park.Code) { m.add("rejected " + string(c)) }
func (m *countingMeter) StepRetried(_ park.Backend, why engine.RetryReason) {
	m.add("retried " + string(why))
}

func (m *countingMeter) StoreFailed(_ park.Backend, what engine.StoreRequest) {
	m.add("failed " + string(what))
}

// TestMeasures: what waits longest, what runs here, and what became of tasks and steps is told as it happens.
func TestMeasures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, away := &countingMeter{}, &disconnectable{Store: memory.New()}
		cpu := poolConfig("cpu", 1, sleepExecutor())
		cpu.MaxQueueDepth = 2
		b := openEngine(t, engine.Config{
			Pools: []engine.Pool{cpu}, Meter: m, Stores: map[park.Backend]store.Store{park.InMemory: away},
		})
		defer b.closeNow()
		b.submit("cpu", withID("runs", sleepFor(60_000)))
		b.submit("cpu", withID("first", sleepFor(1_000)))
		time.Sleep(10 * time.Second)
		b.submit("cpu", withID("second", sleepFor(1_000)))
		b.trySubmit("cpu", withID("third", sleepFor(1_000)))
		time.Sleep(10 * time.Second)
		got := b.Stats()
		if p := got.Pools[0]; p.OldestAge != 20*time.Second || p.RunningHere != 1 || p.Deferred {
			t.Errorf("%+v", p)
		}
		if s := got.Stores[0]; !s.Up || s.Shared {
			t.Errorf("%+v", s)
		}
		if _, err := b.Cancel(t.Context(), "cpu", "first"); err != nil {
			t.Fatal(err)
		}
		if p := b.Stats().Pools[0]; p.OldestAge != 10*time.Second {
			t.Errorf("without the first: %+v", p)
		}
		away.gone.Store(true)
		b.trySubmit("cpu", withID("lost", sleepFor(1_000)))
		if s := b.Stats().Stores[0]; s.Up {
			t.Error("up though it takes nothing")
		}
		away.gone.Store(false)
		b.awaitTask("cpu", "second")
		if got := b.Stats(); !got.Stores[0].Up || got.Pools[0].OldestAge != 0 || got.Pools[0].RunningHere != 0 {
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
		tm := openCluster(t, 2, func(_ int, c *engine.Config) { c.Pools = []engine.Pool{poolConfig("cpu", 1, sleepExecutor())} })
		defer tm.stop()
		time.Sleep(5 * time.Second)
		if s := tm.nodes[0].Stats().Stores[0]; !s.Up || !s.Shared || s.Nodes != 2 || s.HeartbeatAge > 2*time.Second {
			t.Errorf("%+v", s)
		}
		tm.stores[0].cut.Store(true)
		time.Sleep(5 * time.Second)
		if s := tm.nodes[0].Stats().Stores[0]; s.Up || s.HeartbeatAge < 4*time.Second {
			t.Errorf("cut off: %+v", s)
		}
		tm.stores[0].cut.Store(false)
	})
}

// unreadable is a store that can be written, and not read while it is shut.
type unreadable struct {
	*memory.Store
	failing atomic.Bool
}

func (u *unreadable) readErr(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if u.failing.Load() {
		return errGone
	}
	return nil
}

func (u *unreadable) Records(ctx context.Context, pool string, ids []string) ([]ledger.Record, error) {
	if err := u.readErr(ctx); err != nil {
		return nil, err
	}
	return u.Store.Records(ctx, pool, ids)
}

func (u *unreadable) Messages(ctx context.Context, q park.MailboxQuery) ([]park.Message, error) {
	if err := u.readErr(ctx); err != nil {
		return nil, err
	}
	return u.Store.Messages(ctx, q)
}

func (u *unreadable) Events(ctx context.Context, q park.AuditQuery) ([]park.Event, error) {
	if err := u.readErr(ctx); err != nil {
		return nil, err
	}
	return u.Store.Events(ctx, q)
}

// TestReadsAreMeasured: a store that cannot be read is not up, whatever it stores meanwhile. A reader that goes away, or asks
// for what there cannot be, says nothing of the store.
func TestReadsAreMeasured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, u := &countingMeter{}, &unreadable{Store: memory.New()}
		b := openEngine(t, engine.Config{Pools: []engine.Pool{poolConfig("cpu", 1, sleepExecutor())}, Meter: m, Stores: map[park.Backend]store.Store{park.InMemory: u}})
		defer b.closeNow()
		up := func(what string, want bool) {
			t.Helper()
			if got := b.Stats().Stores[0].Up; got != want {
				t.Errorf("%s: up %t", what, got)
			}
		}
		b.submit("cpu", withID("a", sleepFor(1)))
		b.awaitTask("cpu", "a")
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
			u.failing.Store(true)
			if err := read(t.Context()); park.CodeOf(err) != park.StorageUnavailable {
				t.Errorf("%s: %v", what, err)
			}
			b.submit("cpu", withID("then-"+what, sleepFor(3_600_000)))
			up(what+" of a store that is shut", false)
			u.failing.Store(false)
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

package engine_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/park"
)

// resize gives a pool so many units.
func (b *bench) resize(pool string, units int64) park.Pool {
	b.Helper()
	p, err := b.SetPool(context.Background(), pool, park.PoolPatch{MaxUnits: &units})
	if err != nil {
		b.Fatal(err)
	}
	return p
}

func costs(id string, units int64, ms int) park.Submission {
	s := named(id, sim(ms))
	s.ResourceCost.Units = park.Units(units)
	return s
}

// wantLarger checks what is said of a parked task that costs more than its pool has.
func (b *bench) wantLarger(id string) {
	b.Helper()
	got, err := b.Task(context.Background(), "cpu", id, 0)
	if err != nil || got.Status != park.Queued || got.Waiting == nil || got.Waiting.Code != park.WaitsLarger || got.Waiting.Message == "" {
		b.Errorf("task %s: %s, waiting %+v, %v", id, got.Status, got.Waiting, err)
	}
	page, err := b.Tasks(context.Background(), "cpu", park.TaskQuery{Status: park.Queued})
	if err != nil {
		b.Fatal(err)
	}
	for _, t := range page.Tasks {
		if t.TaskID == id && t.Waiting == nil {
			b.Errorf("the list says nothing of task %s", id)
		}
	}
}

func TestLargerThanPoolBlocksNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, engine.Config{Pools: []engine.Pool{pool("cpu", 8, simulated())}})
		b.submit("cpu", costs("first", 8, 1000))
		large := costs("large", 6, 10)
		large.Priority = park.Critical
		b.submit("cpu", large)
		late := costs("late", 6, 10)
		late.Deadline = park.At(time.Now().Add(time.Minute))
		b.submit("cpu", late)
		b.submit("cpu", costs("gone", 5, 10))
		b.submit("cpu", costs("small", 2, 10))
		if p := b.resize("cpu", 7); p.Warning != "" {
			t.Errorf("nothing is too large, but: %s", p.Warning)
		}
		if p := b.resize("cpu", 4); !strings.Contains(p.Warning, "3 parked tasks") || !strings.Contains(p.Warning, "largest costs 6") {
			t.Errorf("the warning: %q", p.Warning)
		}
		b.wantLarger("large")
		if got := b.ended("cpu", "small"); got.Status != park.Completed {
			t.Errorf("the small one behind them: %+v", got)
		}
		if _, err := b.Cancel(context.Background(), "cpu", "gone"); err != nil {
			t.Error(err)
		}
		if got := b.ended("cpu", "late"); got.Status != park.Expired {
			t.Errorf("the one with a deadline is %s", got.Status)
		}
		b.resize("cpu", 6)
		if got := b.ended("cpu", "large"); got.Status != park.Completed || got.Waiting != nil {
			t.Errorf("after the capacity came back: %+v", got)
		}
		b.stop()
		check(t, b.events(park.AuditQuery{PoolID: "cpu", Changes: true}), 8)
	})
}

// TestLargerThanPoolAfterRestart starts with a smaller pool than the tasks were submitted to.
func TestLargerThanPoolAfterRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, engine.Config{Pools: []engine.Pool{pool("cpu", 8, simulated())}})
		b.submit("cpu", costs("first", 8, 1000))
		b.submit("cpu", costs("large", 6, 10))
		b.submit("cpu", costs("small", 2, 10))
		b.stop()
		var log strings.Builder
		c := engine.Config{Stores: b.stores, Pools: []engine.Pool{pool("cpu", 4, simulated())}, Log: slog.New(slog.NewTextHandler(&log, nil))}
		b = open(t, c)
		if !strings.Contains(log.String(), "2 parked tasks cost more than the 4 units of pool cpu (the largest costs 8)") {
			t.Errorf("the log says: %s", &log)
		}
		b.ended("cpu", "small")
		b.wantLarger("first")
		b.wantLarger("large")
		b.stop()
		c.Pools[0].MaxUnits = 8
		b = open(t, c)
		b.ended("cpu", "first")
		b.ended("cpu", "large")
		b.stop()
	})
}

func TestLargerThanPoolOnSeveralNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w witness
		tm := newTeam(t, 2, func(_ int, c *engine.Config) { c.Pools = []engine.Pool{w.pool(8)} })
		defer tm.stop()
		a, b := tm.nodes[0], tm.nodes[1]
		a.submit("cpu", costs("first", 8, 1000))
		a.submit("cpu", costs("large", 6, 10))
		b.resize("cpu", 4)
		a.submit("cpu", costs("small", 2, 10))
		b.submit("cpu", costs("other", 2, 10))
		a.ended("cpu", "small")
		a.ended("cpu", "other")
		a.wantLarger("large")
		b.wantLarger("large")
		a.resize("cpu", 8)
		b.ended("cpu", "large")
		check(t, a.events(park.AuditQuery{PoolID: "cpu", Changes: true}), 8)
	})
}

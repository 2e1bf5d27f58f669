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

// setUnits sets the units of a pool.
func (b *harness) setUnits(pool string, units int64) park.Pool {
	b.Helper()
	p, err := b.SetPool(context.Background(), pool, park.PoolPatch{MaxUnits: &units})
	if err != nil {
		b.Fatal(err)
	}
	return p
}

func withUnits(id string, units int64, ms int) park.Submission {
	s := withID(id, sleepFor(ms))
	s.ResourceCost.Units = park.Units(units)
	return s
}

// checkTooLarge checks the warning about a parked task that costs more than its pool has.
func (b *harness) checkTooLarge(id string) {
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
		b := openEngine(t, engine.Config{Pools: []engine.Pool{poolConfig("cpu", 8, sleepExecutor())}})
		b.submit("cpu", withUnits("first", 8, 1000))
		large := withUnits("large", 6, 10)
		large.Priority = park.Critical
		b.submit("cpu", large)
		late := withUnits("late", 6, 10)
		late.Deadline = park.At(time.Now().Add(time.Minute))
		b.submit("cpu", late)
		b.submit("cpu", withUnits("gone", 5, 10))
		b.submit("cpu", withUnits("small", 2, 10))
		if p := b.setUnits("cpu", 7); p.Warning != "" {
			t.Errorf("nothing is too large, but: %s", p.Warning)
		}
		if p := b.setUnits("cpu", 4); !strings.Contains(p.Warning, "3 parked tasks") || !strings.Contains(p.Warning, "largest costs 6") {
			t.Errorf("the warning: %q", p.Warning)
		}
		b.checkTooLarge("large")
		if got := b.awaitTask("cpu", "small"); got.Status != park.Completed {
			t.Errorf("the small one behind them: %+v", got)
		}
		if _, err := b.Cancel(context.Background(), "cpu", "gone"); err != nil {
			t.Error(err)
		}
		if got := b.awaitTask("cpu", "late"); got.Status != park.Expired {
			t.Errorf("the one with a deadline is %s", got.Status)
		}
		b.setUnits("cpu", 6)
		if got := b.awaitTask("cpu", "large"); got.Status != park.Completed || got.Waiting != nil {
			t.Errorf("after the capacity came back: %+v", got)
		}
		b.closeNow()
		checkLog(t, b.events(park.AuditQuery{PoolID: "cpu", Changes: true}), 8)
	})
}

// TestLargerThanPoolAfterRestart starts with a smaller pool than the tasks were submitted to.
func TestLargerThanPoolAfterRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openEngine(t, engine.Config{Pools: []engine.Pool{poolConfig("cpu", 8, sleepExecutor())}})
		b.submit("cpu", withUnits("first", 8, 1000))
		b.submit("cpu", withUnits("large", 6, 10))
		b.submit("cpu", withUnits("small", 2, 10))
		b.closeNow()
		var log strings.Builder
		c := engine.Config{Stores: b.stores, Pools: []engine.Pool{poolConfig("cpu", 4, sleepExecutor())}, Log: slog.New(slog.NewTextHandler(&log, nil))}
		b = openEngine(t, c)
		if !strings.Contains(log.String(), "2 parked tasks cost more than the 4 units of pool cpu (the largest costs 8)") {
			t.Errorf("the log says: %s", &log)
		}
		b.awaitTask("cpu", "small")
		b.checkTooLarge("first")
		b.checkTooLarge("large")
		b.closeNow()
		c.Pools[0].MaxUnits = 8
		b = openEngine(t, c)
		b.awaitTask("cpu", "first")
		b.awaitTask("cpu", "large")
		b.closeNow()
	})
}

func TestLargerThanPoolOnSeveralNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w unitCounter
		tm := openCluster(t, 2, func(_ int, c *engine.Config) { c.Pools = []engine.Pool{w.newPool(8)} })
		defer tm.stop()
		a, b := tm.nodes[0], tm.nodes[1]
		a.submit("cpu", withUnits("first", 8, 1000))
		a.submit("cpu", withUnits("large", 6, 10))
		b.setUnits("cpu", 4)
		a.submit("cpu", withUnits("small", 2, 10))
		b.submit("cpu", withUnits("other", 2, 10))
		a.awaitTask("cpu", "small")
		a.awaitTask("cpu", "other")
		a.checkTooLarge("large")
		b.checkTooLarge("large")
		a.setUnits("cpu", 8)
		b.awaitTask("cpu", "large")
		checkLog(t, a.events(park.AuditQuery{PoolID: "cpu", Changes: true}), 8)
	})
}

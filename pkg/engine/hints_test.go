package engine_test

import (
	"context"
	"fmt"
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

// What one node owes to another between a submission here and a start there.

// TestHintsReachANodeThatHasJustCome submits at a node that was alone until a moment ago: the other must not first be
// found by a beat, nor the task by the look that comes where hints are lost.
func TestHintsReachANodeThatHasJustCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w unitCounter
		shared := memory.New()
		var nodes []*harness
		for i := range 2 {
			p := w.newPool(2)
			p.Idle = i == 0
			nodes = append(nodes, openEngine(t, engine.Config{
				Pools: []engine.Pool{p}, Shared: []park.Backend{park.InMemory},
				Stores: map[park.Backend]store.Store{park.InMemory: &cuttableStore{Store: shared}},
			}))
			defer nodes[i].closeNow()
			synctest.Wait()
		}
		began := time.Now()
		nodes[0].submit("cpu", withID("a", sleepFor(0)))
		nodes[1].awaitTask("cpu", "a")
		if d := time.Since(began); d > 20*time.Millisecond {
			t.Errorf("it took the other node %s", d)
		}
	})
}

// readFirst is a store that stores the step of a start only after the task's submission has been read.
type readFirst struct {
	*memory.Store
	read chan struct{}
}

func (a *readFirst) Records(ctx context.Context, pool string, ids []string) ([]ledger.Record, error) {
	select {
	case a.read <- struct{}{}:
	default:
	}
	return a.Store.Records(ctx, pool, ids)
}

func (a *readFirst) Commit(ctx context.Context, s *store.Step) error {
	if len(s.Updates) == 1 && s.Updates[0].State.Status == park.Running {
		select {
		case <-a.read:
		case <-time.After(time.Minute):
		}
	}
	return a.Store.Commit(ctx, s)
}

// TestSubmissionOfAnotherNodeIsReadAhead sees that a node reads what it starts while it stores that it does.
func TestSubmissionOfAnotherNodeIsReadAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w unitCounter
		shared := memory.New()
		tm := openCluster(t, 2, func(i int, c *engine.Config) {
			c.Pools = []engine.Pool{w.newPool(1)}
			c.Stores = map[park.Backend]store.Store{park.InMemory: shared}
			if c.Pools[0].Idle = i == 0; i == 1 {
				c.Stores[park.InMemory] = &readFirst{shared, make(chan struct{}, 1)}
			}
		})
		defer tm.stop()
		synctest.Wait()
		began := time.Now()
		tm.nodes[0].submit("cpu", withID("a", sleepFor(10)))
		if got := tm.nodes[0].awaitTask("cpu", "a"); got.Status != park.Completed || got.Attempt != 1 {
			t.Errorf("%s in attempt %d", got.Status, got.Attempt)
		}
		if d := time.Since(began); d > time.Second {
			t.Errorf("read only after the step, which took %s", d)
		}
	})
}

// busyTurns is a store in which a node always has others ahead of it, or for a number of looks.
type busyTurns struct {
	*memory.Store
	looksAhead atomic.Int64 // looks until it is the node's turn; negative: never
	asked      atomic.Int64
}

func (q *busyTurns) RequestTurn(context.Context, string, string, store.Delegation) (store.Turn, error) {
	q.asked.Add(1)
	if q.looksAhead.Add(-1) == -1 {
		q.looksAhead.Add(1)
		return store.Turn{}, nil
	}
	return store.Turn{Ahead: 1}, nil
}

func (q *busyTurns) Commit(ctx context.Context, s *store.Step) error {
	err := q.Store.Commit(ctx, s)
	s.NodesWaiting = 1
	return err
}

// TestANodeWaitsForItsTurnButNotForEver gives a node another one ahead that comes after a few looks, or never.
func TestANodeWaitsForItsTurnButNotForEver(t *testing.T) {
	for _, looks := range []int64{3, -1} {
		synctest.Test(t, func(t *testing.T) {
			var w unitCounter
			q := &busyTurns{Store: memory.New()}
			b := openEngine(t, engine.Config{
				Pools: []engine.Pool{w.newPool(1)}, Shared: []park.Backend{park.InMemory},
				Stores: map[park.Backend]store.Store{park.InMemory: q},
			})
			defer b.closeNow()
			b.submit("cpu", withID("a", sleepFor(1000)))
			synctest.Wait()
			q.looksAhead.Store(looks)
			began := time.Now()
			b.submit("cpu", withID("b", sleepFor(1000)))
			took := time.Since(began)
			if looks > 0 && (q.looksAhead.Load() != 0 || took == 0) {
				t.Errorf("stored after %s, %d looks before its turn", took, q.looksAhead.Load())
			}
			if took > 200*time.Millisecond {
				t.Errorf("waited %s for a turn", took)
			}
			b.awaitTask("cpu", "b")
		})
	}
}

// TestWhoHasNothingToStoreStandsInNoLine tells a node that others wait, and then asks it for what needs no step.
func TestWhoHasNothingToStoreStandsInNoLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w unitCounter
		shared := memory.New()
		q := &busyTurns{Store: shared}
		tm := openCluster(t, 2, func(i int, c *engine.Config) {
			c.Pools = []engine.Pool{w.newPool(1)}
			c.Stores = map[park.Backend]store.Store{park.InMemory: shared}
			if i == 0 {
				c.Stores[park.InMemory] = q
			}
		})
		defer tm.stop()
		tm.nodes[0].submit("cpu", withID("a", sleepFor(600_000)))
		for i := range 20 { // at times the first node's own step comes in one batch with a look at the other's
			time.Sleep(time.Second)
			asked := q.asked.Load()
			tm.nodes[1].submit("cpu", withID(fmt.Sprint("b", i), sleepFor(600_000)))
			time.Sleep(time.Second) // the first node follows
			if n := q.asked.Load() - asked; n > 0 {
				t.Errorf("it asked %d times for a turn that it had no use for", n)
			}
			tm.nodes[0].submit("cpu", withID(fmt.Sprint("c", i), sleepFor(600_000)))
			if q.asked.Load() == asked {
				t.Error("it asked for no turn with a step to store")
			}
		}
	})
}

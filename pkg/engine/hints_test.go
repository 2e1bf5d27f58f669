package engine_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/memory"
)

// What one node owes to another between a submission here and a start there.

// TestHintsReachANodeThatHasJustCome submits at a node that was alone until a moment ago: the other must not first be
// found by a beat, nor the task by the look that comes where hints are lost.
func TestHintsReachANodeThatHasJustCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w witness
		shared := memory.New()
		var nodes []*bench
		for i := range 2 {
			p := w.pool(2)
			p.Idle = i == 0
			nodes = append(nodes, open(t, engine.Config{
				Pools: []engine.Pool{p}, Shared: []park.Backend{park.InMemory},
				Stores: map[park.Backend]store.Store{park.InMemory: &line{Store: shared}},
			}))
			defer nodes[i].stop()
			synctest.Wait()
		}
		began := time.Now()
		nodes[0].submit("cpu", named("a", sim(0)))
		nodes[1].ended("cpu", "a")
		if d := time.Since(began); d > 20*time.Millisecond {
			t.Errorf("it took the other node %s", d)
		}
	})
}

// ahead is a store whose step that starts a task is not stored before the task's submission has been read.
type ahead struct {
	*memory.Store
	read chan struct{}
}

func (a *ahead) Records(ctx context.Context, pool string, ids []string) ([]park.Record, error) {
	select {
	case a.read <- struct{}{}:
	default:
	}
	return a.Store.Records(ctx, pool, ids)
}

func (a *ahead) Commit(ctx context.Context, s *store.Step) error {
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
		var w witness
		shared := memory.New()
		tm := newTeam(t, 2, func(i int, c *engine.Config) {
			c.Pools = []engine.Pool{w.pool(1)}
			c.Stores = map[park.Backend]store.Store{park.InMemory: shared}
			if c.Pools[0].Idle = i == 0; i == 1 {
				c.Stores[park.InMemory] = &ahead{shared, make(chan struct{}, 1)}
			}
		})
		defer tm.stop()
		synctest.Wait()
		began := time.Now()
		tm.nodes[0].submit("cpu", named("a", sim(10)))
		if got := tm.nodes[0].ended("cpu", "a"); got.Status != park.Completed || got.Attempt != 1 {
			t.Errorf("%s in attempt %d", got.Status, got.Attempt)
		}
		if d := time.Since(began); d > time.Second {
			t.Errorf("read only after the step, which took %s", d)
		}
	})
}

package engine_test

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// forgetful is a store that has pruned what ended before anybody asks for it.
type forgetful struct {
	line
	prunes atomic.Bool
}

func (f *forgetful) Since(ctx context.Context, pool string, rev int64) (*store.Conflict, error) {
	c, err := f.line.Since(ctx, pool, rev)
	if c != nil && f.prunes.Load() {
		c.Changed = slices.DeleteFunc(c.Changed, func(r park.Record) bool { return r.Status.Ended() })
	}
	return c, err
}

// TestPrunedBeforeItsEndIsHeardOf: a node that another's step tells nothing of a task, because it has ended and was pruned,
// does not go on counting its units.
func TestPrunedBeforeItsEndIsHeardOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w witness
		f := &forgetful{}
		tm := newTeam(t, 2, func(i int, c *engine.Config) {
			c.Pools = []engine.Pool{w.pool(1)}
			if i == 1 {
				f.Store = c.Stores[park.InMemory].(*line).Store
				c.Stores[park.InMemory] = f
			}
		})
		defer tm.stop()
		tm.nodes[0].submit("cpu", named("a", sim(5000)))
		time.Sleep(time.Second) // the other knows of it
		f.prunes.Store(true)
		tm.nodes[0].ended("cpu", "a")
		time.Sleep(time.Second)
		p, err := tm.nodes[1].Pool(t.Context(), "cpu")
		if err != nil || p.UsedUnits != 0 || p.Halted != "" {
			t.Errorf("the other node has %d units in use (%s, %v)", p.UsedUnits, p.Halted, err)
		}
		if got := tm.nodes[1].submit("cpu", named("b", sim(10))); got.Status != park.Running {
			t.Errorf("the next task is %s", got.Status)
		}
		tm.nodes[1].ended("cpu", "b")
	})
}

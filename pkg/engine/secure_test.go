package engine_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/memory"
)

// standbyStore is a store that shows steps before they are durable, because its standby is down.
type standbyStore struct {
	*memory.Store
	down atomic.Bool
	asks atomic.Int64
}

func (l *standbyStore) AwaitDurable(context.Context) error {
	l.asks.Add(1)
	if l.down.Load() {
		return errors.New("the standby is away")
	}
	return nil
}

// TestAnswerFromAnotherNodesStepIsAsDurableAsAStep sends a submission again, at a node that has only read of it. The
// answer that the task is there is given when it is as durable as a commit; until then it is not known.
func TestAnswerFromAnotherNodesStepIsAsDurableAsAStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w unitCounter
		s := &standbyStore{Store: memory.New()}
		one := func(name string) *harness {
			return openEngine(t, engine.Config{
				Node: name, Pools: []engine.Pool{w.newPool(1)}, Shared: []park.Backend{park.InMemory},
				Stores: map[park.Backend]store.Store{park.InMemory: s},
			})
		}
		a, b := one("a"), one("b")
		defer a.closeNow()
		defer b.closeNow()
		a.submit("cpu", withID("x", sleepFor(60_000)))
		time.Sleep(time.Second) // b follows
		s.down.Store(true)
		results, err := b.Submit(t.Context(), "cpu", []park.Submission{withID("x", sleepFor(60_000))})
		if err == nil && results[0].Err != nil {
			err = results[0].Err
		}
		if park.CodeOf(err) != park.OutcomeUnknown {
			t.Errorf("the task is there and may be lost, and the answer is: %v", err)
		}
		s.down.Store(false)
		if got := b.trySubmit("cpu", withID("x", sleepFor(60_000))); got.Err != nil || got.Accepted.Status != park.Running {
			t.Errorf("when it is durable: %+v", got)
		}
		asked := s.asks.Load()
		b.submit("cpu", withID("y", sleepFor(10)))
		if got := b.trySubmit("cpu", withID("y", sleepFor(10))); got.Err != nil {
			t.Errorf("a task of this node's own: %v", got.Err)
		}
		if n := s.asks.Load() - asked; n != 0 {
			t.Errorf("the store was asked %d times about what the node had stored itself", n)
		}
	})
}

package engine_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/memory"
)

// echoPool returns a pool whose tasks take as long as their payload says, and whose result is the payload's text.
// before, if not nil, is called first.
func echoPool(before func(a park.Assignment)) engine.Pool {
	return poolConfig("cpu", 1, park.ExecutorFunc(func(ctx context.Context, a park.Assignment) (any, error) {
		var p struct {
			DurationMs int
			What       string
		}
		if err := json.Unmarshal(a.Payload, &p); err != nil {
			return nil, err
		}
		if before != nil {
			before(a)
		}
		select {
		case <-time.After(time.Duration(p.DurationMs) * time.Millisecond):
			return p.What, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}))
}

func echoTask(id, text string) park.Submission {
	return park.Submission{TaskID: id, Payload: json.RawMessage(fmt.Sprintf(`{"durationMs":1000,"what":%q}`, text))}
}

// pruneTasks removes all ended tasks of a store, of which there should be n.
func pruneTasks(t *testing.T, s *memory.Store, n int) {
	t.Helper()
	if got, err := s.PruneTasks(t.Context(), park.At(time.Now().Add(time.Hour)), 1000); err != nil || got != n {
		t.Fatalf("%d tasks removed, not %d: %v", got, n, err)
	}
}

// TestIDUsedAgainRunsItsOwnPayload parks a task at a node that keeps its submission at hand; another node runs or cancels
// it. Once it is forgotten its id is another task's, whose payload the first node must run.
func TestIDUsedAgainRunsItsOwnPayload(t *testing.T) {
	for _, steps := range []int{0, 2000} { // of the other node: more than a store tells apart
		for _, cancelled := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d steps, cancelled %t", steps, cancelled), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { testIDUsedAgain(t, steps, cancelled) })
			})
		}
	}
}

func testIDUsedAgain(t *testing.T, steps int, cancelled bool) {
	shared := memory.New()
	c := engine.Config{
		Pools: []engine.Pool{echoPool(nil)}, Shared: []park.Backend{park.InMemory},
		Stores: map[park.Backend]store.Store{park.InMemory: shared},
	}
	a := openEngine(t, c)
	defer a.closeNow()
	b := openEngine(t, c)
	defer b.closeNow()
	b.submit("cpu", echoTask("blocker", "1"))
	a.submit("cpu", echoTask("x", "old"))
	time.Sleep(500 * time.Millisecond)
	if cancelled {
		b.checkCancel("cpu", "x")
	}
	for i := range steps {
		if _, err := b.SetPool(t.Context(), "cpu", park.PoolPatch{MaxQueueDepth: new(1000 + i)}); err != nil {
			t.Fatal(err)
		}
	}
	b.awaitTask("cpu", "blocker")
	b.awaitTask("cpu", "x")
	time.Sleep(time.Second)
	pruneTasks(t, shared, 2)
	a.submit("cpu", echoTask("blocker", "2")) // it is the first node that starts what is parked behind
	time.Sleep(500 * time.Millisecond)
	b.submit("cpu", echoTask("x", "new"))
	if task := a.awaitTask("cpu", "x"); string(task.Result) != `"new"` || task.Node != a.Node() {
		t.Errorf("the new task's result is %s; it ran on %s", task.Result, task.Node)
	}
}

// TestIDUsedAgainIsNotEndedByAnOldRun has a run outlive its node's fence, its task, and the task's retention. What it
// brings at last is not the outcome of another task that has the id by then and is in its first run, too.
func TestIDUsedAgainIsNotEndedByAnOldRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := memory.New()
		d := &flakyStore{Store: shared}
		release := make(chan struct{})
		c := engine.Config{Shared: []park.Backend{park.InMemory}, NodeTTL: 2 * time.Second, NodeGrace: 2 * time.Second}
		c.Pools = []engine.Pool{poolConfig("cpu", 1, park.ExecutorFunc(func(context.Context, park.Assignment) (any, error) {
			<-release // whatever it is told
			return "old", nil
		}))}
		c.Node, c.Stores = "node-0", map[park.Backend]store.Store{park.InMemory: d}
		a := openEngine(t, c)
		defer a.closeNow()
		c.Node, c.Stores = "node-1", map[park.Backend]store.Store{park.InMemory: shared}
		c.Pools = []engine.Pool{echoPool(nil)}
		b := openEngine(t, c)
		defer b.closeNow()
		a.submit("cpu", echoTask("x", "first"))
		d.mu.Lock()
		d.until = time.Now().Add(10 * time.Second)
		d.mu.Unlock()
		if task := b.awaitTask("cpu", "x"); task.Attempt != 2 {
			t.Fatalf("it ended as %+v", task)
		}
		time.Sleep(time.Minute)
		pruneTasks(t, shared, 1)
		next := echoTask("x", "new")
		next.Payload = json.RawMessage(`{"durationMs":60000,"what":"new"}`)
		b.submit("cpu", next)
		time.Sleep(time.Second) // the first node hears of it
		close(release)
		if task := b.awaitTask("cpu", "x"); string(task.Result) != `"new"` || task.Attempt != 1 {
			t.Errorf("the new task ended as %+v, with the result %s", task, task.Result)
		}
	})
}

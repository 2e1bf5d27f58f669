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

// slowNextCommit has the next commit take a second, so that messages that come meanwhile share the step after it.
func (d *flakyStore) slowNextCommit() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.next = func(st *store.Step) error {
		time.Sleep(time.Second)
		return d.Store.Commit(context.Background(), st)
	}
}

// inParallel calls each function in a goroutine of its own, in order, and waits until all have returned.
func inParallel(fs ...func()) {
	done := make(chan struct{}, len(fs))
	for _, f := range fs {
		go func() {
			f()
			done <- struct{}{}
		}()
		synctest.Wait()
	}
	for range fs {
		<-done
	}
}

// checkCancel cancels a task and checks that it is dropped.
func (b *harness) checkCancel(pool, id string) {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	task, err := b.Cancel(ctx, pool, id)
	if err != nil || task.Status != park.Dropped || task.Reason != park.ReasonCancelled {
		b.Errorf("cancelled, task %s is %s (%s), and the answer %v", id, task.Status, task.Reason, err)
	}
}

// checkIdle checks that a pool has no tasks left.
func (b *harness) checkIdle(pool string) {
	b.Helper()
	if p, err := b.Pool(context.Background(), pool); err != nil || p.UsedUnits != 0 || p.QueueDepth != 0 || p.Running != 0 {
		b.Errorf("pool %s at the end: %+v %v", pool, p, err)
	}
}

// TestCancelInTheStepThatStarts has a task be started and cancelled by one step: its work must not begin.
func TestCancelInTheStepThatStarts(t *testing.T) {
	for _, shared := range []bool{false, true} {
		for _, parked := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				var w unitCounter
				d := &flakyStore{Store: memory.New()}
				c := engine.Config{Pools: []engine.Pool{w.newPool(1)}, Stores: map[park.Backend]store.Store{park.InMemory: d}}
				if shared {
					c.Shared = []park.Backend{park.InMemory}
				}
				b := openEngine(t, c)
				defer b.closeNow()
				if parked {
					b.submit("cpu", withID("a", sleepFor(500)))
					b.submit("cpu", withID("b", sleepFor(1e9)))
				}
				d.slowNextCommit()
				inParallel(
					func() { b.SetPool(context.Background(), "cpu", park.PoolPatch{MaxQueueDepth: new(7)}) },
					func() {
						if !parked {
							b.submit("cpu", withID("b", sleepFor(1e9)))
						}
					},
					func() {
						time.Sleep(600 * time.Millisecond) // a has ended
						b.checkCancel("cpu", "b")
					},
				)
				want := " submit start cancel"
				if parked {
					want = " submit enqueue start cancel"
				}
				if got := b.actions("b"); got != want || w.runs("b") != 0 {
					t.Errorf("shared %t, parked %t: life%s, and it ran %d times", shared, parked, got, w.runs("b"))
				}
				b.checkIdle("cpu")
				checkLog(t, b.events(park.AuditQuery{PoolID: "cpu", Changes: true}), 1)
			})
		}
	}
}

// TestCancelInTheStepThatLeases: no worker gets a task that the step which leased it has dropped.
func TestCancelInTheStepThatLeases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &flakyStore{Store: memory.New()}
		b := openEngine(t, engine.Config{Pools: []engine.Pool{leasedPool(1)}, Stores: map[park.Backend]store.Store{park.InMemory: d}})
		defer b.closeNow()
		leases := make(chan []park.Lease, 1)
		go func() { leases <- b.lease(park.LeaseRequest{Wait: park.Duration(time.Minute)}) }()
		synctest.Wait()
		d.slowNextCommit()
		inParallel(
			func() { b.SetPool(context.Background(), "remote", park.PoolPatch{MaxQueueDepth: new(7)}) },
			func() { b.submit("remote", withID("b", park.Submission{})) },
			func() { b.checkCancel("remote", "b") },
		)
		synctest.Wait()
		select {
		case l := <-leases:
			t.Fatalf("the worker gets %+v", l)
		default:
		}
		b.submit("remote", withID("c", park.Submission{}))
		if l := <-leases; len(l) != 1 || l[0].TaskID != "c" {
			t.Errorf("then the worker gets %+v", l)
		}
	})
}

// TestCancelledBeforeItIsKnownToHaveStarted has another node cancel a task while the one that starts it does not know what
// became of the step. So much happens meanwhile that it has to load the pool again: it must not begin what was cancelled.
func TestCancelledBeforeItIsKnownToHaveStarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w unitCounter
		d, a, b := openFlakyPair(t, engine.Config{Pools: []engine.Pool{w.newPool(1)}, NodeTTL: time.Minute})
		defer a.closeNow()
		defer b.closeNow()
		d.failNextCommit(true, 2*time.Second, nil)
		inParallel(
			func() { a.submit("cpu", withID("x", sleepFor(1e9))) },
			func() {
				for i := range 2000 {
					if _, err := b.SetPool(context.Background(), "cpu", park.PoolPatch{MaxQueueDepth: new(1000 + i)}); err != nil {
						t.Error(err)
					}
				}
			},
			func() { b.checkCancel("cpu", "x") },
		)
		if w.runs("x") != 0 {
			t.Errorf("it ran %d times", w.runs("x"))
		}
		a.checkIdle("cpu")
	})
}

// TestCloseWhileAStartIsInDoubt closes an engine that does not know yet whether it has started a task: when it does, the
// task is stopped as the others were.
func TestCloseWhileAStartIsInDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w unitCounter
		d := &flakyStore{Store: memory.New()}
		b := openEngine(t, engine.Config{Pools: []engine.Pool{w.newPool(2)}, Stores: map[park.Backend]store.Store{park.InMemory: d}})
		b.submit("cpu", withID("a", sleepFor(1e9)))
		d.failNextCommit(true, 3*time.Second, nil)
		began := time.Now()
		inParallel(
			func() { b.submit("cpu", withID("b", sleepFor(1e9))) },
			b.closeNow,
		)
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("closed after %s", took)
		}
		for _, id := range []string{"a", "b"} {
			r, err := d.Records(t.Context(), "cpu", []string{id})
			if err != nil || len(r) != 1 || r[0].Status != park.Queued {
				t.Errorf("task %s was left as %+v, %v", id, r, err)
			}
		}
	})
}

// TestCloseTwice: an engine that is closed is left as it is by whoever closes it again.
func TestCloseTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openEngine(t, engine.Config{Pools: []engine.Pool{poolConfig("cpu", 1, sleepExecutor())}})
		b.submit("cpu", withID("a", sleepFor(1_000)))
		b.closeNow()
		b.closeNow()
	})
}

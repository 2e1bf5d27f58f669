package engine_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/memory"
)

// flakyStore is a store that can fail in the middle of a commit: the reply or the step is lost, and the store is
// unavailable for some time.
type flakyStore struct {
	*memory.Store
	mu      sync.Mutex
	next    func(step *store.Step) error // what becomes of the next commit; nil: nothing unusual
	until   time.Time                    // when the store is back
	commits int
}

func (d *flakyStore) unavailable() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if time.Now().Before(d.until) {
		return errGone
	}
	return nil
}

func (d *flakyStore) Commit(ctx context.Context, st *store.Step) error {
	if d.unavailable() != nil {
		if st.InDoubt {
			return store.ErrInDoubt
		}
		return errGone
	}
	st.InDoubt = false
	d.mu.Lock()
	next := d.next
	d.next = nil
	d.commits++
	d.mu.Unlock()
	if next != nil {
		return next(st)
	}
	return d.Store.Commit(ctx, st)
}

func (d *flakyStore) Load(ctx context.Context, pool string) (store.Snapshot, error) {
	if err := d.unavailable(); err != nil {
		return store.Snapshot{}, err
	}
	return d.Store.Load(ctx, pool)
}

func (d *flakyStore) Records(ctx context.Context, pool string, ids []string) ([]ledger.Record, error) {
	if err := d.unavailable(); err != nil {
		return nil, err
	}
	return d.Store.Records(ctx, pool, ids)
}

func (d *flakyStore) Heartbeat(ctx context.Context, node string, own store.NodeConfig) (map[string]store.NodeHeartbeat, error) {
	if err := d.unavailable(); err != nil {
		return nil, err
	}
	return d.Store.Heartbeat(ctx, node, own)
}

// failNextCommit has the store fail during the next commit, which is taken or not, and stay unavailable for a time.
// before is called when the commit has been taken.
func (d *flakyStore) failNextCommit(taken bool, away time.Duration, before func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.next = func(st *store.Step) error {
		if taken {
			if err := d.Store.Commit(context.Background(), st); err != nil {
				return err
			}
		}
		if before != nil {
			before()
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		d.until = time.Now().Add(away)
		st.InDoubt = true
		return store.ErrInDoubt
	}
}

// TestLostReplyIsResolved loses the reply to the commit of a submission, or the commit itself. The client hears nothing
// until it is known which, and then that its task was taken, once; others are turned away at once.
func TestLostReplyIsResolved(t *testing.T) {
	for _, taken := range []bool{true, false} {
		for _, shared := range []bool{true, false} {
			t.Run(fmt.Sprintf("taken %t shared %t", taken, shared), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var w unitCounter
					d := &flakyStore{Store: memory.New()}
					c := engine.Config{Pools: []engine.Pool{w.newPool(2)}, Stores: map[park.Backend]store.Store{park.InMemory: d}}
					if shared {
						c.Shared = []park.Backend{park.InMemory}
					}
					b := openEngine(t, c)
					defer b.closeNow()
					running := b.submit("cpu", sleepFor(500))
					time.Sleep(100 * time.Millisecond)
					d.failNextCommit(taken, 3*time.Second, nil)
					began := time.Now()
					answer := make(chan park.SubmitResult, 1)
					go func() { answer <- b.trySubmit("cpu", sleepFor(10)) }() // under an id of the node's: to send it again would be another task
					time.Sleep(time.Second)
					if r := b.trySubmit("cpu", withID("meanwhile", sleepFor(10))); park.CodeOf(r.Err) != park.StorageUnavailable {
						t.Errorf("while the store is away: %+v", r)
					}
					if d := time.Since(began); d > 1100*time.Millisecond {
						t.Errorf("turned away after %s", d)
					}
					if err := b.Ready(); err == nil {
						t.Error("ready while the store is away")
					}
					got := <-answer
					if got.Err != nil || got.Accepted.Status != park.Running {
						t.Fatalf("the answer is %+v", got)
					}
					if d := time.Since(began); d < 3*time.Second || d > 4*time.Second {
						t.Errorf("answered after %s", d)
					}
					if task := b.awaitTask("cpu", got.Accepted.TaskID); task.Status != park.Completed || task.Attempt != 1 {
						t.Errorf("it ended as %+v", task)
					}
					if task := b.awaitTask("cpu", running.TaskID); task.Status != park.Completed || task.Attempt != 1 {
						t.Errorf("the one that ran ended as %+v", task)
					}
					if page, err := b.Tasks(t.Context(), "cpu", park.TaskQuery{}); err != nil || len(page.Tasks) != 2 {
						t.Errorf("there are %d tasks: %v", len(page.Tasks), err)
					}
					time.Sleep(time.Second)
					if err := b.Ready(); err != nil {
						t.Error(err)
					}
					checkLog(t, b.events(park.AuditQuery{PoolID: "cpu"}), 2)
				})
			})
		}
	}
}

// openFlakyPair opens two nodes on one store in memory, which the first reaches through d.
func openFlakyPair(t *testing.T, c engine.Config) (d *flakyStore, a, b *harness) {
	t.Helper()
	shared := memory.New()
	d = &flakyStore{Store: shared}
	c.Shared = []park.Backend{park.InMemory}
	c.Node, c.Stores = "node-0", map[park.Backend]store.Store{park.InMemory: d}
	a = openEngine(t, c)
	c.Node, c.Stores = "node-1", map[park.Backend]store.Store{park.InMemory: shared}
	return d, a, openEngine(t, c)
}

// TestLostReplyAmongOthers has another node go on while one does not know what became of its step.
func TestLostReplyAmongOthers(t *testing.T) {
	for _, taken := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			var w unitCounter
			d, a, b := openFlakyPair(t, engine.Config{Pools: []engine.Pool{w.newPool(1)}})
			defer a.closeNow()
			defer b.closeNow()
			d.failNextCommit(taken, 2*time.Second, func() { b.submit("cpu", withID("other", sleepFor(10))) })
			got := a.trySubmit("cpu", sleepFor(10))
			if got.Err != nil {
				t.Fatalf("taken %t: %v", taken, got.Err)
			}
			for _, id := range []string{got.Accepted.TaskID, "other"} {
				if task := b.awaitTask("cpu", id); task.Status != park.Completed || task.Attempt != 1 {
					t.Errorf("%s ended as %+v", id, task)
				}
			}
			if w.most > 1 {
				t.Errorf("%d units in use at once, of 1", w.most)
			}
			checkLog(t, b.events(park.AuditQuery{PoolID: "cpu"}), 1)
		})
	}
}

// TestLostReplyOutlivesTheNode has a node be taken for dead while it does not know what became of a start. It must not
// begin the run afterwards under another name: the others have it.
func TestLostReplyOutlivesTheNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w unitCounter
		d, a, b := openFlakyPair(t, engine.Config{Pools: []engine.Pool{w.newPool(1)}, NodeTTL: 2 * time.Second, NodeGrace: 2 * time.Second})
		defer a.closeNow()
		defer b.closeNow()
		d.failNextCommit(true, 9*time.Second, nil)
		got := a.trySubmit("cpu", withID("a", sleepFor(100_000)))
		if got.Err != nil || got.Accepted.Status != park.Running {
			t.Fatalf("the answer is %+v", got)
		}
		if task := a.awaitTask("cpu", "a"); task.Status != park.Completed || task.Node != "node-1" || task.Attempt != 2 {
			t.Errorf("it ended as %+v", task)
		}
		if w.most > 1 || w.runs("a") != 1 {
			t.Errorf("%d units in use at once, of 1; it ran %d times", w.most, w.runs("a"))
		}
	})
}

// TestLostReplyOfAnOutcome loses the reply to the commit of an outcome: it counts once.
func TestLostReplyOfAnOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w unitCounter
		d := &flakyStore{Store: memory.New()}
		b := openEngine(t, engine.Config{
			Pools: []engine.Pool{w.newPool(1)}, Shared: []park.Backend{park.InMemory},
			Stores: map[park.Backend]store.Store{park.InMemory: d},
		})
		defer b.closeNow()
		b.submit("cpu", withID("a", sleepFor(1000)))
		d.failNextCommit(true, 3*time.Second, nil)
		b.awaitTask("cpu", "a")
		if got := b.actions("a"); got != " submit start complete" {
			t.Errorf("life of the task:%s", got)
		}
		b.submit("cpu", withID("b", sleepFor(10)))
		b.awaitTask("cpu", "b")
	})
}

// TestLeaseInDoubtReachesItsWorker loses the reply to the commit of a lease. The worker that it is for gets it, though
// its patience ends meanwhile.
func TestLeaseInDoubtReachesItsWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &flakyStore{Store: memory.New()}
		b := openEngine(t, engine.Config{
			Pools: []engine.Pool{leasedPool(1)}, Shared: []park.Backend{park.InMemory},
			Stores: map[park.Backend]store.Store{park.InMemory: d},
		})
		defer b.closeNow()
		got := make(chan []park.Lease)
		go func() {
			got <- b.lease(park.LeaseRequest{TTL: park.Duration(time.Minute), Wait: park.Duration(time.Second)})
		}()
		synctest.Wait()
		d.failNextCommit(true, 3*time.Second, nil)
		if r := b.trySubmit("remote", withID("a", park.Submission{})); r.Err != nil || r.Accepted.Status != park.Running {
			t.Fatalf("the answer is %+v", r)
		}
		if leases := <-got; len(leases) != 1 || leases[0].TaskID != "a" {
			t.Errorf("the worker gets %+v", leases)
		}
	})
}

// TestLostReplyAtTheEnd closes the engine before it is known what became of a step.
func TestLostReplyAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &flakyStore{Store: memory.New()}
		b := openEngine(t, engine.Config{Pools: []engine.Pool{poolConfig("cpu", 1, sleepExecutor())}, Stores: map[park.Backend]store.Store{park.InMemory: d}})
		d.failNextCommit(true, time.Hour, nil)
		answer := make(chan park.SubmitResult, 1)
		go func() { answer <- b.trySubmit("cpu", withID("a", sleepFor(1))) }()
		time.Sleep(time.Second)
		b.closeNow()
		if r := <-answer; r.Err == nil || r.Err.Code != park.OutcomeUnknown || r.Err.TaskID != "a" {
			t.Errorf("answered %+v", r)
		}
	})
}

package engine_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/memory"
)

// cuttableStore is one node's connection to a shared store, which can be cut.
type cuttableStore struct {
	*memory.Store
	cut atomic.Bool
}

func (l *cuttableStore) Load(ctx context.Context, pool string) (store.Snapshot, error) {
	if l.cut.Load() {
		return store.Snapshot{}, errGone
	}
	return l.Store.Load(ctx, pool)
}

func (l *cuttableStore) Commit(ctx context.Context, s *store.Step) error {
	if l.cut.Load() {
		return errGone
	}
	return l.Store.Commit(ctx, s)
}

func (l *cuttableStore) ChangesSince(ctx context.Context, pool string, rev int64) (*store.Conflict, error) {
	if l.cut.Load() {
		return nil, errGone
	}
	return l.Store.ChangesSince(ctx, pool, rev)
}

func (l *cuttableStore) Revs(ctx context.Context, pools []string) (map[string]int64, error) {
	if l.cut.Load() {
		return nil, errGone
	}
	return l.Store.Revs(ctx, pools)
}

func (l *cuttableStore) Heartbeat(ctx context.Context, node string, own store.NodeConfig) (map[string]store.NodeHeartbeat, error) {
	if l.cut.Load() {
		return nil, errGone
	}
	return l.Store.Heartbeat(ctx, node, own)
}

func (l *cuttableStore) DeclareDead(ctx context.Context, node string, counter int64) (bool, error) {
	if l.cut.Load() {
		return false, errGone
	}
	return l.Store.DeclareDead(ctx, node, counter)
}

func (l *cuttableStore) RemoveNode(ctx context.Context, node string) error {
	if l.cut.Load() {
		return errGone
	}
	return l.Store.RemoveNode(ctx, node)
}

// unitCounter counts the units that are really in use.
type unitCounter struct {
	mu          sync.Mutex
	inUse, most int64
	ran         map[string]int
}

func (w *unitCounter) newPool(units int64) engine.Pool {
	w.ran = make(map[string]int)
	return poolConfig("cpu", units, park.ExecutorFunc(func(ctx context.Context, a park.Assignment) (any, error) {
		w.add(a, a.Units)
		defer w.add(a, -a.Units)
		var p struct{ DurationMs int }
		_ = json.Unmarshal(a.Payload, &p)
		select {
		case <-time.After(time.Duration(p.DurationMs) * time.Millisecond):
			return a.Attempt, nil
		case <-ctx.Done():
			time.Sleep(time.Second) // it takes its time to stop
			return nil, context.Cause(ctx)
		}
	}))
}

func (w *unitCounter) add(a park.Assignment, units int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.inUse += units
	w.most = max(w.most, w.inUse)
	if units > 0 {
		w.ran[a.TaskID]++
	}
}

// runs returns how often a task's work was begun.
func (w *unitCounter) runs(task string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ran[task]
}

// testCluster is a few engines on one store.
type testCluster struct {
	*testing.T
	stores []*cuttableStore
	nodes  []*harness
}

func openCluster(t *testing.T, n int, edit func(i int, c *engine.Config)) *testCluster {
	shared := memory.New()
	tm := &testCluster{T: t}
	for i := range n {
		l := &cuttableStore{Store: shared}
		c := engine.Config{
			Node: fmt.Sprintf("node-%d", i), Shared: []park.Backend{park.InMemory},
			Stores: map[park.Backend]store.Store{park.InMemory: l},
		}
		edit(i, &c)
		tm.stores = append(tm.stores, l)
		tm.nodes = append(tm.nodes, openEngine(t, c))
	}
	return tm
}

func (tm *testCluster) stop() {
	for _, n := range tm.nodes {
		n.closeNow()
	}
}

func TestDeadNodeIsTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w unitCounter
		tm := openCluster(t, 2, func(_ int, c *engine.Config) { c.Pools = []engine.Pool{w.newPool(2)} })
		defer tm.stop()
		a, b := tm.nodes[0], tm.nodes[1]
		for i := range 4 {
			a.submit("cpu", withID(fmt.Sprint(i), sleepFor(60_000)))
		}
		time.Sleep(time.Second)
		cut := time.Now()
		tm.stores[0].cut.Store(true)
		for i := range 4 {
			got := b.awaitTask("cpu", fmt.Sprint(i))
			if want := 1 + (3-i)/2; got.Status != park.Completed || got.Attempt != want {
				t.Errorf("task %d: %s in attempt %d, want %d", i, got.Status, got.Attempt, want)
			}
		}
		starts := b.events(park.AuditQuery{Action: park.ActStart})
		if late := starts[2].At.Sub(cut); late > 20*time.Second || late < 10*time.Second {
			t.Errorf("taken over after %s", late)
		}
		if a.Ready() == nil {
			t.Error("a node that reaches nobody is ready")
		}
		if w.most > 2 {
			t.Errorf("%d units in use at once, of 2", w.most)
		}
		checkLog(t, b.events(park.AuditQuery{PoolID: "cpu", Changes: true}), 2)

		// The node comes back under another name, and works again.
		tm.stores[0].cut.Store(false)
		time.Sleep(5 * time.Second)
		if err := a.Ready(); err != nil {
			t.Error(err)
		}
		a.submit("cpu", withID("again", sleepFor(10)))
		if got := b.awaitTask("cpu", "again"); got.Status != park.Completed || got.Node == "node-0" {
			t.Errorf("after the node came back: %+v", got)
		}
	})
}

func TestShortOutageHarmsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w unitCounter
		tm := openCluster(t, 3, func(_ int, c *engine.Config) { c.Pools = []engine.Pool{w.newPool(3)} })
		defer tm.stop()
		for i := range 9 {
			tm.nodes[i%3].submit("cpu", withID(fmt.Sprint(i), sleepFor(5_000)))
		}
		time.Sleep(time.Second)
		for _, l := range tm.stores {
			l.cut.Store(true)
		}
		if r := tm.nodes[0].trySubmit("cpu", sleepFor(1)); park.CodeOf(r.Err) != park.StorageUnavailable {
			t.Errorf("during the outage: %+v", r)
		}
		time.Sleep(7 * time.Second)
		for _, l := range tm.stores {
			l.cut.Store(false)
		}
		for i := range 9 {
			if got := tm.nodes[(i+1)%3].awaitTask("cpu", fmt.Sprint(i)); got.Status != park.Completed || got.Attempt != 1 {
				t.Errorf("task %d: %s in attempt %d", i, got.Status, got.Attempt)
			}
		}
		if w.most > 3 {
			t.Errorf("%d units in use at once, of 3", w.most)
		}
	})
}

func TestNodeStartsWhileTheStoreIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w unitCounter
		l := &cuttableStore{Store: memory.New()}
		l.cut.Store(true)
		b := openEngine(t, engine.Config{
			Pools: []engine.Pool{w.newPool(1)}, Shared: []park.Backend{park.InMemory},
			Stores: map[park.Backend]store.Store{park.InMemory: l},
		})
		defer b.closeNow()
		if b.Ready() == nil {
			t.Error("ready without a store")
		}
		if r := b.trySubmit("cpu", sleepFor(1)); park.CodeOf(r.Err) != park.StorageUnavailable {
			t.Errorf("without a store: %+v", r)
		}
		l.cut.Store(false)
		time.Sleep(2 * time.Second)
		if err := b.Ready(); err != nil {
			t.Error(err)
		}
		b.submit("cpu", withID("a", sleepFor(10)))
		b.awaitTask("cpu", "a")
	})
}

func TestCancelReachesAnotherNode(t *testing.T) {
	for _, quiet := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var w unitCounter
			tm := openCluster(t, 2, func(_ int, c *engine.Config) { c.Pools, c.Quiet = []engine.Pool{w.newPool(1)}, quiet })
			defer tm.stop()
			tm.nodes[0].submit("cpu", withID("a", sleepFor(60_000)))
			began := time.Now()
			if _, err := tm.nodes[1].Cancel(t.Context(), "cpu", "a"); err != nil {
				t.Fatal(err)
			}
			if got := tm.nodes[1].awaitTask("cpu", "a"); got.Status != park.Dropped {
				t.Errorf("cancelled task is %s", got.Status)
			}
			if d := time.Since(began); d > 1500*time.Millisecond {
				t.Errorf("cancelled after %s", d)
			}
		})
	}
}

func TestIdleNodeLeavesTheWorkToOthers(t *testing.T) {
	for _, quiet := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var w unitCounter
			tm := openCluster(t, 2, func(i int, c *engine.Config) {
				c.Pools, c.Quiet = []engine.Pool{w.newPool(2)}, quiet
				c.Pools[0].Idle = i == 0
			})
			defer tm.stop()
			time.Sleep(2 * time.Second)
			began := time.Now()
			if got := tm.nodes[0].submit("cpu", withID("a", sleepFor(10))); got.Status != park.Queued {
				t.Errorf("at the idle node: %s", got.Status)
			}
			page, err := tm.nodes[0].Mailbox(t.Context(), park.MailboxQuery{Tenant: "default", Key: "box", Wait: time.Minute})
			if err != nil || len(page.Messages) != 1 {
				t.Fatalf("mailbox: %+v %v", page, err)
			}
			if d := time.Since(began); d > 450*time.Millisecond {
				t.Errorf("its outcome came after %s", d)
			}
			if got := tm.nodes[0].awaitTask("cpu", "a"); got.Node != "node-1" {
				t.Errorf("ran on %s", got.Node)
			}
		})
	}
}

func TestLeasesAreKeptAtAnyNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tm := openCluster(t, 2, func(_ int, c *engine.Config) { c.Pools = []engine.Pool{leasedPool(2)} })
		defer tm.stop()
		a, b := tm.nodes[0], tm.nodes[1]
		taken := make(chan []park.Lease)
		go func() {
			taken <- b.lease(park.LeaseRequest{Max: 2, TTL: park.Duration(10 * time.Second), Wait: park.Duration(time.Minute)})
		}()
		synctest.Wait()
		a.submit("remote", withID("kept", park.Submission{}))
		kept := (<-taken)[0]
		a.submit("remote", withID("lost", park.Submission{}))
		lost := b.lease(park.LeaseRequest{TTL: park.Duration(10 * time.Second), Wait: park.Duration(time.Minute)})[0]
		for i := range 12 {
			time.Sleep(5 * time.Second)
			if _, err := tm.nodes[i%2].KeepLease(t.Context(), kept.LeaseID, park.KeepRequest{}); err != nil {
				t.Fatalf("kept for the %d. time: %v", i+1, err)
			}
		}
		if err := a.EndLease(t.Context(), kept.LeaseID, park.LeaseResult{Status: park.Completed}); err != nil {
			t.Error(err)
		}
		if got := b.awaitTask("remote", "kept"); got.Status != park.Completed || got.Attempt != 1 {
			t.Errorf("the lease that was kept: %+v", got)
		}
		if err := a.EndLease(t.Context(), lost.LeaseID, park.LeaseResult{Status: park.Completed}); park.CodeOf(err) != park.LeaseLost {
			t.Errorf("the lease that was not kept: %v", err)
		}
		if got := a.actions("lost"); !slices.Contains([]string{" submit enqueue start requeue"}, got) {
			t.Errorf("life of the other:%s", got)
		}
	})
}

// TestKeptLeaseRunsOutInTime keeps a lease once. It ends when it was told to, where it was kept, and no later than that
// time after it was due at a node that had not seen it kept.
func TestKeptLeaseRunsOutInTime(t *testing.T) {
	for _, gone := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			tm := openCluster(t, 2, func(_ int, c *engine.Config) { c.Pools = []engine.Pool{leasedPool(1)} })
			a, b := tm.nodes[0], tm.nodes[1]
			a.submit("remote", withID("a", park.Submission{}))
			lease := a.lease(park.LeaseRequest{TTL: park.Duration(10 * time.Second)})[0]
			began := time.Now()
			time.Sleep(5 * time.Second)
			if _, err := a.KeepLease(t.Context(), lease.LeaseID, park.KeepRequest{}); err != nil {
				t.Fatal(err)
			}
			want := 15 * time.Second
			if gone {
				tm.stores[0].cut.Store(true)
				want = 20 * time.Second
			}
			for b.actions("a") != " submit enqueue start requeue" {
				time.Sleep(100 * time.Millisecond)
				if time.Since(began) > time.Minute {
					t.Fatal("never")
				}
			}
			if late := time.Since(began) - want; late < -500*time.Millisecond || late > 500*time.Millisecond {
				t.Errorf("gone %t: ended after %s, want %s", gone, time.Since(began), want)
			}
			tm.stores[0].cut.Store(false)
			tm.stop()
		})
	}
}

// noLogs is a node on whose disk there are no logs.
type noLogs struct{ followed atomic.Bool }

func (n *noLogs) Log(_ context.Context, _, task string, _ int, q park.LogQuery, _ <-chan struct{}) (*park.Log, error) {
	n.followed.Store(q.Follow)
	return nil, park.Errorf(park.LogNotFound, "there is no log of task %s on this node", task)
}

// TestLogOfAnotherNodeIsNamed asks a node for the log of a task that another has.
func TestLogOfAnotherNodeIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w unitCounter
		var logs noLogs
		tm := openCluster(t, 2, func(_ int, c *engine.Config) {
			c.Pools = []engine.Pool{w.newPool(1)}
			c.Pools[0].Logs = &logs
		})
		defer tm.stop()
		tm.nodes[0].submit("cpu", withID("a", sleepFor(60_000)))
		_, err := tm.nodes[1].Engine.Log(t.Context(), "cpu", "a", park.LogQuery{Follow: true})
		if park.CodeOf(err) != park.LogNotFound || !strings.Contains(err.Error(), "node-0") {
			t.Errorf("at the other node: %v", err)
		}
		if logs.followed.Load() {
			t.Error("the other node waits for a log that cannot come")
		}
		if _, err := tm.nodes[0].Engine.Log(t.Context(), "cpu", "a", park.LogQuery{Follow: true}); strings.Contains(fmt.Sprint(err), "node-0") || !logs.followed.Load() {
			t.Errorf("at its own node: %v", err)
		}
	})
}

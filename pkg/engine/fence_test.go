package engine_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/memory"
)

// stallingStore is a store that can be slow, or never answer.
type stallingStore struct {
	*memory.Store
	keepLeases  chan struct{}                                                // what is to be kept waits for its end
	stalled     atomic.Bool                                                  // what is asked is never answered
	onBeat      atomic.Pointer[func(ctx context.Context, node string) error] // called before a beat
	afterCommit atomic.Pointer[func()]                                       // called after a commit, before its reply
}

func (s *stallingStore) stall(ctx context.Context) error {
	if !s.stalled.Load() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	<-ctx.Done()
	return ctx.Err()
}

func (s *stallingStore) Load(ctx context.Context, pool string) (store.Snapshot, error) {
	if err := s.stall(ctx); err != nil {
		return store.Snapshot{}, err
	}
	return s.Store.Load(ctx, pool)
}

func (s *stallingStore) Commit(ctx context.Context, st *store.Step) error {
	if err := s.stall(ctx); err != nil {
		return err
	}
	err := s.Store.Commit(ctx, st)
	if f := s.afterCommit.Load(); f != nil {
		(*f)()
	}
	return err
}

func (s *stallingStore) Revs(ctx context.Context, pools []string) (map[string]int64, error) {
	if err := s.stall(ctx); err != nil {
		return nil, err
	}
	return s.Store.Revs(ctx, pools)
}

func (s *stallingStore) Heartbeat(ctx context.Context, node string, own store.NodeConfig) (map[string]store.NodeHeartbeat, error) {
	if err := s.stall(ctx); err != nil {
		return nil, err
	}
	if f := s.onBeat.Load(); f != nil {
		if err := (*f)(ctx, node); err != nil {
			return nil, err
		}
	}
	return s.Store.Heartbeat(ctx, node, own)
}

// openStalling opens engines that share a store, each through a stallingStore.
func openStalling(t *testing.T, n int, c engine.Config) (nodes []*harness, ways []*stallingStore) {
	shared := memory.New()
	for i := range n {
		way := &stallingStore{Store: shared}
		c.Node, c.Shared = fmt.Sprintf("node-%d", i), []park.Backend{park.InMemory}
		c.Stores = map[park.Backend]store.Store{park.InMemory: way}
		nodes, ways = append(nodes, openEngine(t, c)), append(ways, way)
	}
	return nodes, ways
}

// TestFenceFallsWhileABeatHangs has a node's store swallow all that is asked of it. The node must have stopped its
// tasks before the others take them over, however long its beat has been under way.
func TestFenceFallsWhileABeatHangs(t *testing.T) {
	for late := range 10 {
		synctest.Test(t, func(t *testing.T) {
			var w unitCounter
			c := engine.Config{Pools: []engine.Pool{w.newPool(1)}, NodeTTL: 10 * time.Second, NodeGrace: 1500 * time.Millisecond}
			nodes, ways := openStalling(t, 2, c)
			nodes[0].submit("cpu", withID("a", sleepFor(120_000)))
			time.Sleep(time.Second + time.Duration(late)*100*time.Millisecond)
			ways[0].stalled.Store(true)
			if got := nodes[1].awaitTask("cpu", "a"); got.Status != park.Completed || got.Attempt != 2 {
				t.Errorf("%s in attempt %d", got.Status, got.Attempt)
			}
			if w.most > 1 {
				t.Errorf("%d units in use at once, of 1", w.most)
			}
			ways[0].stalled.Store(false)
			nodes[0].closeNow()
			nodes[1].closeNow()
		})
	}
}

// TestLateBeatHidesNoLapse has a beat succeed so late that the node meanwhile was not certain to be alive and did not
// begin what it had started. That must not be left lying.
func TestLateBeatHidesNoLapse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w unitCounter
		nodes, ways := openStalling(t, 1, engine.Config{Pools: []engine.Pool{w.newPool(1)}, NodeTTL: 10 * time.Second})
		defer nodes[0].closeNow()
		time.Sleep(500 * time.Millisecond)
		began := time.Now()
		beat := func(ctx context.Context, _ string) error {
			switch since := time.Since(began); {
			case since < 9*time.Second:
				return errGone
			case since < 10*time.Second:
				time.Sleep(3 * time.Second)
			}
			return ctx.Err()
		}
		ways[0].onBeat.Store(&beat)
		time.Sleep(9 * time.Second)
		slow := func() { time.Sleep(2 * time.Second) }
		ways[0].afterCommit.Store(&slow)
		nodes[0].submit("cpu", withID("a", sleepFor(10)))
		ways[0].afterCommit.Store(nil)
		if got := nodes[0].awaitTask("cpu", "a"); got.Status != park.Completed {
			t.Errorf("%s in attempt %d", got.Status, got.Attempt)
		}
	})
}

// TestBuriedAloneGoesOn buries the only node there is, by whoever it was: it must come back by itself.
func TestBuriedAloneGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w unitCounter
		nodes, ways := openStalling(t, 1, engine.Config{Pools: []engine.Pool{w.newPool(1)}})
		defer nodes[0].closeNow()
		nodes[0].submit("cpu", withID("a", sleepFor(5_000)))
		time.Sleep(time.Second)
		buryNode(t, ways[0], "node-0")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		got, err := nodes[0].Task(ctx, "cpu", "a", time.Hour)
		if err != nil || got.Status != park.Completed || got.Attempt != 2 {
			t.Errorf("%s in attempt %d: %v", got.Status, got.Attempt, err)
		}
		if w.most > 1 {
			t.Errorf("%d units in use at once, of 1", w.most)
		}
	})
}

func buryNode(t *testing.T, s *stallingStore, node string) {
	t.Helper()
	counters, err := s.Store.Heartbeat(t.Context(), "undertaker", store.NodeConfig{})
	if err != nil {
		t.Fatal(err)
	}
	if buried, err := s.Store.DeclareDead(t.Context(), node, counters[node].Counter); err != nil || !buried {
		t.Fatalf("not buried: %v", err)
	}
	if err := s.Store.RemoveNode(t.Context(), "undertaker"); err != nil {
		t.Fatal(err)
	}
}

// TestRebornStartsNothingUnderItsOldName keeps a node busy with submissions while it comes back under another name:
// what it starts under the name of the dead others would take over.
func TestRebornStartsNothingUnderItsOldName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w unitCounter
		nodes, ways := openStalling(t, 1, engine.Config{Pools: []engine.Pool{w.newPool(1000)}})
		defer nodes[0].closeNow()
		time.Sleep(time.Second)
		done := make(chan error, 1)
		var born atomic.Bool
		beat := func(_ context.Context, node string) error {
			if node == "node-0" || !born.CompareAndSwap(false, true) {
				return nil
			}
			slow := func() { time.Sleep(20 * time.Millisecond) }
			ways[0].afterCommit.Store(&slow)
			if _, err := ways[0].Store.Heartbeat(t.Context(), node, store.NodeConfig{}); err != nil {
				return err
			}
			go func() {
				many := make([]park.Submission, 2000)
				for i := range many {
					many[i] = sleepFor(10_000)
				}
				_, err := nodes[0].Submit(t.Context(), "cpu", many)
				for park.CodeOf(err) == park.StorageUnavailable { // nothing was taken
					time.Sleep(10 * time.Millisecond)
					_, err = nodes[0].Submit(t.Context(), "cpu", many)
				}
				done <- err
			}()
			time.Sleep(time.Millisecond) // for the first of them to be under way
			return nil
		}
		ways[0].onBeat.Store(&beat)
		buryNode(t, ways[0], "node-0")
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		for _, e := range nodes[0].events(park.AuditQuery{Action: park.ActStart}) {
			if strings.HasPrefix(e.Node, "node-") {
				t.Fatalf("task %s was started by %s, which is dead", e.TaskID, e.Node)
			}
		}
	})
}

// TestFollowsAgainAfterAnOutage has a node hear of another's step while its store is away.
func TestFollowsAgainAfterAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tm := openCluster(t, 2, func(_ int, c *engine.Config) {
			c.Pools = []engine.Pool{poolConfig("cpu", 1, sleepExecutor())}
		})
		defer tm.stop()
		time.Sleep(time.Second)
		tm.stores[0].cut.Store(true)
		if r := tm.nodes[0].trySubmit("cpu", sleepFor(1)); park.CodeOf(r.Err) != park.StorageUnavailable {
			t.Errorf("during the outage: %+v", r)
		}
		tm.nodes[1].submit("cpu", withID("a", sleepFor(10_000))) // of which the first gets a hint
		time.Sleep(time.Second)
		tm.stores[0].cut.Store(false)
		time.Sleep(time.Second)
		tm.nodes[1].submit("cpu", withID("b", sleepFor(10_000)))
		time.Sleep(time.Second)
		if p, err := tm.nodes[0].Pool(t.Context(), "cpu"); err != nil || p.Running != 1 || p.QueueDepth != 1 {
			t.Errorf("a second later the other node sees %d running and %d parked, %v", p.Running, p.QueueDepth, err)
		}
	})
}

// TestLeaseHasItsTimeWhereAPoolIsLoaded has a node load a pool for long. What is leased meanwhile must live there for as
// long as it was told to.
func TestLeaseHasItsTimeWhereAPoolIsLoaded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes, ways := openStalling(t, 1, engine.Config{Pools: []engine.Pool{leasedPool(1)}})
		a := nodes[0]
		a.submit("remote", withID("a", park.Submission{}))
		slow := &slowLoad{Store: ways[0].Store}
		opened := make(chan *harness)
		go func() {
			opened <- openEngine(t, engine.Config{
				Node: "node-1", Pools: []engine.Pool{leasedPool(1)}, Shared: []park.Backend{park.InMemory},
				Stores: map[park.Backend]store.Store{park.InMemory: slow},
			})
		}()
		time.Sleep(4 * time.Second)
		a.lease(park.LeaseRequest{TTL: park.Duration(10 * time.Second)})
		began := time.Now()
		b := <-opened
		defer b.closeNow()
		ways[0].stalled.Store(true) // the other must see to it
		for b.actions("a") != " submit enqueue start requeue" {
			time.Sleep(50 * time.Millisecond)
		}
		if d := time.Since(began); d < 10*time.Second || d > 12*time.Second {
			t.Errorf("ended after %s", d)
		}
		ways[0].stalled.Store(false)
		a.closeNow()
	})
}

// slowLoad is a store that takes long to load a pool.
type slowLoad struct{ *memory.Store }

func (s *slowLoad) Load(ctx context.Context, pool string) (store.Snapshot, error) {
	time.Sleep(5 * time.Second)
	return s.Store.Load(ctx, pool)
}

// TestLeaseLivesThatAnotherKept keeps a lease at one node and then at another, which must not take both for its own.
func TestLeaseLivesThatAnotherKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes, ways := openStalling(t, 2, engine.Config{Pools: []engine.Pool{leasedPool(1)}})
		a, b := nodes[0], nodes[1]
		defer b.closeNow()
		a.submit("remote", withID("a", park.Submission{}))
		l := a.lease(park.LeaseRequest{TTL: park.Duration(10 * time.Second)})[0]
		time.Sleep(2 * time.Second)
		// What a node decides at one time and another later may reach the store the other way round.
		hold := make(chan struct{})
		ways[0].keepLeases = hold
		kept := make(chan error)
		go func() {
			_, err := a.KeepLease(t.Context(), l.LeaseID, park.KeepRequest{})
			kept <- err
		}()
		time.Sleep(3 * time.Second)
		began := time.Now()
		if _, err := b.KeepLease(t.Context(), l.LeaseID, park.KeepRequest{}); err != nil {
			t.Fatal(err)
		}
		close(hold)
		if err := <-kept; err != nil {
			t.Fatal(err)
		}
		ways[1].stalled.Store(true)
		for a.actions("a") != " submit enqueue start requeue" {
			time.Sleep(50 * time.Millisecond)
		}
		if d := time.Since(began); d < 10*time.Second {
			t.Errorf("ended after %s, but it was kept for 10 s", d)
		}
		ways[1].stalled.Store(false)
		a.closeNow()
	})
}

func (s *stallingStore) RenewLease(ctx context.Context, k store.LeaseRenewal) (int64, error) {
	if s.keepLeases != nil {
		<-s.keepLeases
	}
	return s.Store.RenewLease(ctx, k)
}

// TestNothingStoredBeforeTheFirstBeat: a store that does not know a node refuses its steps as those of a dead one, but
// may take them if they come late, when it does. So what such a node says it did not take it does not ask for either.
func TestNothingStoredBeforeTheFirstBeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		way := &stallingStore{Store: memory.New()}
		unheard := func(context.Context, string) error { return errGone }
		way.onBeat.Store(&unheard)
		var commits atomic.Int32
		count := func() { commits.Add(1) }
		way.afterCommit.Store(&count)
		b := openEngine(t, engine.Config{
			Pools: []engine.Pool{poolConfig("cpu", 1, sleepExecutor())}, Shared: []park.Backend{park.InMemory}, Node: "node-0",
			Stores: map[park.Backend]store.Store{park.InMemory: way},
		})
		defer b.closeNow()
		if r := b.trySubmit("cpu", withID("a", sleepFor(1))); r.Err == nil || r.Err.Code != park.StorageUnavailable {
			t.Errorf("before the first beat: %+v", r)
		}
		if n := commits.Load(); n != 0 {
			t.Errorf("the store was asked for %d steps", n)
		}
		way.onBeat.Store(nil)
		time.Sleep(5 * time.Second)
		if r := b.trySubmit("cpu", withID("a", sleepFor(1))); r.Err != nil {
			t.Errorf("after it: %v", r.Err)
		}
	})
}

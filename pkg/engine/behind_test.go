package engine_test

import (
	"context"
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

// What a node says that has not heard yet of what another did, or of what came a moment before.

// TestPoolSetAtANodeThatIsBehind pauses a pool at one node and has it go on at another, which believes that it does.
func TestPoolSetAtANodeThatIsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tm := openCluster(t, 2, func(_ int, c *engine.Config) {
			c.Pools, c.Quiet = []engine.Pool{poolConfig("cpu", 1, sleepExecutor())}, true
		})
		defer tm.stop()
		time.Sleep(time.Second)
		paused, active := park.Paused, park.Active
		if _, err := tm.nodes[0].SetPool(t.Context(), "cpu", park.PoolPatch{State: &paused}); err != nil {
			t.Fatal(err)
		}
		if p, err := tm.nodes[1].SetPool(t.Context(), "cpu", park.PoolPatch{State: &active}); err != nil || p.State != active {
			t.Fatalf("the pool is %s: %v", p.State, err)
		}
		time.Sleep(time.Second)
		for i, n := range tm.nodes {
			if p, err := n.Pool(t.Context(), "cpu"); err != nil || p.State != active {
				t.Errorf("node %d has the pool %s: %v", i, p.State, err)
			}
		}
	})
}

// TestSentAgainAtANodeThatIsBehind sends a parked task once more, to a node that looks for ids in the store first and has not
// heard of the task. The answer has its position all the same.
func TestSentAgainAtANodeThatIsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tm := openCluster(t, 2, func(_ int, c *engine.Config) {
			c.Pools, c.Quiet = []engine.Pool{poolConfig("cpu", 1, sleepExecutor())}, true
		})
		defer tm.stop()
		a, b := tm.nodes[0], tm.nodes[1]
		a.submit("cpu", withID("done", sleepFor(1)))
		a.awaitTask("cpu", "done")
		a.submit("cpu", withID("long", sleepFor(60_000)))
		time.Sleep(time.Second)
		b.submit("cpu", withID("done", sleepFor(1))) // from now on it looks
		a.submit("cpu", withID("parked", sleepFor(1)))
		if got := b.submit("cpu", withID("parked", sleepFor(1))); got.Status != park.Queued || got.Position != 1 {
			t.Errorf("the parked task is %s at position %d", got.Status, got.Position)
		}
	})
}

// hookedRecords is a store that calls before when tasks are read for the first time.
type hookedRecords struct {
	*memory.Store
	before func()
}

func (s *hookedRecords) Records(ctx context.Context, pool string, ids []string) ([]ledger.Record, error) {
	if f := s.before; f != nil {
		s.before = nil
		f()
	}
	return s.Store.Records(ctx, pool, ids)
}

// TestCancelMeetsItsSubmission cancels a task that comes between two looks of the cancellation.
func TestCancelMeetsItsSubmission(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &hookedRecords{Store: memory.New()}
		b := openEngine(t, engine.Config{
			Pools: []engine.Pool{poolConfig("cpu", 1, sleepExecutor())}, Stores: map[park.Backend]store.Store{park.InMemory: s},
		})
		defer b.closeNow()
		s.before = func() { b.submit("cpu", withID("a", sleepFor(60_000))) }
		if got, err := b.Cancel(t.Context(), "cpu", "a"); err != nil || got.Status != park.Dropped {
			t.Errorf("the task is %q: %v", got.Status, err)
		}
	})
}

// slowLeases is a store that takes its time to tell of leases, once.
type slowLeases struct {
	*memory.Store
	delay time.Duration
}

func (s *slowLeases) LeaseRenewals(ctx context.Context, pool string, tasks []string) ([]store.LeaseRenewal, error) {
	time.Sleep(s.delay)
	s.delay = 0
	return s.Store.LeaseRenewals(ctx, pool, tasks)
}

// TestLeaseKeptWhileItIsAskedFor keeps a lease at one node while another, where it is due, asks the store for it.
func TestLeaseKeptWhileItIsAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ttl = 10 * time.Second
		shared := memory.New()
		config := func(node string, s store.Store) engine.Config {
			return engine.Config{
				Node: node, Pools: []engine.Pool{leasedPool(1)}, Shared: []park.Backend{park.InMemory},
				Stores: map[park.Backend]store.Store{park.InMemory: s},
			}
		}
		a := openEngine(t, config("slow", &slowLeases{shared, 6 * time.Second}))
		defer a.closeNow()
		b := openEngine(t, config("swift", shared))
		defer b.closeNow()
		a.submit("remote", withID("a", park.Submission{}))
		lease := a.lease(park.LeaseRequest{TTL: park.Duration(ttl)})[0]
		for _, at := range []time.Duration{8 * time.Second, 7 * time.Second} { // after 8 s and after 15 s, of which it asks from 10 s to 16 s
			time.Sleep(at)
			if _, err := b.KeepLease(t.Context(), lease.LeaseID, park.KeepRequest{}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(8 * time.Second)
		if err := b.EndLease(t.Context(), lease.LeaseID, park.LeaseResult{Status: park.Completed}); err != nil {
			t.Errorf("%v:%s", err, b.actions("a"))
		}
	})
}

// slowCommit is a store that takes its time for a step, once it is told to.
type slowCommit struct {
	*memory.Store
	delay atomic.Int64
}

func (s *slowCommit) Commit(ctx context.Context, st *store.Step) error {
	time.Sleep(time.Duration(s.delay.Swap(0)))
	return s.Store.Commit(ctx, st)
}

// TestUnknownAndSentElsewhere has a node make an id for a task and not know what becomes of it. The task is sent to another
// node with that id, and ends there. The first one must not refuse it after that, when it decides its step once more.
func TestUnknownAndSentElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := memory.New()
		slow := &slowCommit{Store: shared}
		config := func(node string, s store.Store) engine.Config {
			return engine.Config{
				Node: node, Pools: []engine.Pool{poolConfig("cpu", 1, sleepExecutor())}, Shared: []park.Backend{park.InMemory},
				Stores: map[park.Backend]store.Store{park.InMemory: s}, Patience: time.Second, Quiet: true,
			}
		}
		a := openEngine(t, config("slow", slow))
		defer a.closeNow()
		b := openEngine(t, config("swift", shared))
		defer b.closeNow()
		b.submit("cpu", withID("long", sleepFor(60_000)))
		time.Sleep(time.Second)
		slow.delay.Store(int64(8 * time.Second))
		s := sleepFor(1)
		s.Deadline = park.At(time.Now().Add(4 * time.Second))
		r := a.trySubmit("cpu", s)
		if r.Err == nil || r.Err.Code != park.OutcomeUnknown {
			t.Fatalf("%+v", r)
		}
		b.submit("cpu", withID(r.Err.TaskID, s))
		time.Sleep(10 * time.Second)
		if got := b.actions(r.Err.TaskID); got != " submit enqueue expire" {
			t.Errorf("the task's life reads%s", got)
		}
	})
}

// failingLoads is a store that fails at once while it is down, and counts the loads of a pool.
type failingLoads struct {
	*memory.Store
	down  atomic.Bool
	loads atomic.Int64
}

// enoughLoads ends a test in which a pool is loaded without a rest: no time would pass.
const enoughLoads = 5000

func (s *failingLoads) Load(ctx context.Context, pool string) (store.Snapshot, error) {
	if s.down.Load() && s.loads.Add(1) < enoughLoads {
		return store.Snapshot{}, errGone
	}
	return s.Store.Load(ctx, pool)
}

func (s *failingLoads) Commit(ctx context.Context, st *store.Step) error {
	if s.down.Load() && s.loads.Load() < enoughLoads {
		return errGone
	}
	return s.Store.Commit(ctx, st)
}

// slowShortExecutor is an executor that takes two seconds to find that it cannot begin.
type slowShortExecutor struct{ shortExecutor }

func (x *slowShortExecutor) Run(ctx context.Context, a park.Assignment) park.Outcome {
	time.Sleep(2 * time.Second)
	return x.shortExecutor.Run(ctx, a)
}

// TestStoreGoneWhileStartsArePutOff takes the store away from a pool that then has to put starts off. The pool rests between
// two tries.
func TestStoreGoneWhileStartsArePutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &slowShortExecutor{shortExecutor{work: sleepExecutor()}}
		x.short.Store(true)
		s := &failingLoads{Store: memory.New()}
		b := openEngine(t, engine.Config{Pools: []engine.Pool{poolConfig("cpu", 1, x)}, Stores: map[park.Backend]store.Store{park.InMemory: s}})
		defer b.closeNow()
		b.submit("cpu", withID("a", sleepFor(1)))
		b.submit("cpu", withID("b", sleepFor(1)))
		time.Sleep(time.Second)
		s.down.Store(true)
		time.Sleep(10 * time.Second)
		s.down.Store(false)
		if n := s.loads.Load(); n < 10 || n > 100 {
			t.Errorf("the pool was loaded %d times in 10 s", n)
		}
		x.short.Store(false)
		b.awaitTask("cpu", "a")
	})
}

// toxicStore is a store that refuses toxic tasks permanently, and is down after its first step after a refusal.
type toxicStore struct {
	*memory.Store
	hasRefused, down bool
}

func (s *toxicStore) Commit(ctx context.Context, st *store.Step) error {
	if s.down {
		return errGone
	}
	for i := range st.Inserts {
		if st.Inserts[i].TaskID == "toxic" {
			s.hasRefused = true
			return &store.RefusedError{Err: errGone}
		}
	}
	s.down = s.hasRefused && len(st.Inserts) > 0
	return s.Store.Commit(ctx, st)
}

// TestBatchThatIsTakenInPart has the store refuse a batch, which is then done task by task, and go away after the first. Nobody
// may say that nothing was accepted.
func TestBatchThatIsTakenInPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &toxicStore{Store: memory.New()}
		b := openEngine(t, engine.Config{
			Pools: []engine.Pool{poolConfig("cpu", 1, sleepExecutor())}, Stores: map[park.Backend]store.Store{park.InMemory: s},
		})
		defer b.closeNow()
		results, err := b.Submit(t.Context(), "cpu", []park.Submission{sleepFor(1), withID("toxic", sleepFor(1)), withID("c", sleepFor(1))})
		if err != nil || results[0].Err != nil {
			t.Fatalf("%v, %+v", err, results)
		}
		for _, r := range results[1:] {
			if r.Err == nil || r.Err.Code != park.StorageUnavailable && r.Err.Code != park.InvalidRequest {
				t.Errorf("%+v", r)
			}
		}
	})
}

package engine_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/memory"
)

func leasedPool(units int64) engine.Pool {
	p := poolConfig("remote", units, nil)
	p.Runtime, p.TakesCommands = park.WebWorker, true
	return p
}

func (b *harness) lease(r park.LeaseRequest) []park.Lease {
	b.Helper()
	leases, err := b.Lease(context.Background(), "remote", r)
	if err != nil {
		b.Fatal(err)
	}
	return leases
}

func TestLeaseStartsTask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openEngine(t, engine.Config{Pools: []engine.Pool{leasedPool(2)}})
		defer b.closeNow()
		s := withID("a", park.Submission{Payload: json.RawMessage(`{"x":1}`)})
		if got := b.submit("remote", s); got.Status != park.Queued {
			t.Errorf("without a worker: %+v", got)
		}
		l := b.lease(park.LeaseRequest{Worker: "w1", Max: 4})
		if len(l) != 1 || l[0].TaskID != "a" || l[0].Attempt != 1 || string(l[0].Payload) != `{"x":1}` || l[0].Units != 1 {
			t.Fatalf("leases: %+v", l)
		}
		end := park.LeaseResult{Status: park.Completed, Payload: json.RawMessage(`"done"`)}
		for range 2 { // the second is a worker that lost the first reply
			if err := b.EndLease(t.Context(), l[0].LeaseID, end); err != nil {
				t.Error(err)
			}
		}
		if got := b.awaitTask("remote", "a"); got.Status != park.Completed || string(got.Result) != `"done"` {
			t.Errorf("ended: %+v", got)
		}
		if got := b.lease(park.LeaseRequest{}); len(got) != 0 {
			t.Errorf("leased from an empty pool: %+v", got)
		}
	})
}

func TestWaitingWorkerTakesTaskAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openEngine(t, engine.Config{Pools: []engine.Pool{leasedPool(2)}})
		defer b.closeNow()
		got := make(chan []park.Lease)
		go func() { got <- b.lease(park.LeaseRequest{Wait: park.Duration(20 * time.Second)}) }()
		synctest.Wait()
		if a := b.submit("remote", withID("a", park.Submission{})); a.Status != park.Running {
			t.Errorf("with a waiting worker: %+v", a)
		}
		if l := <-got; len(l) != 1 || l[0].TaskID != "a" {
			t.Errorf("leases: %+v", l)
		}
		began := time.Now()
		if l := b.lease(park.LeaseRequest{Wait: park.Duration(20 * time.Second)}); len(l) != 0 || time.Since(began) != 20*time.Second {
			t.Errorf("after %v: %+v", time.Since(began), l)
		}
	})
}

func TestLostLeaseIsRequeuedAndFenced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openEngine(t, engine.Config{Pools: []engine.Pool{leasedPool(1)}})
		defer b.closeNow()
		b.submit("remote", withID("a", park.Submission{}))
		late := b.lease(park.LeaseRequest{TTL: park.Duration(5 * time.Second)})[0]
		for range 3 {
			time.Sleep(4 * time.Second)
			if _, err := b.KeepLease(t.Context(), late.LeaseID, park.KeepRequest{}); err != nil {
				t.Fatal(err)
			}
		}
		l := b.lease(park.LeaseRequest{Wait: park.Duration(time.Minute)})
		if len(l) != 1 || l[0].Attempt != 2 || l[0].LeaseID == late.LeaseID {
			t.Fatalf("second attempt: %+v", l)
		}
		done := park.LeaseResult{Status: park.Completed}
		if err := b.EndLease(t.Context(), late.LeaseID, done); park.CodeOf(err) != park.LeaseLost {
			t.Errorf("late result: %v", err)
		}
		if _, err := b.KeepLease(t.Context(), late.LeaseID, park.KeepRequest{}); park.CodeOf(err) != park.LeaseLost {
			t.Errorf("late keep: %v", err)
		}
		if err := b.EndLease(t.Context(), "remote.1.00.nobody", done); park.CodeOf(err) != park.LeaseNotFound {
			t.Errorf("no such lease: %v", err)
		}
		if err := b.EndLease(t.Context(), l[0].LeaseID, done); err != nil {
			t.Error(err)
		}
		if got, want := b.actions("a"), " submit enqueue start requeue start complete"; got != want {
			t.Errorf("life is%s, not%s", got, want)
		}
	})
}

func TestLostLeasesExhaustAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openEngine(t, engine.Config{Pools: []engine.Pool{leasedPool(1)}})
		defer b.closeNow()
		s := withID("a", park.Submission{})
		s.Retry.MaxAttempts = 2
		b.submit("remote", s)
		for range 2 {
			if l := b.lease(park.LeaseRequest{TTL: park.Duration(time.Second), Wait: park.Duration(time.Minute)}); len(l) != 1 {
				t.Fatalf("leases: %+v", l)
			}
		}
		if got := b.awaitTask("remote", "a"); got.Status != park.Failed || got.Reason != park.ReasonWorkerLost || got.Attempt != 2 {
			t.Errorf("ended: %+v", got)
		}
	})
}

func TestLeasedTaskTimesOutAndIsCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openEngine(t, engine.Config{Pools: []engine.Pool{leasedPool(2)}})
		defer b.closeNow()
		slow := withID("slow", park.Submission{})
		slow.TimeoutSecs = 7
		b.submit("remote", slow)
		b.submit("remote", withID("unwanted", park.Submission{}))
		l := b.lease(park.LeaseRequest{Max: 2})
		if len(l) != 2 {
			t.Fatalf("leases: %+v", l)
		}
		if got, err := b.Cancel(t.Context(), "remote", "unwanted"); err != nil || got.Status != park.Dropped {
			t.Errorf("cancelled: %+v %v", got, err)
		}
		if err := b.EndLease(t.Context(), l[1].LeaseID, park.LeaseResult{Status: park.Completed}); park.CodeOf(err) != park.LeaseLost {
			t.Errorf("result of a cancelled task: %v", err)
		}
		if got := b.awaitTask("remote", "slow"); got.Status != park.Failed || got.Reason != park.ReasonTimeout {
			t.Errorf("timed out: %+v", got)
		}
	})
}

func TestLeaseLivesThroughRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := engine.Config{Pools: []engine.Pool{leasedPool(1)}, Stores: map[park.Backend]store.Store{park.InMemory: memory.New()}}
		b := openEngine(t, c)
		b.submit("remote", withID("a", park.Submission{}))
		l := b.lease(park.LeaseRequest{})[0]
		b.closeNow()
		b = openEngine(t, c)
		defer b.closeNow()
		if _, err := b.KeepLease(t.Context(), l.LeaseID, park.KeepRequest{}); err != nil {
			t.Error(err)
		}
		if err := b.EndLease(t.Context(), l.LeaseID, park.LeaseResult{Status: park.Completed}); err != nil {
			t.Error(err)
		}
		if got := b.awaitTask("remote", "a"); got.Attempt != 1 {
			t.Errorf("ended: %+v", got)
		}
	})
}

func TestWorkerThatGoesGivesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openEngine(t, engine.Config{Pools: []engine.Pool{leasedPool(1)}})
		defer b.closeNow()
		ctx, hangUp := context.WithCancel(t.Context())
		gone := make(chan error)
		go func() {
			_, err := b.Lease(ctx, "remote", park.LeaseRequest{Wait: park.Duration(time.Minute)})
			gone <- err
		}()
		synctest.Wait()
		hangUp()
		if err := <-gone; err == nil {
			t.Error("a lease call whose client has gone succeeded")
		}
		synctest.Wait()
		if a := b.submit("remote", withID("a", park.Submission{})); a.Status != park.Queued {
			t.Errorf("after the worker has gone: %+v", a)
		}
	})
}

// TestLeasesFitIntoAnAnswer leases tasks with large payloads from the node that took them in, from one that was started
// after it, and from another. Of what does not fit into an answer nothing is leased, and it comes with the next.
func TestLeasesFitIntoAnAnswer(t *testing.T) {
	const tasks, size = 20, 1 << 20
	submit := func(b *harness) {
		var all []park.Submission
		for i := range tasks {
			all = append(all, withID(fmt.Sprintf("t%02d", i), park.Submission{Payload: jsonText(size)}))
		}
		all = append(all, withID("vast", park.Submission{Payload: jsonText(12 << 20)}), withID("small", park.Submission{}))
		if _, err := b.Submit(context.Background(), "remote", all); err != nil {
			t.Fatal(err)
		}
	}
	for name, takes := range map[string]func(b *harness, again func() *harness) *harness{
		"the same node":    func(b *harness, _ func() *harness) *harness { return b },
		"after a restart":  func(b *harness, again func() *harness) *harness { b.closeNow(); return again() },
		"from another one": func(_ *harness, again func() *harness) *harness { return again() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				shared := memory.New()
				again := func() *harness {
					return openEngine(t, engine.Config{
						Pools: []engine.Pool{leasedPool(100)}, Stores: map[park.Backend]store.Store{park.InMemory: shared}, Shared: []park.Backend{park.InMemory},
					})
				}
				b := again()
				submit(b)
				other := takes(b, again)
				defer other.closeNow()
				if other != b && name == "from another one" {
					defer b.closeNow()
				}
				var got []string
				for len(got) < tasks+2 {
					leases, bytes := other.lease(park.LeaseRequest{Max: 1000}), 0
					for _, l := range leases {
						got, bytes = append(got, l.TaskID), bytes+len(l.Payload)
					}
					if bytes > 8<<20 && len(leases) > 1 || len(leases) == 0 || len(leases) < 7 && len(got) < tasks {
						t.Fatalf("an answer has %d leases with %d bytes", len(leases), bytes)
					}
					if p, err := other.Pool(t.Context(), "remote"); err != nil || p.Running != len(got) {
						t.Fatalf("%d tasks run, %d were handed out, %v", p.Running, len(got), err)
					}
				}
				if !slices.IsSorted(got[:tasks]) || got[tasks] != "vast" {
					t.Errorf("leased in the order %v", got)
				}
			})
		})
	}
}

// TestSizesAreAskedForOnce has a node lease tasks of another one: it asks for what it does not know, and where it matters.
func TestSizesAreAskedForOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := memory.New()
		asked := &sizeCounter{Store: shared}
		var nodes []*harness
		for i, s := range []store.Store{shared, asked} {
			nodes = append(nodes, openEngine(t, engine.Config{
				Node: fmt.Sprint("node-", i), Pools: []engine.Pool{leasedPool(100)}, Shared: []park.Backend{park.InMemory},
				Stores: map[park.Backend]store.Store{park.InMemory: s},
			}))
			defer nodes[i].closeNow()
		}
		for i := range 6 {
			nodes[0].submit("remote", withID(fmt.Sprint(i), park.Submission{}))
		}
		time.Sleep(time.Second)
		for _, want := range []struct{ max, leases, asked int }{{1, 1, 0}, {3, 3, 3}, {10, 2, 5}, {10, 0, 5}} {
			leases := nodes[1].lease(park.LeaseRequest{Max: want.max})
			if n := int(asked.ids.Load()); len(leases) != want.leases || n != want.asked {
				t.Errorf("got %d leases of %d after asking for %d sizes: %+v", len(leases), want.max, n, want)
			}
		}
	})
}

// sizeCounter counts the tasks whose sizes are read.
type sizeCounter struct {
	*memory.Store
	ids atomic.Int64
}

func (s *sizeCounter) Sizes(ctx context.Context, pool string, ids []string) (map[string]int, error) {
	s.ids.Add(int64(len(ids)))
	return s.Store.Sizes(ctx, pool, ids)
}

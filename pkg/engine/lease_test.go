package engine_test

import (
	"context"
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/memory"
)

func remote(units int64) engine.Pool {
	p := pool("remote", units, nil)
	p.Runtime, p.TakesCommands = park.WebWorker, true
	return p
}

func (b *bench) lease(r park.LeaseRequest) []park.Lease {
	b.Helper()
	leases, err := b.Lease(context.Background(), "remote", r)
	if err != nil {
		b.Fatal(err)
	}
	return leases
}

func TestLeaseStartsTask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, engine.Config{Pools: []engine.Pool{remote(2)}})
		defer b.stop()
		s := named("a", park.Submission{Payload: json.RawMessage(`{"x":1}`)})
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
		if got := b.ended("remote", "a"); got.Status != park.Completed || string(got.Result) != `"done"` {
			t.Errorf("ended: %+v", got)
		}
		if got := b.lease(park.LeaseRequest{}); len(got) != 0 {
			t.Errorf("leased from an empty pool: %+v", got)
		}
	})
}

func TestWaitingWorkerTakesTaskAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, engine.Config{Pools: []engine.Pool{remote(2)}})
		defer b.stop()
		got := make(chan []park.Lease)
		go func() { got <- b.lease(park.LeaseRequest{Wait: park.Duration(20 * time.Second)}) }()
		synctest.Wait()
		if a := b.submit("remote", named("a", park.Submission{})); a.Status != park.Running {
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
		b := open(t, engine.Config{Pools: []engine.Pool{remote(1)}})
		defer b.stop()
		b.submit("remote", named("a", park.Submission{}))
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
		if got, want := b.life("a"), " submit enqueue start requeue start complete"; got != want {
			t.Errorf("life is%s, not%s", got, want)
		}
	})
}

func TestLostLeasesExhaustAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, engine.Config{Pools: []engine.Pool{remote(1)}})
		defer b.stop()
		s := named("a", park.Submission{})
		s.Retry.MaxAttempts = 2
		b.submit("remote", s)
		for range 2 {
			if l := b.lease(park.LeaseRequest{TTL: park.Duration(time.Second), Wait: park.Duration(time.Minute)}); len(l) != 1 {
				t.Fatalf("leases: %+v", l)
			}
		}
		if got := b.ended("remote", "a"); got.Status != park.Failed || got.Reason != park.ReasonWorkerLost || got.Attempt != 2 {
			t.Errorf("ended: %+v", got)
		}
	})
}

func TestLeasedTaskTimesOutAndIsCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, engine.Config{Pools: []engine.Pool{remote(2)}})
		defer b.stop()
		slow := named("slow", park.Submission{})
		slow.TimeoutSecs = 7
		b.submit("remote", slow)
		b.submit("remote", named("unwanted", park.Submission{}))
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
		if got := b.ended("remote", "slow"); got.Status != park.Failed || got.Reason != park.ReasonTimeout {
			t.Errorf("timed out: %+v", got)
		}
	})
}

func TestLeaseLivesThroughRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := engine.Config{Pools: []engine.Pool{remote(1)}, Stores: map[park.Backend]store.Store{park.InMemory: memory.New()}}
		b := open(t, c)
		b.submit("remote", named("a", park.Submission{}))
		l := b.lease(park.LeaseRequest{})[0]
		b.stop()
		b = open(t, c)
		defer b.stop()
		if _, err := b.KeepLease(t.Context(), l.LeaseID, park.KeepRequest{}); err != nil {
			t.Error(err)
		}
		if err := b.EndLease(t.Context(), l.LeaseID, park.LeaseResult{Status: park.Completed}); err != nil {
			t.Error(err)
		}
		if got := b.ended("remote", "a"); got.Attempt != 1 {
			t.Errorf("ended: %+v", got)
		}
	})
}

func TestWorkerThatGoesGivesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, engine.Config{Pools: []engine.Pool{remote(1)}})
		defer b.stop()
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
		if a := b.submit("remote", named("a", park.Submission{})); a.Status != park.Queued {
			t.Errorf("after the worker has gone: %+v", a)
		}
	})
}

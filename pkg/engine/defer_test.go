package engine_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/internal/shortage"
	"github.com/parkd-dev/parkd/pkg/park"
)

// shortExecutor is an executor that can be short of descriptors.
type shortExecutor struct {
	short  atomic.Bool
	failed atomic.Int64
	work   park.Executor
}

func (x *shortExecutor) Run(ctx context.Context, a park.Assignment) park.Outcome {
	if x.short.Load() {
		x.failed.Add(1)
		return park.PutOff(shortage.Own(fmt.Errorf("make a pipe to the shim: %w", syscall.EMFILE)))
	}
	return x.work.Run(ctx, a)
}

func TestShortageFailsNoTask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &shortExecutor{work: sleepExecutor()}
		x.short.Store(true)
		var log strings.Builder
		b := openEngine(t, engine.Config{Pools: []engine.Pool{poolConfig("cpu", 4, x)}, Log: slog.New(slog.NewTextHandler(&log, nil))})
		defer b.closeNow()
		var want []string
		for i := range 12 {
			s := withID(fmt.Sprintf("t%02d", i), sleepFor(1000))
			s.Retry.MaxAttempts = 1
			b.submit("cpu", s)
			want = append(want, s.TaskID)
		}
		time.Sleep(10 * time.Minute)
		if n := x.failed.Load(); n > 60 {
			t.Errorf("%d starts were tried in 10 minutes", n)
		}
		p, err := b.Pool(t.Context(), "cpu")
		if err != nil || p.UsedUnits != 0 || p.QueueDepth != 12 {
			t.Errorf("%+v, %v", p, err)
		}
		if d := p.StartsDeferred; d == nil || d.Reason != park.ShortFiles || !strings.Contains(d.Message, "too many open files") || d.Since.IsZero() {
			t.Errorf("the pool says %+v", d)
		}
		if n := strings.Count(log.String(), "starts deferred"); n != 1 {
			t.Errorf("told %d times in the log:\n%s", n, &log)
		}
		x.short.Store(false)
		for _, id := range want {
			if got := b.awaitTask("cpu", id); got.Status != park.Completed {
				t.Errorf("task %s: %s %s", id, got.Status, got.Reason)
			}
		}
		var last []string // starts, of each task the last
		for _, e := range b.events(park.AuditQuery{PoolID: "cpu", Action: park.ActStart}) {
			last = append(slices.DeleteFunc(last, func(id string) bool { return id == e.TaskID }), e.TaskID)
		}
		// Those that were put off come first, in any order: each comes back by itself.
		slices.Sort(last[:min(4, len(last))])
		if !slices.Equal(last, want) {
			t.Errorf("begun in the order %v", last)
		}
		b.submit("cpu", withID("later", sleepFor(1)))
		b.awaitTask("cpu", "later")
		time.Sleep(time.Minute)
		for i := range 8 { // as many as show that starts go on
			b.submit("cpu", withID(fmt.Sprint("later", i), sleepFor(1)))
			b.awaitTask("cpu", fmt.Sprint("later", i))
			time.Sleep(time.Second)
		}
		if p, _ := b.Pool(t.Context(), "cpu"); p.StartsDeferred != nil {
			t.Errorf("starts go on, but the pool says %+v", p.StartsDeferred)
		}
		checkLog(t, b.events(park.AuditQuery{PoolID: "cpu", Changes: true}), 4)
	})
}

// limitedExecutor is an executor with resources for a few runs.
type limitedExecutor struct {
	left atomic.Int64
	work park.Executor
}

func (x *limitedExecutor) Run(ctx context.Context, a park.Assignment) park.Outcome {
	defer x.left.Add(1)
	if x.left.Add(-1) < 0 {
		return park.PutOff(shortage.Own(fmt.Errorf("make a pipe to the shim: %w", syscall.EMFILE)))
	}
	return x.work.Run(ctx, a)
}

// TestShortageThatLasts: what a machine has goes on being used where it has it for fewer tasks than the pool's units allow.
func TestShortageThatLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &limitedExecutor{work: sleepExecutor()}
		x.left.Store(5)
		b := openEngine(t, engine.Config{Pools: []engine.Pool{poolConfig("cpu", 40, x)}})
		defer b.closeNow()
		began := time.Now()
		for i := range 200 {
			b.submit("cpu", withID(fmt.Sprint(i), sleepFor(1000)))
		}
		for i := range 200 {
			if got := b.awaitTask("cpu", fmt.Sprint(i)); got.Status != park.Completed {
				t.Errorf("task %d: %s %s", i, got.Status, got.Reason)
			}
		}
		// Five at a time take 40 s.
		if took := time.Since(began); took > 2*time.Minute {
			t.Errorf("200 tasks of a second, of which five run at a time, took %s", took)
		}
	})
}

// TestShortageOfOneNode has the other nodes start what one cannot.
func TestShortageOfOneNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		poor, rich := &shortExecutor{work: sleepExecutor()}, &shortExecutor{work: sleepExecutor()}
		poor.short.Store(true)
		tm := openCluster(t, 2, func(i int, c *engine.Config) {
			c.Pools = []engine.Pool{poolConfig("cpu", 2, []park.Executor{poor, rich}[i])}
		})
		defer tm.stop()
		for i := range 6 {
			tm.nodes[0].submit("cpu", withID(fmt.Sprint(i), sleepFor(1000)))
		}
		for i := range 6 {
			if got := tm.nodes[0].awaitTask("cpu", fmt.Sprint(i)); got.Status != park.Completed || got.Node != "node-1" {
				t.Errorf("task %d: %s on %s", i, got.Status, got.Node)
			}
		}
	})
}

// TestCancelOfADeferredTask cancels what was put off, and what is about to be.
func TestCancelOfADeferredTask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &shortExecutor{work: sleepExecutor()}
		x.short.Store(true)
		b := openEngine(t, engine.Config{Pools: []engine.Pool{poolConfig("cpu", 4, x)}})
		defer b.closeNow()
		s := withID("a", sleepFor(1))
		s.Deadline = park.At(time.Now().Add(time.Second))
		b.submit("cpu", s)
		b.submit("cpu", withID("b", sleepFor(1)))
		if _, err := b.Cancel(t.Context(), "cpu", "b"); err != nil {
			t.Error(err)
		}
		if got := b.awaitTask("cpu", "b"); got.Status != park.Dropped {
			t.Errorf("cancelled: %s", got.Status)
		}
	})
}

// TestReleasedLease gives a lease back whose task was not begun.
func TestReleasedLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openEngine(t, engine.Config{Pools: []engine.Pool{leasedPool(2)}})
		defer b.closeNow()
		first := withID("first", sleepFor(1))
		first.Retry.MaxAttempts = 1
		b.submit("remote", first)
		b.submit("remote", withID("second", sleepFor(1)))
		for range 3 {
			l := b.lease(park.LeaseRequest{})
			if len(l) != 1 || l[0].TaskID != "first" {
				t.Fatalf("leased %+v, want the first again", l)
			}
			if err := b.ReleaseLease(t.Context(), l[0].LeaseID, park.LeaseRelease{Message: "too many open files"}); err != nil {
				t.Fatal(err)
			}
			if err := b.ReleaseLease(t.Context(), l[0].LeaseID, park.LeaseRelease{}); park.CodeOf(err) != park.LeaseLost {
				t.Errorf("given back twice: %v", err)
			}
		}
		l := b.lease(park.LeaseRequest{})
		if err := b.EndLease(t.Context(), l[0].LeaseID, park.LeaseResult{Status: park.Completed}); err != nil {
			t.Fatal(err)
		}
		if got := b.awaitTask("remote", "first"); got.Status != park.Completed || got.Attempt != 4 {
			t.Errorf("%+v", got)
		}
	})
}

package lease

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/memory"
)

// harness is a daemon with one leased pool of 4 units, in fake time. Its network can be cut.
type harness struct {
	*testing.T
	*engine.Engine

	mu           sync.Mutex
	cut          bool
	delay        time.Duration // of the next answer to a lease request
	dropRenewals int           // how many of the next renewals get no answer
}

var errCut = errors.New("the network is cut")

func (y *harness) checkNetwork() error {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.cut {
		return errCut
	}
	return nil
}

func (y *harness) setCut(cut bool) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.cut = cut
}

// Lease implements [park.LeaseService], as the methods after it do.
func (y *harness) Lease(ctx context.Context, pool string, r park.LeaseRequest) ([]park.Lease, error) {
	if err := y.checkNetwork(); err != nil {
		return nil, err
	}
	leases, err := y.Engine.Lease(ctx, pool, r)
	y.mu.Lock()
	delay := y.delay
	y.delay = 0
	y.mu.Unlock()
	time.Sleep(delay)
	return leases, err
}

func (y *harness) KeepLease(ctx context.Context, id string, r park.KeepRequest) (park.Kept, error) {
	if err := y.checkNetwork(); err != nil {
		return park.Kept{}, err
	}
	y.mu.Lock()
	drop := y.dropRenewals > 0
	y.dropRenewals = max(y.dropRenewals-1, 0)
	y.mu.Unlock()
	if drop {
		<-ctx.Done() // there is never an answer
		return park.Kept{}, ctx.Err()
	}
	return y.Engine.KeepLease(ctx, id, r)
}

func (y *harness) EndLease(ctx context.Context, id string, r park.LeaseResult) error {
	if err := y.checkNetwork(); err != nil {
		return err
	}
	return y.Engine.EndLease(ctx, id, r)
}

func (y *harness) ReleaseLease(ctx context.Context, id string, r park.LeaseRelease) error {
	if err := y.checkNetwork(); err != nil {
		return err
	}
	return y.Engine.ReleaseLease(ctx, id, r)
}

// withHarness runs a test with a daemon and closes it afterwards.
func withHarness(t *testing.T, test func(y *harness)) {
	synctest.Test(t, func(t *testing.T) {
		e, err := engine.Open(t.Context(), engine.Config{
			Stores: map[park.Backend]store.Store{park.InMemory: memory.New()},
			Pools: []engine.Pool{{PoolSpec: park.PoolSpec{
				ID: "gpu", MaxUnits: 4, MaxQueueDepth: 100, Runtime: park.CloudWorker, TakesCommands: true,
				QueueBackend: park.InMemory, MailboxBackend: park.InMemory,
			}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		test(&harness{T: t, Engine: e})
		over, cancel := context.WithCancel(context.Background())
		cancel()
		if err := e.Close(over); err != nil {
			t.Error(err)
		}
	})
}

// startWorker starts a worker; stop ends its context and returns the result of Run.
func (y *harness) startWorker(c Config) (stop func() error) {
	y.Helper()
	c.Service, c.Pool = y, "gpu"
	w, err := New(c)
	if err != nil {
		y.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	return func() error {
		cancel()
		return <-ended
	}
}

func (y *harness) submit(s park.Submission) {
	y.Helper()
	r, err := y.Submit(y.Context(), "gpu", []park.Submission{s})
	if err != nil || r[0].Err != nil {
		y.Fatal(err, r[0].Err)
	}
}

func (y *harness) waitEnded(id string) park.Task {
	y.Helper()
	t, err := y.Task(y.Context(), "gpu", id, time.Hour)
	if err != nil || !t.Status.Ended() {
		y.Fatalf("task %s: %s, %v", id, t.Status, err)
	}
	return t
}

// sleeper returns an executor that sleeps for d, or until it is stopped; then it sends the cause to causes.
func sleeper(d time.Duration, causes chan<- error) park.ExecutorFunc {
	return func(ctx context.Context, a park.Assignment) (any, error) {
		select {
		case <-time.After(d):
			return a.TaskID + " by run " + strconv.Itoa(a.Attempt), nil
		case <-ctx.Done():
			if causes != nil {
				causes <- context.Cause(ctx)
			}
			return nil, context.Cause(ctx)
		}
	}
}

func TestWorks(t *testing.T) {
	withHarness(t, func(y *harness) {
		stop := y.startWorker(Config{Executor: sleeper(2*time.Minute, nil), Slots: 2})
		began := time.Now()
		for i := range 4 {
			y.submit(park.Submission{TaskID: strconv.Itoa(i)})
		}
		for i := range 4 {
			task := y.waitEnded(strconv.Itoa(i))
			// Leases of 30 seconds are kept for minutes; two slots take four tasks in two rounds.
			if want := began.Add(time.Duration(i/2+1) * 2 * time.Minute); task.Status != park.Completed || !task.CompletedAt.Equal(want) || task.Attempt != 1 {
				t.Errorf("task %d: %s, run %d, at %s, want %s", i, task.Status, task.Attempt, task.CompletedAt, want)
			}
		}
		if task := y.waitEnded("3"); string(task.Result) != `"3 by run 1"` {
			t.Errorf("result %s", task.Result)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestTakesAtOnce(t *testing.T) {
	withHarness(t, func(y *harness) {
		stop := y.startWorker(Config{Executor: sleeper(time.Second, nil)})
		time.Sleep(5 * time.Minute)
		began := time.Now()
		y.submit(park.Submission{TaskID: "a"})
		if at := y.waitEnded("a").CompletedAt; !at.Equal(began.Add(time.Second)) {
			t.Errorf("ended %s after its submission", at.Sub(began))
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestFailureAndTimeout(t *testing.T) {
	withHarness(t, func(y *harness) {
		stop := y.startWorker(Config{Executor: park.ExecutorFunc(func(ctx context.Context, a park.Assignment) (any, error) {
			if a.TaskID == "slow" {
				return sleeper(time.Hour, nil)(ctx, a)
			}
			return nil, errors.New("no\x00 luck\xff")
		})})
		y.submit(park.Submission{TaskID: "slow", TimeoutSecs: 5})
		y.submit(park.Submission{TaskID: "bad"})
		if task := y.waitEnded("slow"); task.Status != park.Failed || task.Reason != park.ReasonTimeout {
			t.Errorf("%+v", task)
		}
		if task := y.waitEnded("bad"); task.Status != park.Failed || task.Reason != park.ReasonExecutorError || task.Message != "no\uFFFD luck\uFFFD" {
			t.Errorf("%+v", task)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestCancelled(t *testing.T) {
	withHarness(t, func(y *harness) {
		causes := make(chan error, 1)
		stop := y.startWorker(Config{Executor: sleeper(time.Hour, causes), TTL: 30 * time.Second})
		y.submit(park.Submission{TaskID: "a"})
		synctest.Wait()
		if _, err := y.Cancel(y.Context(), "gpu", "a"); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if cause := <-causes; !errors.Is(cause, errLost) || time.Since(began) > 10*time.Second {
			t.Errorf("stopped for %v after %s", cause, time.Since(began))
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// TestCutOff: a worker that cannot renew its lease stops the run before another worker gets the task, reports nothing, and
// goes on once it reaches the daemon again.
func TestCutOff(t *testing.T) {
	withHarness(t, func(y *harness) {
		causes := make(chan error, 1)
		stop := y.startWorker(Config{Executor: sleeper(10*time.Minute, causes), TTL: 30 * time.Second})
		y.submit(park.Submission{TaskID: "a"})
		time.Sleep(time.Minute)
		y.setCut(true)
		cause := <-causes
		stopped := time.Now()
		task, err := y.Task(y.Context(), "gpu", "a", 0)
		if !errors.Is(cause, errLost) || err != nil || task.Status != park.Running {
			t.Errorf("stopped for %v while the task is %s (%v)", cause, task.Status, err)
		}
		time.Sleep(time.Minute)
		y.setCut(false)
		task = y.waitEnded("a")
		if task.Status != park.Completed || task.Attempt != 2 || !task.StartedAt.After(stopped) {
			t.Errorf("%+v", task)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// TestStaleGrant: a lease whose answer took longer than its TTL starts no run.
func TestStaleGrant(t *testing.T) {
	withHarness(t, func(y *harness) {
		runs := make(chan int, 4)
		y.delay = time.Minute
		y.submit(park.Submission{TaskID: "a"})
		stop := y.startWorker(Config{TTL: 30 * time.Second, Executor: park.ExecutorFunc(func(_ context.Context, a park.Assignment) (any, error) {
			runs <- a.Attempt
			return nil, nil
		})})
		if task := y.waitEnded("a"); task.Status != park.Completed || task.Attempt != 2 {
			t.Errorf("%+v", task)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		if close(runs); <-runs != 2 || len(runs) > 0 {
			t.Error("a run was begun whose lease was lost already")
		}
	})
}

// TestProof: an executor can ask how long ago the lease was confirmed, so that it can stop by itself.
func TestProof(t *testing.T) {
	withHarness(t, func(y *harness) {
		var kept, alone time.Duration
		y.submit(park.Submission{TaskID: "a"})
		stop := y.startWorker(Config{TTL: 30 * time.Second, Executor: park.ExecutorFunc(func(_ context.Context, a park.Assignment) (any, error) {
			time.Sleep(5 * time.Minute)
			kept = a.Proved()
			y.setCut(true)
			time.Sleep(20 * time.Second)
			alone = a.Proved()
			y.setCut(false)
			return nil, nil
		})})
		y.waitEnded("a")
		if err := stop(); err != nil {
			t.Error(err)
		}
		if kept > 10*time.Second || alone < 20*time.Second || alone > 30*time.Second {
			t.Errorf("the proof was %s old while the lease was kept, and %s after 20 s without", kept, alone)
		}
	})
}

// TestReportsLate: an outcome is reported as soon as the daemon can be reached, if the lease has not expired.
func TestReportsLate(t *testing.T) {
	withHarness(t, func(y *harness) {
		stop := y.startWorker(Config{Executor: sleeper(10*time.Second, nil), TTL: 30 * time.Second})
		y.submit(park.Submission{TaskID: "a"})
		time.Sleep(9 * time.Second)
		y.setCut(true)
		time.Sleep(5 * time.Second)
		y.setCut(false)
		if task := y.waitEnded("a"); task.Status != park.Completed || task.Attempt != 1 {
			t.Errorf("%+v", task)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestDrains(t *testing.T) {
	withHarness(t, func(y *harness) {
		stop := y.startWorker(Config{Executor: sleeper(time.Minute, nil)})
		y.submit(park.Submission{TaskID: "a"})
		y.submit(park.Submission{TaskID: "b"})
		synctest.Wait()
		if err := stop(); err != nil {
			t.Error(err)
		}
		if task := y.waitEnded("a"); task.Status != park.Completed {
			t.Errorf("%+v", task)
		}
		if task, err := y.Task(y.Context(), "gpu", "b", 0); err != nil || task.Status != park.Queued {
			t.Errorf("%+v %v", task, err)
		}
	})
}

func TestHurries(t *testing.T) {
	withHarness(t, func(y *harness) {
		causes, hurry := make(chan error, 1), make(chan struct{})
		stop := y.startWorker(Config{Executor: sleeper(time.Hour, causes), Abort: hurry})
		y.submit(park.Submission{TaskID: "a"})
		synctest.Wait()
		time.AfterFunc(time.Minute, func() { close(hurry) })
		if err := stop(); err != nil {
			t.Error(err)
		}
		if cause := <-causes; !errors.Is(cause, park.ErrShutdown) {
			t.Errorf("stopped for %v", cause)
		}
		time.Sleep(time.Minute)
		if task, err := y.Task(y.Context(), "gpu", "a", 0); err != nil || task.Status != park.Queued {
			t.Errorf("a task whose worker was hurried away: %+v %v", task, err)
		}
	})
}

func TestFinalErrors(t *testing.T) {
	withHarness(t, func(y *harness) {
		w, err := New(Config{Service: y, Pool: "nowhere", Executor: sleeper(0, nil)})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Run(y.Context()); park.CodeOf(err) != park.PoolNotFound {
			t.Errorf("%v", err)
		}
	})
	for _, c := range []Config{{}, {Service: &harness{}, Pool: "gpu"}, {Service: &harness{}, Pool: "gpu", Executor: sleeper(0, nil), Slots: -1}} {
		if _, err := New(c); err == nil {
			t.Errorf("%+v is taken", c)
		}
	}
}

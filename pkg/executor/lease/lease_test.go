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

// yard is a daemon with one leased pool of 4 units, in fake time. Its network can be cut.
type yard struct {
	*testing.T
	*engine.Engine

	mu   sync.Mutex
	cut  bool
	late time.Duration // how long the next answer to a lease call is on its way
	drop int           // so many of the keeps that come next are lost
}

var errCut = errors.New("the network is cut")

func (y *yard) reach() error {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.cut {
		return errCut
	}
	return nil
}

func (y *yard) setCut(cut bool) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.cut = cut
}

// Lease implements [park.LeaseService], as the methods after it do.
func (y *yard) Lease(ctx context.Context, pool string, r park.LeaseRequest) ([]park.Lease, error) {
	if err := y.reach(); err != nil {
		return nil, err
	}
	leases, err := y.Engine.Lease(ctx, pool, r)
	y.mu.Lock()
	late := y.late
	y.late = 0
	y.mu.Unlock()
	time.Sleep(late)
	return leases, err
}

func (y *yard) KeepLease(ctx context.Context, id string, r park.KeepRequest) (park.Kept, error) {
	if err := y.reach(); err != nil {
		return park.Kept{}, err
	}
	y.mu.Lock()
	lost := y.drop > 0
	y.drop = max(y.drop-1, 0)
	y.mu.Unlock()
	if lost {
		<-ctx.Done() // there is never an answer
		return park.Kept{}, ctx.Err()
	}
	return y.Engine.KeepLease(ctx, id, r)
}

func (y *yard) EndLease(ctx context.Context, id string, r park.LeaseResult) error {
	if err := y.reach(); err != nil {
		return err
	}
	return y.Engine.EndLease(ctx, id, r)
}

func (y *yard) ReleaseLease(ctx context.Context, id string, r park.LeaseRelease) error {
	if err := y.reach(); err != nil {
		return err
	}
	return y.Engine.ReleaseLease(ctx, id, r)
}

// inYard runs a test with a daemon and leaves nothing running.
func inYard(t *testing.T, test func(y *yard)) {
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
		test(&yard{T: t, Engine: e})
		over, cancel := context.WithCancel(context.Background())
		cancel()
		if err := e.Close(over); err != nil {
			t.Error(err)
		}
	})
}

// work starts a worker; stop ends its context and returns what Run returned.
func (y *yard) work(c Config) (stop func() error) {
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

func (y *yard) submit(s park.Submission) {
	y.Helper()
	r, err := y.Submit(y.Context(), "gpu", []park.Submission{s})
	if err != nil || r[0].Err != nil {
		y.Fatal(err, r[0].Err)
	}
}

func (y *yard) ended(id string) park.Task {
	y.Helper()
	t, err := y.Task(y.Context(), "gpu", id, time.Hour)
	if err != nil || !t.Status.Ended() {
		y.Fatalf("task %s: %s, %v", id, t.Status, err)
	}
	return t
}

// lasting works for so long, or until it is stopped; it notes the cause.
func lasting(d time.Duration, causes chan<- error) park.ExecutorFunc {
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
	inYard(t, func(y *yard) {
		stop := y.work(Config{Executor: lasting(2*time.Minute, nil), Slots: 2})
		began := time.Now()
		for i := range 4 {
			y.submit(park.Submission{TaskID: strconv.Itoa(i)})
		}
		for i := range 4 {
			task := y.ended(strconv.Itoa(i))
			// Leases of 30 seconds are kept for minutes; two slots take four tasks in two rounds.
			if want := began.Add(time.Duration(i/2+1) * 2 * time.Minute); task.Status != park.Completed || !task.CompletedAt.Equal(want) || task.Attempt != 1 {
				t.Errorf("task %d: %s, run %d, at %s, want %s", i, task.Status, task.Attempt, task.CompletedAt, want)
			}
		}
		if task := y.ended("3"); string(task.Result) != `"3 by run 1"` {
			t.Errorf("result %s", task.Result)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestTakesAtOnce(t *testing.T) {
	inYard(t, func(y *yard) {
		stop := y.work(Config{Executor: lasting(time.Second, nil)})
		time.Sleep(5 * time.Minute)
		began := time.Now()
		y.submit(park.Submission{TaskID: "a"})
		if at := y.ended("a").CompletedAt; !at.Equal(began.Add(time.Second)) {
			t.Errorf("ended %s after its submission", at.Sub(began))
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestFailureAndTimeout(t *testing.T) {
	inYard(t, func(y *yard) {
		stop := y.work(Config{Executor: park.ExecutorFunc(func(ctx context.Context, a park.Assignment) (any, error) {
			if a.TaskID == "slow" {
				return lasting(time.Hour, nil)(ctx, a)
			}
			return nil, errors.New("no\x00 luck\xff")
		})})
		y.submit(park.Submission{TaskID: "slow", TimeoutSecs: 5})
		y.submit(park.Submission{TaskID: "bad"})
		if task := y.ended("slow"); task.Status != park.Failed || task.Reason != park.ReasonTimeout {
			t.Errorf("%+v", task)
		}
		if task := y.ended("bad"); task.Status != park.Failed || task.Reason != park.ReasonExecutorError || task.Message != "no\uFFFD luck\uFFFD" {
			t.Errorf("%+v", task)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestCancelled(t *testing.T) {
	inYard(t, func(y *yard) {
		causes := make(chan error, 1)
		stop := y.work(Config{Executor: lasting(time.Hour, causes), TTL: 30 * time.Second})
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

// TestCutOff: a worker that cannot keep its lease has stopped its work before the task is another's, reports
// nothing, and works on once it reaches the daemon again.
func TestCutOff(t *testing.T) {
	inYard(t, func(y *yard) {
		causes := make(chan error, 1)
		stop := y.work(Config{Executor: lasting(10*time.Minute, causes), TTL: 30 * time.Second})
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
		task = y.ended("a")
		if task.Status != park.Completed || task.Attempt != 2 || !task.StartedAt.After(stopped) {
			t.Errorf("%+v", task)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// TestStaleGrant: an answer that was on its way for longer than the lease lives begins nothing.
func TestStaleGrant(t *testing.T) {
	inYard(t, func(y *yard) {
		runs := make(chan int, 4)
		y.late = time.Minute
		y.submit(park.Submission{TaskID: "a"})
		stop := y.work(Config{TTL: 30 * time.Second, Executor: park.ExecutorFunc(func(_ context.Context, a park.Assignment) (any, error) {
			runs <- a.Attempt
			return nil, nil
		})})
		if task := y.ended("a"); task.Status != park.Completed || task.Attempt != 2 {
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

// TestProof: work can see how old the proof is that its lease lives, for where it has to end by itself.
func TestProof(t *testing.T) {
	inYard(t, func(y *yard) {
		var kept, alone time.Duration
		y.submit(park.Submission{TaskID: "a"})
		stop := y.work(Config{TTL: 30 * time.Second, Executor: park.ExecutorFunc(func(_ context.Context, a park.Assignment) (any, error) {
			time.Sleep(5 * time.Minute)
			kept = a.Proved()
			y.setCut(true)
			time.Sleep(20 * time.Second)
			alone = a.Proved()
			y.setCut(false)
			return nil, nil
		})})
		y.ended("a")
		if err := stop(); err != nil {
			t.Error(err)
		}
		if kept > 10*time.Second || alone < 20*time.Second || alone > 30*time.Second {
			t.Errorf("the proof was %s old while the lease was kept, and %s after 20 s without", kept, alone)
		}
	})
}

// TestReportsLate: the end of a task is reported as soon as the daemon can be reached, if the lease still lives.
func TestReportsLate(t *testing.T) {
	inYard(t, func(y *yard) {
		stop := y.work(Config{Executor: lasting(10*time.Second, nil), TTL: 30 * time.Second})
		y.submit(park.Submission{TaskID: "a"})
		time.Sleep(9 * time.Second)
		y.setCut(true)
		time.Sleep(5 * time.Second)
		y.setCut(false)
		if task := y.ended("a"); task.Status != park.Completed || task.Attempt != 1 {
			t.Errorf("%+v", task)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestDrains(t *testing.T) {
	inYard(t, func(y *yard) {
		stop := y.work(Config{Executor: lasting(time.Minute, nil)})
		y.submit(park.Submission{TaskID: "a"})
		y.submit(park.Submission{TaskID: "b"})
		synctest.Wait()
		if err := stop(); err != nil {
			t.Error(err)
		}
		if task := y.ended("a"); task.Status != park.Completed {
			t.Errorf("%+v", task)
		}
		if task, err := y.Task(y.Context(), "gpu", "b", 0); err != nil || task.Status != park.Queued {
			t.Errorf("%+v %v", task, err)
		}
	})
}

func TestHurries(t *testing.T) {
	inYard(t, func(y *yard) {
		causes, hurry := make(chan error, 1), make(chan struct{})
		stop := y.work(Config{Executor: lasting(time.Hour, causes), Hurry: hurry})
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
	inYard(t, func(y *yard) {
		w, err := New(Config{Service: y, Pool: "nowhere", Executor: lasting(0, nil)})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Run(y.Context()); park.CodeOf(err) != park.PoolNotFound {
			t.Errorf("%v", err)
		}
	})
	for _, c := range []Config{{}, {Service: &yard{}, Pool: "gpu"}, {Service: &yard{}, Pool: "gpu", Executor: lasting(0, nil), Slots: -1}} {
		if _, err := New(c); err == nil {
			t.Errorf("%+v is taken", c)
		}
	}
}

package lease

import (
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// TestLostKeepsCostNothing: if one or two renewals get no answer, the task keeps its run, and the time since the last renewal
// stays below 7/8 of the TTL, after which a shim kills its command.
func TestLostKeepsCostNothing(t *testing.T) {
	for lost := range 3 {
		t.Run(strconv.Itoa(lost), func(t *testing.T) {
			withHarness(t, func(y *harness) {
				const ttl = 4 * time.Second
				var oldest time.Duration
				x := park.ExecutorFunc(func(ctx context.Context, a park.Assignment) (any, error) {
					for range 6000 { // a minute
						select {
						case <-ctx.Done():
							return nil, context.Cause(ctx)
						case <-time.After(10 * time.Millisecond):
						}
						oldest = max(oldest, a.Proved())
					}
					return "done", nil
				})
				stop := y.startWorker(Config{Executor: x, TTL: ttl})
				y.submit(park.Submission{TaskID: "a"})
				for range 5 {
					time.Sleep(7 * time.Second)
					y.mu.Lock()
					y.dropRenewals = lost
					y.mu.Unlock()
				}
				if task := y.waitEnded("a"); task.Status != park.Completed || task.Attempt != 1 {
					t.Errorf("%s %s in run %d", task.Status, task.Reason, task.Attempt)
				}
				if oldest > ttl*3/4 {
					t.Errorf("a proof was %s old", oldest)
				}
				if err := stop(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestFencedIsNotReported: a run that was ended by the fence, or by the end of the worker, has not failed. Another worker
// gets the task.
func TestFencedIsNotReported(t *testing.T) {
	for _, reason := range []string{park.ReasonNodeLost, park.ReasonShutdown} {
		t.Run(reason, func(t *testing.T) {
			withHarness(t, func(y *harness) {
				runs := 0
				stop := y.startWorker(Config{TTL: 4 * time.Second, Executor: executor(func(context.Context, park.Assignment) park.Outcome {
					if runs++; runs == 1 {
						return park.Failure(reason, "not the task's fault")
					}
					return park.Outcome{Status: park.Completed}
				})})
				y.submit(park.Submission{TaskID: "a"})
				if task := y.waitEnded("a"); task.Status != park.Completed || task.Attempt != 2 {
					t.Errorf("%s %s in run %d", task.Status, task.Reason, task.Attempt)
				}
				if err := stop(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

type executor func(context.Context, park.Assignment) park.Outcome

func (f executor) Run(ctx context.Context, a park.Assignment) park.Outcome { return f(ctx, a) }

// TestAbortReportsFinishedRuns: a result that exists at the second Ctrl-C is reported, even if the daemon cannot be reached
// at that moment.
func TestAbortReportsFinishedRuns(t *testing.T) {
	withHarness(t, func(y *harness) {
		hurry := make(chan struct{})
		stop := y.startWorker(Config{TTL: 30 * time.Second, Abort: hurry, Executor: sleeper(time.Minute, nil)})
		y.submit(park.Submission{TaskID: "a"})
		time.Sleep(59 * time.Second)
		y.setCut(true)
		time.Sleep(2 * time.Second)
		close(hurry) // the run is over, its report is on the way
		time.AfterFunc(5*time.Second, func() { y.setCut(false) })
		if err := stop(); err != nil {
			t.Error(err)
		}
		if task := y.waitEnded("a"); task.Status != park.Completed || task.Attempt != 1 {
			t.Errorf("%s %s in run %d", task.Status, task.Reason, task.Attempt)
		}
	})
}

// TestEndedDuringAbort: a run that ends by itself while it is told to stop has a result like any other.
func TestEndedDuringAbort(t *testing.T) {
	withHarness(t, func(y *harness) {
		hurry := make(chan struct{})
		stop := y.startWorker(Config{Abort: hurry, Executor: executor(func(ctx context.Context, _ park.Assignment) park.Outcome {
			<-ctx.Done()
			return park.Outcome{Status: park.Completed, Result: []byte(`"saved"`)}
		})})
		y.submit(park.Submission{TaskID: "a"})
		synctest.Wait()
		close(hurry)
		if task := y.waitEnded("a"); task.Status != park.Completed || string(task.Result) != `"saved"` {
			t.Errorf("%s %s %s in run %d", task.Status, task.Reason, task.Result, task.Attempt)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// TestSuspendedWorker: the daemon's clock goes on while the worker's machine is suspended, and another worker has the task
// when it wakes up. The worker counts the suspended time.
func TestSuspendedWorker(t *testing.T) {
	withHarness(t, func(y *harness) {
		var slept atomic.Int64
		causes := make(chan error, 1)
		woken := make(chan struct{})
		stop := y.startWorker(Config{
			TTL: 30 * time.Second, Suspended: func() time.Duration { return time.Duration(slept.Load()) },
			Executor: executor(func(ctx context.Context, a park.Assignment) park.Outcome {
				if a.Attempt > 1 {
					return park.Outcome{Status: park.Completed}
				}
				<-woken
				if age := a.Proved(); age < time.Minute {
					t.Errorf("the proof is %s old after a minute's sleep", age)
				}
				<-ctx.Done()
				causes <- context.Cause(ctx)
				return park.Failure(park.ReasonCancelled, "stopped")
			}),
		})
		y.submit(park.Submission{TaskID: "a"})
		time.Sleep(time.Second)
		y.setCut(true)
		slept.Store(int64(time.Minute))
		began := time.Now()
		close(woken)
		if cause := <-causes; !errors.Is(cause, errLost) || time.Since(began) > 5*time.Second {
			t.Errorf("stopped for %v after %s", cause, time.Since(began))
		}
		y.setCut(false)
		if task := y.waitEnded("a"); task.Status != park.Completed || task.Attempt != 2 {
			t.Errorf("%s %s in run %d", task.Status, task.Reason, task.Attempt)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

package lease

import (
	"context"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/shortage"
	"github.com/parkd-dev/parkd/pkg/park"
)

// TestShortageIsNoFailure: a worker that cannot start a task for ten minutes fails none, tries seldom, and runs all of them
// once it can.
func TestShortageIsNoFailure(t *testing.T) {
	withHarness(t, func(y *harness) {
		var short atomic.Bool
		var tried atomic.Int64
		const slots = 3
		short.Store(true)
		stop := y.startWorker(Config{Slots: slots, Executor: park.ExecutorFunc(func(_ context.Context, a park.Assignment) (any, error) {
			if short.Load() {
				tried.Add(1)
				return nil, shortage.Own(syscall.ENOSPC)
			}
			return a.TaskID, nil
		})})
		for i := range 6 {
			y.submit(park.Submission{TaskID: strconv.Itoa(i), Retry: park.Retry{MaxAttempts: 1}})
		}
		time.Sleep(10 * time.Minute)
		// Delays of 0.1 s to 25.6 s make 51 s, followed by 18 of 30 s. After each, at most as many tasks are tried as there are slots.
		if n := tried.Load(); n < 10 || n > slots*(1+9+19) {
			t.Errorf("tried %d times in 10 minutes", n)
		}
		short.Store(false)
		for i := range 6 {
			if task := y.waitEnded(strconv.Itoa(i)); task.Status != park.Completed {
				t.Errorf("task %d: %s %s", i, task.Status, task.Reason)
			}
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

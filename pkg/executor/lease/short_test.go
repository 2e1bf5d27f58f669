package lease

import (
	"context"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// TestShortageIsNoFailure is a worker that cannot begin a task for ten minutes. It fails none, asks seldom, and does them all
// once it can.
func TestShortageIsNoFailure(t *testing.T) {
	inYard(t, func(y *yard) {
		var short atomic.Bool
		var tried atomic.Int64
		const slots = 3
		short.Store(true)
		stop := y.work(Config{Slots: slots, Executor: park.ExecutorFunc(func(_ context.Context, a park.Assignment) (any, error) {
			if short.Load() {
				tried.Add(1)
				return nil, park.OwnShortage(syscall.ENOSPC)
			}
			return a.TaskID, nil
		})})
		for i := range 6 {
			y.submit(park.Submission{TaskID: strconv.Itoa(i), Retry: park.Retry{MaxAttempts: 1}})
		}
		time.Sleep(10 * time.Minute)
		// Pauses of 0.1 s to 25.6 s make 51 s, and then there are 18 of 30 s. After each, no more tasks are tried than there are slots.
		if n := tried.Load(); n < 10 || n > slots*(1+9+19) {
			t.Errorf("tried %d times in 10 minutes", n)
		}
		short.Store(false)
		for i := range 6 {
			if task := y.ended(strconv.Itoa(i)); task.Status != park.Completed {
				t.Errorf("task %d: %s %s", i, task.Status, task.Reason)
			}
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

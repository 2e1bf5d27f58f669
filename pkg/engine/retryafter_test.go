package engine_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/memory"
)

type executorFunc func(context.Context, park.Assignment) park.Outcome

func (f executorFunc) Run(ctx context.Context, a park.Assignment) park.Outcome { return f(ctx, a) }

// TestRetryAfterIsTheLeastRest: a task that may run again rests for as long as the other side asked, or for its own
// backoff where that is longer.
func TestRetryAfterIsTheLeastRest(t *testing.T) {
	for name, c := range map[string]struct{ backoff, asked, want time.Duration }{
		"asked for more": {time.Second, 2 * time.Minute, 2 * time.Minute},
		"asked for less": {5 * time.Minute, time.Minute, 5 * time.Minute},
		"no backoff":     {0, time.Minute, time.Minute},
		"for a year":     {0, 8760 * time.Hour, time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := executorFunc(func(_ context.Context, a park.Assignment) park.Outcome {
					if a.Attempt > 1 {
						return park.Outcome{Status: park.Completed}
					}
					o := park.Failure("http_status", "503")
					o.RetryAfter = c.asked
					return o
				})
				b := openEngine(t, engine.Config{Pools: []engine.Pool{poolConfig("cpu", 1, x)}})
				defer b.closeNow()
				began := time.Now()
				b.submit("cpu", withID("a", park.Submission{Retry: park.Retry{MaxAttempts: 2, Backoff: park.Duration(c.backoff)}}))
				time.Sleep(2 * time.Hour)
				if task := b.awaitTask("cpu", "a"); task.Status != park.Completed || task.StartedAt.Sub(began) != c.want {
					t.Errorf("%s, started again after %s", task.Status, task.StartedAt.Sub(began))
				}
			})
		})
	}
}

// TestRetryAfterOutlastsARestart: what a task was asked to rest it rests also if the daemon is started anew meanwhile.
func TestRetryAfterOutlastsARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := executorFunc(func(_ context.Context, a park.Assignment) park.Outcome {
			if a.Attempt > 1 {
				return park.Outcome{Status: park.Completed}
			}
			o := park.Failure("http_status", "503")
			o.RetryAfter = time.Minute
			return o
		})
		c := engine.Config{
			Pools:  []engine.Pool{poolConfig("cpu", 1, x)},
			Stores: map[park.Backend]store.Store{park.InMemory: memory.New()},
		}
		b := openEngine(t, c)
		began := time.Now()
		b.submit("cpu", withID("a", park.Submission{Retry: park.Retry{MaxAttempts: 2}}))
		time.Sleep(10 * time.Second)
		b.closeNow()
		b = openEngine(t, c)
		defer b.closeNow()
		if task := b.awaitTask("cpu", "a"); task.Status != park.Completed || task.StartedAt.Sub(began) < time.Minute {
			t.Errorf("%s, started again after %s", task.Status, task.StartedAt.Sub(began))
		}
	})
}

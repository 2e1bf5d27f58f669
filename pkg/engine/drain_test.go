package engine_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/park"
)

// TestClosingLeavesTheGrace: a run that has a minute to end, once it is stopped, has it also where the engine closes.
func TestClosingLeavesTheGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const grace = time.Minute
		saved := false
		x := park.ExecutorFunc(func(ctx context.Context, _ park.Assignment) (any, error) {
			<-ctx.Done()
			time.Sleep(grace - time.Second)
			saved = true
			return nil, context.Cause(ctx)
		})
		b := open(t, engine.Config{Pools: []engine.Pool{pool("cpu", 1, x)}, NodeGrace: grace + 2*time.Second})
		b.submit("cpu", named("a", park.Submission{}))
		synctest.Wait()
		b.stop()
		if !saved {
			t.Error("the engine did not wait")
		}
	})
}

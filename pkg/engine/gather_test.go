package engine_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/memory"
)

// TestSmallTasksGoBetweenLargeResults ends many runs with large results at once, over a store that takes a while for each
// step. Small tasks that come then do not wait for all of them, nor do they keep them from being stored.
func TestSmallTasksGoBetweenLargeResults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const tasks, size = 40, 4 << 20
		gate := make(chan struct{})
		large := gatedExecutor{gate, park.Outcome{Status: park.Completed, Result: jsonText(size)}}
		p := poolConfig("cpu", tasks+1, executorFunc(func(ctx context.Context, a park.Assignment) park.Outcome {
			if a.Payload != nil {
				return park.Outcome{Status: park.Completed}
			}
			return large.Run(ctx, a)
		}))
		p.MaxResultBytes = size
		m := &contendedStore{}
		m.Store = memory.New()
		b := openEngine(t, engine.Config{
			Pools: []engine.Pool{p}, Stores: map[park.Backend]store.Store{park.InMemory: m}, Patience: time.Hour,
		})
		defer b.closeNow()
		for i := range tasks {
			b.submit("cpu", withID(fmt.Sprint(i), park.Submission{}))
		}
		m.startContention(nil, func(*store.Step, int) error {
			time.Sleep(time.Second)
			return nil
		})
		close(gate)
		synctest.Wait()
		left := func() int {
			v, err := b.Pool(t.Context(), "cpu")
			if err != nil {
				t.Fatal(err)
			}
			return v.Running
		}
		before := left()
		for i := range tasks {
			id := fmt.Sprint("small", i)
			b.submit("cpu", withID(id, park.Submission{Payload: []byte("1")}))
			b.awaitTask("cpu", id)
			synctest.Wait()
			after := left()
			if before > 0 && (before-after > 8 || after >= before) {
				t.Fatalf("while a small task came and went, %d of %d large results were stored", before-after, before)
			}
			before = after
		}
		for i := range tasks {
			if got := b.awaitTask("cpu", fmt.Sprint(i)); got.Status != park.Completed || len(got.Result) != size {
				t.Errorf("task %s: %s, %d bytes", got.TaskID, got.Status, len(got.Result))
			}
		}
	})
}

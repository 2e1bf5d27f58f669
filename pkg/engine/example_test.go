package engine_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store/memory"
)

// A program that brings its own work: a pool of 24 units, and a function that does one task.
func Example() {
	ctx := context.Background()
	render := func(_ context.Context, a park.Assignment) (any, error) {
		return fmt.Sprintf("%s took %d units", a.Payload, a.Units), nil
	}
	e, err := engine.Open(ctx, engine.Config{
		Store: memory.New(), // or sqlite.Open, or postgres.Open
		Pools: []engine.Pool{{
			PoolSpec: park.PoolSpec{ID: "gpu", MaxUnits: 24, MaxQueueDepth: 100},
			Executor: park.ExecutorFunc(render),
		}},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer e.Close(ctx)

	results, err := e.Submit(ctx, "gpu", []park.Submission{{
		TaskID: "render-41", ResourceCost: park.Cost{Units: 8}, Payload: []byte(`{"scene":41}`),
	}})
	if err != nil || results[0].Err != nil {
		log.Fatal(err, results)
	}
	task, err := e.Task(ctx, "gpu", "render-41", time.Minute)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(task.Status, string(task.Result))
	// Output: completed "{\"scene\":41} took 8 units"
}

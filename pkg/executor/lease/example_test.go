package lease_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/executor/lease"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store/memory"
)

// A worker takes tasks of a pool and does them with a function of its own. Its service is usually a client of a daemon
// on another machine; here it is an engine in the same process.
func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	e, err := engine.Open(ctx, engine.Config{
		Store: memory.New(),
		Pools: []engine.Pool{{PoolSpec: park.PoolSpec{ID: "gpu", MaxUnits: 24, MaxQueueDepth: 100, Runtime: park.CloudWorker}}},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer e.Close(context.Background())

	w, err := lease.New(lease.Config{
		Service: e, Pool: "gpu", Name: "worker-1", Slots: 2,
		Executor: park.ExecutorFunc(func(_ context.Context, a park.Assignment) (any, error) {
			return "rendered " + string(a.Payload), nil
		}),
	})
	if err != nil {
		log.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()

	if _, err := e.Submit(ctx, "gpu", []park.Submission{{TaskID: "render-41", Payload: []byte(`{"scene":41}`)}}); err != nil {
		log.Fatal(err)
	}
	task, err := e.Task(ctx, "gpu", "render-41", time.Minute)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(task.Status, string(task.Result))
	cancel()
	fmt.Println(<-done)
	// Output:
	// completed "rendered {\"scene\":41}"
	// <nil>
}

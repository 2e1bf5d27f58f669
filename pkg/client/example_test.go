package client_test

import (
	"context"
	"fmt"
	"log"
	"net/http/httptest"
	"time"

	"github.com/parkd-dev/parkd/pkg/api"
	"github.com/parkd-dev/parkd/pkg/client"
	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store/memory"
)

// A program submits a task to a daemon and waits for its result.
func Example() {
	url, stop := daemon()
	defer stop()
	ctx := context.Background()

	c, err := client.New(client.Config{URL: url})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	results, err := c.Submit(ctx, "gpu", []park.Submission{{
		TaskID: "render-41", ResourceCost: park.Cost{Units: 8}, Payload: []byte(`{"scene":41}`),
	}})
	if err != nil || results[0].Err != nil {
		log.Fatal(err, results)
	}
	task, err := c.Task(ctx, "gpu", "render-41", time.Minute)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(task.Status, string(task.Result))
	// Output: completed "rendered {\"scene\":41}"
}

// daemon serves a pool of 24 units in this process, as `parkd serve` does in its own.
func daemon() (url string, stop func()) {
	ctx := context.Background()
	e, err := engine.Open(ctx, engine.Config{
		Store: memory.New(),
		Pools: []engine.Pool{{
			PoolSpec: park.PoolSpec{ID: "gpu", MaxUnits: 24, MaxQueueDepth: 100},
			Executor: park.ExecutorFunc(func(_ context.Context, a park.Assignment) (any, error) {
				return "rendered " + string(a.Payload), nil
			}),
		}},
	})
	if err != nil {
		log.Fatal(err)
	}
	a, err := api.New(api.Config{Service: e})
	if err != nil {
		log.Fatal(err)
	}
	s := httptest.NewServer(a.Socket())
	return s.URL, func() {
		s.Close()
		_ = e.Close(ctx)
	}
}

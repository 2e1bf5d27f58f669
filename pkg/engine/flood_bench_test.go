package engine_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// BenchmarkFlood ends 140 runs together, each with a result of 4 MiB for a mailbox, while small tasks come one after the other.
// rest-s is the longest time in which the pool does nothing for those: neither takes one nor ends one. flood-s is how long
// it takes until all large ones have ended.
func BenchmarkFlood(b *testing.B) {
	for name, open := range map[string]func(testing.TB) store.Store{
		"sqlite": openSQLite, "postgres": func(tb testing.TB) store.Store { return openServer(tb) },
	} {
		for how, most := range map[string]int64{"refused": 1 << 20, "stored": 4 << 20} {
			b.Run(name+"/"+how, func(b *testing.B) {
				s := open(b)
				var rest, took time.Duration
				for i := range b.N {
					longest, all := measureFlood(b, s, fmt.Sprint(how, i), most)
					rest, took = max(rest, longest), took+all
				}
				b.ReportMetric(rest.Seconds(), "rest-s")
				b.ReportMetric(took.Seconds()/float64(b.N), "flood-s")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// measureFlood runs one flood in a pool of its own.
func measureFlood(tb testing.TB, s store.Store, id string, most int64) (rest, took time.Duration) {
	const tasks, size = 140, 4 << 20
	gate := make(chan struct{})
	large := gatedExecutor{gate, park.Outcome{Status: park.Completed, Result: jsonText(size)}}
	p := poolConfig(id, tasks+1, executorFunc(func(ctx context.Context, a park.Assignment) park.Outcome {
		if a.Payload != nil {
			return park.Outcome{Status: park.Completed}
		}
		return large.Run(ctx, a)
	}))
	p.MaxResultBytes, p.QueueBackend, p.MailboxBackend = most, park.Postgres, park.Postgres
	b := openEngine(tb, engine.Config{
		Stores: map[park.Backend]store.Store{park.Postgres: s}, Pools: []engine.Pool{p}, Patience: time.Minute,
	})
	defer b.closeNow()
	for i := range tasks {
		b.submit(id, withID(fmt.Sprint(i), park.Submission{}))
	}
	over := make(chan struct{})
	began := time.Now()
	close(gate)
	go func() {
		defer close(over)
		for i := range tasks {
			if _, err := b.Task(context.Background(), id, fmt.Sprint(i), time.Hour); err != nil {
				b.Error(err)
			}
		}
	}()
	last := began
	moved := func() {
		now := time.Now()
		rest, last = max(rest, now.Sub(last)), now
	}
	for i := 0; ; i++ {
		small := fmt.Sprint("small", i)
		b.submit(id, withID(small, park.Submission{Payload: []byte("1")}))
		moved()
		b.awaitTask(id, small)
		moved()
		select {
		case <-over:
			return rest, time.Since(began)
		default:
		}
	}
}

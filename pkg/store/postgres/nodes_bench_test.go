package postgres_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/postgres"
	"github.com/parkd-dev/parkd/pkg/store/postgres/server"
)

// BenchmarkEntryNodes submits tasks for ten seconds through 1, 3, 6 and 12 nodes to one pool, with half of its units
// busy on average. It reports how long the tasks were parked and how many calls the nodes made for each task. The
// server flushes to the disk, as a production server does. Run it with -benchtime 1x.
func BenchmarkEntryNodes(b *testing.B) {
	for _, work := range []time.Duration{200 * time.Millisecond, 20 * time.Millisecond} {
		for _, nodes := range []int{1, 3, 6, 12} {
			b.Run(fmt.Sprintf("work=%s/nodes=%d", work, nodes), func(b *testing.B) {
				dsn := newFlushingServer(b)
				for range b.N {
					benchEntry(b, dsn, nodes, work)
				}
			})
		}
	}
}

// newFlushingServer returns the DSN of a new database on a server with default settings.
func newFlushingServer(b *testing.B) string {
	b.Helper()
	s, err := server.Start(b.Context(), "max_connections=300")
	if errors.Is(err, server.ErrNotInstalled) {
		b.Skip(err)
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Stop() })
	dsn, err := s.Create(b.Context(), "bench", "template1")
	if err != nil {
		b.Fatal(err)
	}
	if _, err := postgres.MigrateUp(b.Context(), dsn, false); err != nil {
		b.Fatal(err)
	}
	return dsn
}

// countingStore counts the calls of the engine.
type countingStore struct {
	*postgres.Store
	steps, conflicts, turns, catchUps *atomic.Int64
}

func (c countingStore) Commit(ctx context.Context, step *store.Step) error {
	err := c.Store.Commit(ctx, step)
	if _, ok := errors.AsType[*store.Conflict](err); ok {
		c.conflicts.Add(1)
	} else {
		c.steps.Add(1)
	}
	return err
}

func (c countingStore) RequestTurn(ctx context.Context, pool, node string, h store.Delegation) (store.Turn, error) {
	c.turns.Add(1)
	return c.Store.RequestTurn(ctx, pool, node, h)
}

func (c countingStore) ChangesSince(ctx context.Context, pool string, rev int64) (*store.Conflict, error) {
	c.catchUps.Add(1)
	return c.Store.ChangesSince(ctx, pool, rev)
}

const (
	entryUnits = 24
	entryTime  = 10 * time.Second
)

func benchEntry(b *testing.B, dsn string, nodes int, work time.Duration) {
	c := countingStore{steps: new(atomic.Int64), conflicts: new(atomic.Int64), turns: new(atomic.Int64), catchUps: new(atomic.Int64)}
	pool := fmt.Sprintf("load-%d", rand.Uint32())
	engines := make([]*engine.Engine, nodes)
	for i := range engines {
		c.Store = openAt(b, dsn)
		e, err := engine.Open(b.Context(), engine.Config{
			Pools: []engine.Pool{{
				PoolSpec: park.PoolSpec{
					ID: pool, Kind: park.CPU, MaxUnits: entryUnits, MaxQueueDepth: 100_000, Runtime: park.Native, Executor: "simulate",
					QueueBackend: park.Postgres, MailboxBackend: park.Postgres,
				},
				Executor: park.ExecutorFunc(func(ctx context.Context, _ park.Assignment) (any, error) {
					select {
					case <-time.After(work):
					case <-ctx.Done():
					}
					return json.RawMessage(`{"ok":true}`), nil
				}),
			}},
			Stores: map[park.Backend]store.Store{park.Postgres: c}, Shared: []park.Backend{park.Postgres},
		})
		if err != nil {
			b.Fatal(err)
		}
		engines[i] = e
	}
	for _, e := range engines {
		for e.Ready() != nil {
			time.Sleep(time.Millisecond)
		}
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	var acks []time.Duration
	for _, n := range []*atomic.Int64{c.steps, c.conflicts, c.turns, c.catchUps} {
		n.Store(0)
	}
	chance, tasks := rand.New(rand.NewPCG(1, 2)), 0
	gap := float64(2*work) / entryUnits // for half of the units on average
	began := time.Now()
	for due := time.Duration(0); due < entryTime; due += time.Duration(chance.ExpFloat64() * gap) {
		time.Sleep(time.Until(began.Add(due)))
		e := engines[tasks%nodes]
		tasks++
		all.Go(func() {
			at := time.Now()
			r, err := e.Submit(b.Context(), pool, []park.Submission{{MailboxKey: park.MailboxRef{Key: "box"}, Payload: []byte(`{"prompt":"hello"}`)}})
			if err != nil || r[0].Err != nil {
				b.Error(err, r)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			acks = append(acks, time.Since(at))
		})
	}
	all.Wait()
	for _, e := range engines {
		if err := e.Close(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
	took := time.Since(began)
	n := float64(tasks)
	b.ReportMetric(ms(acks, 50), "ack-ms-p50")
	b.ReportMetric(ms(acks, 99), "ack-ms-p99")
	parked := parkedTimes(b, c.Store, pool)
	b.ReportMetric(ms(parked, 50), "parked-ms-p50")
	b.ReportMetric(ms(parked, 99), "parked-ms-p99")
	b.ReportMetric(float64(c.steps.Load())/took.Seconds(), "steps/s")
	b.ReportMetric(float64(c.steps.Load())/n, "steps/task")
	b.ReportMetric(float64(c.conflicts.Load())/n, "conflicts/task")
	b.ReportMetric(float64(c.turns.Load())/n, "turns/task")
	b.ReportMetric(float64(c.catchUps.Load())/n, "looks/task")
	b.ReportMetric(took.Seconds(), "s")
	b.ReportMetric(0, "ns/op")
}

// parkedTimes returns how long each task of a pool was parked.
func parkedTimes(b *testing.B, s *postgres.Store, pool string) (times []time.Duration) {
	for q := (park.TaskQuery{Limit: 500}); ; {
		page, next, err := s.List(b.Context(), pool, q)
		if err != nil {
			b.Fatal(err)
		}
		for i := range page {
			times = append(times, page[i].StartedAt.Sub(page[i].SubmittedAt.Time))
		}
		if q.Cursor = next; next == "" {
			return times
		}
	}
}

func ms(d []time.Duration, percent int) float64 {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return float64(d[(len(d)-1)*percent/100].Microseconds()) / 1000
}

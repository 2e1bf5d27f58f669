package engine_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/postgres"
	"github.com/parkd-dev/parkd/pkg/store/postgres/server"
	"github.com/parkd-dev/parkd/pkg/store/sqlite"
)

// stepSizes records the sizes of a database's steps.
type stepSizes struct {
	store.Store
	mu    sync.Mutex
	heavy int // the most bytes of a step that ends more than one task
}

func (s *stepSizes) Commit(ctx context.Context, step *store.Step) error {
	ends, size := 0, 0
	for i := range step.Updates {
		if u := &step.Updates[i]; u.State.Status.Ended() {
			ends++
			size += len(u.State.Result)
		}
	}
	for i := range step.Messages {
		size += len(step.Messages[i].Payload)
	}
	s.mu.Lock()
	if ends > 1 {
		s.heavy = max(s.heavy, size)
	}
	s.mu.Unlock()
	return s.Store.Commit(ctx, step)
}

// TestFloodOfResults ends many runs with large results together, over the databases. Each is stored, or fails its task where
// the pool takes no such results; the steps stay small, and a task beside them ends too.
func TestFloodOfResults(t *testing.T) {
	for name, open := range map[string]func(testing.TB) store.Store{"sqlite": openSQLite, "postgres": openPostgres} {
		t.Run(name, func(t *testing.T) {
			s := &stepSizes{Store: open(t)}
			runFlood(t, s, "refused", 1<<20, park.Failed, park.ReasonResultTooLarge)
			runFlood(t, s, "stored", 4<<20, park.Completed, "")
			if s.heavy > 8<<20+64<<10 {
				t.Errorf("a step of several tasks has %d bytes", s.heavy)
			}
		})
	}
}

func runFlood(t *testing.T, s store.Store, id string, most int64, want park.Status, why string) {
	t.Helper()
	const tasks, size = 40, 2 << 20
	gate := make(chan struct{})
	p := poolConfig(id, tasks+1, gatedExecutor{gate, park.Outcome{Status: park.Completed, Result: jsonText(size)}})
	p.MaxResultBytes, p.QueueBackend, p.MailboxBackend = most, park.Postgres, park.Postgres
	b := openEngine(t, engine.Config{
		Stores: map[park.Backend]store.Store{park.Postgres: s}, Pools: []engine.Pool{p}, Patience: time.Minute,
	})
	defer b.closeNow()
	for i := range tasks {
		b.submit(id, withID(fmt.Sprint(i), park.Submission{}))
	}
	close(gate)
	b.submit(id, withID("beside", park.Submission{}))
	for i := range tasks {
		if got := b.awaitTask(id, fmt.Sprint(i)); got.Status != want || got.Reason != why || want == park.Completed && len(got.Result) != size {
			t.Errorf("%s, task %s: %s %s, %d bytes", id, got.TaskID, got.Status, got.Reason, len(got.Result))
		}
	}
	b.awaitTask(id, "beside")
	// The store shows the end of a task a moment before the pool does.
	for range 10_000 {
		if p, err := b.Pool(t.Context(), id); err != nil || p.Running == 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	b.checkIdle(id)
}

// gatedExecutor ends every run with the same outcome once the gate is open.
type gatedExecutor struct {
	gate chan struct{}
	park.Outcome
}

func (x gatedExecutor) Run(ctx context.Context, _ park.Assignment) park.Outcome {
	select {
	case <-x.gate:
		return x.Outcome
	case <-ctx.Done():
		return park.Failure(park.ReasonCancelled, context.Cause(ctx).Error())
	}
}

func openSQLite(t testing.TB) store.Store {
	s, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "parkd.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func openPostgres(t testing.TB) store.Store { return openServer(t, "fsync=off") }

func openServer(t testing.TB, settings ...string) store.Store {
	srv, err := server.Start(t.Context(), settings...)
	if errors.Is(err, server.ErrNotInstalled) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Stop() })
	dsn, err := srv.Create(t.Context(), "flood", "template1")
	if err == nil {
		_, err = postgres.MigrateUp(t.Context(), dsn, false)
	}
	if err != nil {
		t.Fatal(err)
	}
	s, err := postgres.Open(postgres.Config{DSN: dsn})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

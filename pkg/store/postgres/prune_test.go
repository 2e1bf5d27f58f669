package postgres_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/parkd-dev/parkd/pkg/internal/storetest"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store/postgres"
)

// TestOldTasksAmongLiveOnes prunes tasks that are far apart among many live ones, before and after the place where the
// last search stopped.
func TestOldTasksAmongLiveOnes(t *testing.T) {
	s := openAt(t, cluster.Migrated(t))
	f := storetest.NewModel("gpu")
	for range 2500 {
		f.Submit(nil)
	}
	if err := s.Commit(t.Context(), f.Next()); err != nil {
		t.Fatal(err)
	}
	left := 0
	for _, c := range []struct {
		ended []int
		limit int
	}{{[]int{1400, 7, 2300, 2499}, 2}, {[]int{3, 1399, 2498}, 1}, {[]int{1, 2, 2500}, 100}, {nil, 100}} {
		for _, n := range c.ended {
			f.End(fmt.Sprint("gpu-", n), park.Dropped, "")
		}
		if err := s.Commit(t.Context(), f.Next()); err != nil {
			t.Fatal(err)
		}
		f.Advance(time.Hour)
		left += len(c.ended)
		n, err := s.PruneTasks(t.Context(), f.Now(), c.limit)
		if err != nil || n != min(c.limit, left) {
			t.Fatalf("%d of %d were pruned, at most %d: %v", n, left, c.limit, err)
		}
		left -= n
	}
}

// TestTwoPrunesAtOnce: a call that finds rows that another call is removing does not return that none is left, whether
// the removal is committed or rolled back.
func TestTwoPrunesAtOnce(t *testing.T) {
	for query, prune := range map[string]func(*postgres.Store, context.Context, park.Time, int) (int, error){
		"old tasks": (*postgres.Store).PruneTasks, "old messages": (*postgres.Store).PruneMessages, "old events": (*postgres.Store).PruneEvents,
	} {
		for _, goes := range []bool{true, false} {
			t.Run(fmt.Sprint(query, " go ", goes), func(t *testing.T) {
				dsn := cluster.Migrated(t)
				s, c, looker := openAt(t, dsn), connect(t, dsn), connect(t, dsn)
				f := storetest.NewModel("gpu")
				for range 10 {
					f.Message(f.End(f.Start(f.Submit(nil).TaskID).TaskID, park.Completed, ""))
				}
				if err := s.Commit(t.Context(), f.Next()); err != nil {
					t.Fatal(err)
				}
				const limit = 3
				before := park.At(f.Now().Add(time.Hour))
				args := []any{before.Micro(), limit}
				if query == "old tasks" {
					args = []any{"gpu", int64(0), 1000, before.Micro(), limit}
				}
				exec(t, c, "BEGIN")
				exec(t, c, postgres.HotQueries()[query].SQL, args...)
				done := make(chan int, 1)
				go func() {
					n, err := prune(s, t.Context(), before, limit)
					if err != nil {
						t.Error(err)
					}
					done <- n
				}()
				waitForLock(t, looker, done)
				exec(t, c, map[bool]string{true: "COMMIT", false: "ROLLBACK"}[goes])
				if n := <-done; n != limit {
					t.Errorf("pruned %d of at most %d, which says that none is left", n, limit)
				}
			})
		}
	}
}

// waitForLock waits until a session waits for a lock of another one, or until done has a value.
func waitForLock(t *testing.T, c *pgx.Conn, done chan int) {
	t.Helper()
	const waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
	for end, n := time.Now().Add(time.Minute), 0; n == 0 && len(done) == 0; {
		if err := c.QueryRow(t.Context(), waits).Scan(&n); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(end) {
			t.Fatal("nobody waits")
		}
	}
}

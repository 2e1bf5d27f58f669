package postgres_test

import (
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/parkd-dev/parkd/migrations"
	"github.com/parkd-dev/parkd/pkg/internal/storetest"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/postgres"
)

// holdSnapshot opens a transaction that has a snapshot until the test ends, as a dump has. No row version that is made
// from now on can be removed.
func holdSnapshot(t testing.TB, dsn string) {
	t.Helper()
	c := connect(t, dsn)
	exec(t, c, "BEGIN ISOLATION LEVEL REPEATABLE READ")
	exec(t, c, "SELECT count(*) FROM pl_steps")
}

// pagesTouched returns how many pages of parkd's tables and indexes the server has read so far.
func pagesTouched(t testing.TB, s *postgres.Store, c *pgx.Conn) (n int64) {
	t.Helper()
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	row := c.QueryRow(t.Context(), "SELECT sum(coalesce(heap_blks_hit + heap_blks_read, 0) + coalesce(idx_blks_hit + idx_blks_read, 0))::bigint"+
		" FROM pg_statio_user_tables WHERE relname LIKE 'pl\\_%'")
	if err := row.Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestAnOldSnapshotDoesNotMakeStepsDearer counts the pages that steps read while a transaction holds an old snapshot.
// Steps after a thousand others, and after as many heartbeats, read no more pages than the first ones.
func TestAnOldSnapshotDoesNotMakeStepsDearer(t *testing.T) {
	const lot, lots = 100, 10
	dsn := cluster.Migrated(t)
	s, c := openAt(t, dsn), connect(t, dsn)
	row, round := storetest.BenchPool(), 0
	run := func() int64 {
		before := pagesTouched(t, s, c)
		for range lot / 2 {
			for _, step := range storetest.BenchSteps("gpu", round, 1, &row) {
				step.Node = "a"
				if err := s.Commit(t.Context(), step); err != nil {
					t.Fatal(err)
				}
			}
			round++
		}
		return pagesTouched(t, s, c) - before
	}
	beats := func() {
		for range lot {
			sendHeartbeat(t, s, "a")
		}
	}
	beats()
	for range 6 { // until indexes have their second level and old steps are removed
		run()
	}
	holdSnapshot(t, dsn)
	first := run()
	for range lots {
		beats()
		run()
	}
	if last := run(); last > first*5/4 {
		t.Errorf("a step touches %.1f pages at first and %.1f after %d others", float64(first)/lot, float64(last)/lot, lot*(lots+1))
	}
}

func sendHeartbeat(t testing.TB, s *postgres.Store, node string) {
	t.Helper()
	if _, err := s.Heartbeat(t.Context(), node, store.NodeConfig{}); err != nil {
		t.Fatal(err)
	}
}

// BenchmarkOldSnapshot runs 50 tasks a second while a transaction holds an old snapshot. One operation is one second.
// Run it with -benchtime 600x for ten minutes. It reports the cost of a commit in the first and in the last tenth of
// the time.
func BenchmarkOldSnapshot(b *testing.B) {
	dsn := cluster.Migrated(b)
	s, c := openAt(b, dsn), connect(b, dsn)
	row := storetest.BenchPool()
	var took []time.Duration
	commit := func(step *store.Step) {
		step.Node = "a"
		began := time.Now()
		if err := s.Commit(b.Context(), step); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(began))
	}
	holdSnapshot(b, dsn)
	const tasks = 50
	parts := min(10, b.N)
	for part := range parts {
		took = took[:0]
		before := pagesTouched(b, s, c)
		for second := part * b.N / parts; second < (part+1)*b.N/parts; second++ {
			sendHeartbeat(b, s, "a")
			began := time.Now()
			for task := range tasks {
				time.Sleep(time.Until(began.Add(time.Duration(task) * time.Second / tasks)))
				for _, step := range storetest.BenchSteps("gpu", second*tasks+task, 1, &row) {
					commit(step)
				}
			}
		}
		if part == 0 || part == parts-1 {
			touched := pagesTouched(b, s, c) - before
			when := [2]string{"first", "last"}[min(part, 1)]
			b.ReportMetric(float64(touched)/float64(len(took)), when+"-pages/commit")
			slices.Sort(took)
			b.ReportMetric(ms(took, 50), when+"-ms-p50")
			b.ReportMetric(ms(took, 99), when+"-ms-p99")
		}
	}
	b.ReportMetric(0, "ns/op")
}

// TestPoolsMoveIntoTheirStepsAndBack rolls back the migration that moved the numbers of a pool to its steps, and
// applies it again. Both times the pool has the same numbers and continues.
func TestPoolsMoveIntoTheirStepsAndBack(t *testing.T) {
	const version = 3
	dsn := cluster.Migrated(t)
	s, c := openAt(t, dsn+" application_name=unseen"), connect(t, dsn)
	f := storetest.NewModel("gpu")
	f.Row.MaxUnits = 100
	var last *store.Step
	for range 3 {
		f.Start(f.Submit(nil).TaskID)
		f.Submit(nil)
		last = f.Next()
		if err := s.Commit(t.Context(), last); err != nil {
			t.Fatal(err)
		}
	}
	sendHeartbeat(t, s, "a")
	exec(t, c, "UPDATE pl_nodes SET beat_at = now() - interval '1 day'")
	for {
		m, err := postgres.MigrateDown(t.Context(), dsn, migrations.DownOptions{})
		if err != nil || m == nil {
			t.Fatal(m, err)
		}
		if m.Version == version {
			break
		}
	}
	var rev, used, queued int64
	var id string
	if err := c.QueryRow(t.Context(), "SELECT rev, used, queued, last_step FROM pl_pools").Scan(&rev, &used, &queued, &id); err != nil {
		t.Fatal(err)
	}
	if rev != f.Row.Rev || used != f.Row.Used || queued != int64(f.Row.Queued) || id != f.Row.LastStep {
		t.Errorf("taken back, the pool is at rev %d by step %s, with %d units in use and %d tasks queued: want %+v", rev, id, used, queued, f.Row)
	}
	if _, err := c.Exec(t.Context(), "UPDATE pl_pools SET used = max_units + 1"); err == nil {
		t.Error("taken back, the capacity is not guarded")
	}
	if _, err := postgres.MigrateUp(t.Context(), dsn, false); err != nil {
		t.Fatal(err)
	}
	s = openAt(t, dsn)
	if err := s.Commit(t.Context(), last); err != nil {
		t.Errorf("the last step, sent again: %v", err)
	}
	if snap, err := s.Load(t.Context(), "gpu"); err != nil || snap.Row != f.Row || len(snap.Tasks) != len(f.Live()) {
		t.Errorf("the pool is at %+v with %d tasks: %v", snap.Row, len(snap.Tasks), err)
	}
	f.End(f.Running[0], park.Completed, "1")
	next := f.Next()
	next.Node = "a"
	if err := s.Commit(t.Context(), next); err != nil {
		t.Errorf("the next step: %v", err)
	}
}

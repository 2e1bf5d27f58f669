package postgres_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/parkd-dev/parkd/pkg/internal/storetest"
	"github.com/parkd-dev/parkd/pkg/store/postgres"
)

// insertHistory inserts a history of n tasks in pool gpu, in batches of 64, with two events and a message each. One of
// ten thousand tasks is live.
const insertHistory = `
WITH n AS (SELECT i FROM generate_series(1, $1::bigint) i)
, jobs AS (INSERT INTO pl_queue_jobs SELECT (i / 64 << 24) + i % 64, 'gpu', 't-' || i, CASE WHEN i % 10 = 0 THEN 'acme' ELSE 'other' END,
    CASE WHEN i % 10000 = 0 THEN 'queued' WHEN i % 100 = 1 THEN 'failed' ELSE 'completed' END, 0, i, 1, 1, 0, false,
    i * 1000, i * 1000, i * 1000, 0, 0, 0, 0, 0, 0, 0, 'alice', 'node', '', '', '', '' FROM n)
, live AS (INSERT INTO pl_batches SELECT 'gpu', i / 64, 1 FROM n WHERE i % 10000 = 0)
, mail AS (INSERT INTO pl_mailbox_messages SELECT i, 'acme', CASE WHEN i % 10 = 0 THEN 'alice' ELSE 'bob' END, 'gpu', 't-' || i,
    'completed', '', '', 1, i * 1000, false, '1' FROM n)
INSERT INTO pl_audit_events SELECT i * 2 + o, 'gpu', i, o, i * 1000, CASE o WHEN 0 THEN 'start' ELSE 'complete' END, 't-' || i,
    CASE WHEN i % 10 = 0 THEN 'acme' ELSE 'other' END, 1, 1, 'node', NULL, CASE o WHEN 0 THEN 7 ELSE 0 END FROM n, generate_series(0, 1) o`

// TestCostDoesNotGrow counts the pages that each statement reads in an empty database and after a history of a thousand
// and of a million tasks. The planner has the statistics of the empty database, as before the first ANALYZE, and then
// current ones.
func TestCostDoesNotGrow(t *testing.T) {
	for _, n := range []int{0, 1_000, 1_000_000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			if n > 1000 && testing.Short() {
				t.Skip("a million tasks take a while")
			}
			dsn := cluster.Migrated(t)
			c, err := pgx.Connect(t.Context(), dsn)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = c.Close(t.Context()) })
			exec(t, c, "ANALYZE")
			exec(t, c, insertHistory, n)
			// One segment for the whole history.
			exec(t, c, "INSERT INTO pl_audit_segments SELECT 1, 2 * $1 + 1, 1, $1 * 1000 WHERE $1::bigint > 0", n)
			for _, statistics := range []string{"none", "new"} {
				if statistics == "new" {
					exec(t, c, "VACUUM ANALYZE")
				}
				for name, q := range postgres.HotQueries() {
					if statistics == "none" && name == "list completed" {
						continue // the server expects few rows with a status that its statistics do not have
					}
					if pages, most := pagesRead(t, c, q), 200+13*q.Rows; pages > most {
						t.Errorf("%s, statistics %s: touches %d pages, at most %d would be fair", name, statistics, pages, most)
					}
				}
			}
		})
	}
}

// TestStepsCostTheSame checks that a step after a long history reads no more pages than one in an empty database,
// although the plans of its function were made in the empty database.
func TestStepsCostTheSame(t *testing.T) {
	dsn := cluster.Migrated(t)
	s := openAt(t, dsn)
	f := storetest.NewModel("step")
	run := func() {
		for range 20 {
			f.End(f.Start(f.Submit(nil).TaskID).TaskID, "completed", "1")
			f.Submit(nil)
			f.End(f.Start(f.Queued[0]).TaskID, "completed", "1")
			if err := s.Commit(t.Context(), f.Next()); err != nil {
				t.Fatal(err)
			}
		}
	}
	run()
	c, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(t.Context()) })
	// read returns how many rows were read by scans of whole tables, and how many tasks by an index.
	read := func() (scanned, found int64) {
		if err := s.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		row := c.QueryRow(t.Context(), "SELECT coalesce(sum(seq_tup_read), 0), coalesce(sum(idx_tup_fetch) FILTER (WHERE relname = 'pl_queue_jobs'), 0)"+
			" FROM pg_stat_user_tables WHERE relname LIKE 'pl\\_%' AND relname NOT IN ('pl_base', 'pl_nodes', 'pl_pools', 'pl_migrations')")
		if err := row.Scan(&scanned, &found); err != nil {
			t.Fatal(err)
		}
		return scanned, found
	}
	exec(t, c, insertHistory, 20_000)
	scanned, found := read()
	run()
	after, foundAfter := read()
	if after > scanned {
		t.Errorf("steps read %d rows by scanning whole tables", after-scanned)
	}
	if n := foundAfter - found; n > 100 {
		t.Errorf("steps that change 20 tasks look at %d", n)
	}
}

// TestLargeStepsLookAtWhatTheyChange commits steps of many tasks. Each task must be looked up by its key, and not
// compared with all changes.
func TestLargeStepsLookAtWhatTheyChange(t *testing.T) {
	const steps, tasks = 4, 250
	dsn := cluster.Migrated(t)
	s, c := openAt(t, dsn), connect(t, dsn)
	f := storetest.NewModel("step")
	for range steps {
		var ids []string
		for range tasks {
			ids = append(ids, f.Submit(nil).TaskID)
		}
		if err := s.Commit(t.Context(), f.Next()); err != nil {
			t.Fatal(err)
		}
		for _, id := range ids {
			f.End(id, "dropped", "")
		}
		if err := s.Commit(t.Context(), f.Next()); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	var found int
	row := c.QueryRow(t.Context(), "SELECT idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'pl_queue_jobs'")
	if err := row.Scan(&found); err != nil {
		t.Fatal(err)
	}
	if found > 2*steps*tasks {
		t.Errorf("steps that change %d tasks look at %d", steps*tasks, found)
	}
}

func exec(t testing.TB, c *pgx.Conn, sql string, args ...any) {
	t.Helper()
	if _, err := c.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%v\n%s", err, sql)
	}
}

// pagesRead returns how many pages a statement reads, as the server counts them.
func pagesRead(t testing.TB, c *pgx.Conn, q postgres.Query) int {
	t.Helper()
	sql := "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) " + q.SQL
	var text string
	if err := c.QueryRow(t.Context(), sql, append([]any{pgx.QueryExecModeExec}, q.Args...)...).Scan(&text); err != nil {
		t.Fatalf("%v\n%s", err, strings.TrimSpace(q.SQL))
	}
	var plans []struct {
		Plan struct {
			Hit  int `json:"Shared Hit Blocks"`
			Read int `json:"Shared Read Blocks"`
		}
	}
	if err := json.Unmarshal([]byte(text), &plans); err != nil {
		t.Fatal(err)
	}
	return plans[0].Plan.Hit + plans[0].Plan.Read
}

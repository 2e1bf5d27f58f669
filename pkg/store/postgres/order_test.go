package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/parkd-dev/parkd/migrations"
	"github.com/parkd-dev/parkd/pkg/internal/storetest"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store/postgres"
)

func connect(t testing.TB, dsn string) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.WithoutCancel(t.Context())) })
	return c
}

// TestSegmentsFindByTime queries events between two times in a log whose times are not in order: before and after its
// segments were added, and after the oldest events were pruned.
func TestSegmentsFindByTime(t *testing.T) {
	s := openAt(t, cluster.Migrated(t))
	r := rand.New(rand.NewPCG(1, 2))
	var log []park.Event
	for i := range 25_000 {
		at := storetest.Epoch().Add(time.Duration(i+r.IntN(3000)) * time.Second)
		log = append(log, park.Event{
			EventID: park.EventID("gpu", int64(i+1), 0), PoolID: "gpu", Rev: int64(i + 1), At: park.At(at), Action: park.ActSubmit,
			TaskID: "t", Tenant: []string{"acme", "globex"}[i%2],
		})
	}
	for part := range slices.Chunk(log, 1000) {
		if err := s.Append(t.Context(), part); err != nil {
			t.Fatal(err)
		}
	}
	check := func() {
		t.Helper()
		for range 60 {
			q := park.AuditQuery{Tenant: []string{"acme", "globex", "nobody"}[r.IntN(3)], Limit: 1 + r.IntN(300)}
			from := storetest.Epoch().Add(time.Duration(r.IntN(30_000)-1000) * time.Second)
			if r.IntN(4) > 0 {
				q.Since = park.At(from)
			}
			if r.IntN(4) > 0 {
				q.Until = park.At(from.Add(time.Duration(r.IntN(4000)) * time.Second))
			}
			var want []string
			for _, e := range log {
				if e.Tenant == q.Tenant && (q.Since.IsZero() || !e.At.Before(q.Since.Time)) && (q.Until.IsZero() || e.At.Before(q.Until.Time)) && len(want) < q.Limit {
					want = append(want, e.EventID)
				}
			}
			found, err := s.Events(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, e := range found {
				got = append(got, e.EventID)
			}
			if !slices.Equal(got, want) {
				t.Fatalf("%+v finds %d events, want %d", q, len(got), len(want))
			}
		}
	}
	check()
	if n, err := s.PruneEvents(t.Context(), park.FromMicro(1), 100); n != 0 || err != nil {
		t.Fatal(n, err)
	}
	check()
	before := park.At(storetest.Epoch().Add(14_000 * time.Second))
	log = slices.DeleteFunc(log, func(e park.Event) bool { return e.At.Before(before.Time) })
	for {
		n, err := s.PruneEvents(t.Context(), before, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if n < 1000 {
			break
		}
	}
	check()
}

// TestRestoredDumpIsNumberedOn has rows with numbers above all that the server would assign next, as after a dump was
// restored on a new server.
func TestRestoredDumpIsNumberedOn(t *testing.T) {
	dsn := cluster.Migrated(t)
	c := connect(t, dsn)
	exec(t, c, "INSERT INTO pl_audit_events VALUES ((1::bigint << 24) * 9000000, 'old', 1, 0, 1, 'submit', 'x', 'acme', 1, 0, '')")
	exec(t, c, "INSERT INTO pl_mailbox_messages VALUES ((1::bigint << 24) * 9000001, 'acme', 'alice', 'old', 'x', 'completed', '', '', 1, 1, false)")
	s := openAt(t, dsn)
	f := storetest.NewModel("gpu")
	f.End(f.Start(f.Submit(nil).TaskID).TaskID, park.Completed, "1")
	if err := s.Commit(t.Context(), f.Next()); err != nil {
		t.Fatal(err)
	}
	events, err := s.Events(t.Context(), park.AuditQuery{Limit: 10})
	if err != nil || len(events) < 2 || events[0].PoolID != "old" {
		t.Fatalf("the log: %+v %v", events, err)
	}
	last, err := s.LastEvent(t.Context())
	if err != nil || last != events[len(events)-1].EventID {
		t.Fatalf("the last event is %s (%v), not %s", last, err, events[len(events)-1].EventID)
	}
	box, err := s.Messages(t.Context(), park.MailboxQuery{Tenant: "acme", Key: "alice", Limit: 10})
	if err != nil || len(box) != 2 || box[0].PoolID != "old" {
		t.Fatalf("the mailbox: %+v %v", box, err)
	}
}

// TestRestoredTasksAreNumberedBelowNewOnes restores a dump of tasks only, without messages and events, on a server with
// fewer transactions. Then it does so again while the node runs. No new row may get an existing number.
func TestRestoredTasksAreNumberedBelowNewOnes(t *testing.T) {
	dsn := cluster.Migrated(t)
	c := connect(t, dsn)
	s := openAt(t, dsn)
	f := storetest.NewModel("gpu")
	next := func() {
		t.Helper()
		f.Submit(nil)
		if err := s.Commit(t.Context(), f.Next()); err != nil {
			t.Fatal(err)
		}
	}
	next()
	lift := func(by int64) {
		for _, table := range []string{"pl_queue_jobs SET seq = seq + ", "pl_batches SET batch = (batch << 24) + "} {
			end := " << 24)"
			if table[3] == 'b' {
				end = " << 24) >> 24"
			}
			exec(t, c, fmt.Sprintf("UPDATE %s(%d::bigint%s", table, by, end))
		}
	}
	exec(t, c, "DELETE FROM pl_audit_events")
	lift(40)
	s = openAt(t, dsn)
	for range 50 {
		next()
	}
	page, _, err := s.List(t.Context(), "gpu", park.TaskQuery{Limit: 1})
	if err != nil || page[0].TaskID != f.Log[len(f.Log)-1].TaskID {
		t.Errorf("the newest is %v, want the last: %v", page, err)
	}
}

// TestForeignTransactionHoldsNobodyUp has another user of the server leave a transaction open.
func TestForeignTransactionHoldsNobodyUp(t *testing.T) {
	dsn := cluster.Migrated(t)
	s, c := openAt(t, dsn), connect(t, dsn)
	exec(t, c, "CREATE TABLE other (n int)")
	exec(t, c, "BEGIN")
	exec(t, c, "INSERT INTO other VALUES (1)")
	f := storetest.NewModel("gpu")
	f.End(f.Start(f.Submit(nil).TaskID).TaskID, park.Completed, "1")
	if err := s.Commit(t.Context(), f.Next()); err != nil {
		t.Fatal(err)
	}
	events, err := s.Events(t.Context(), park.AuditQuery{Limit: 10})
	if err != nil || len(events) != len(f.Log) {
		t.Errorf("%d events of %d are seen: %v", len(events), len(f.Log), err)
	}
	if last, err := s.LastEvent(t.Context()); err != nil || last != f.Log[len(f.Log)-1].EventID {
		t.Errorf("the last event is %q: %v", last, err)
	}
	box, err := s.Messages(t.Context(), park.MailboxQuery{Tenant: "acme", Key: "alice", Limit: 10})
	if err != nil || len(box) != 1 {
		t.Errorf("%d messages are seen: %v", len(box), err)
	}
	exec(t, c, "ROLLBACK")
}

// TestMigrationsAtOnce migrates from several places at the same time.
func TestMigrationsAtOnce(t *testing.T) {
	dsn := cluster.Empty(t)
	unseen := dsn + " application_name=unseen" // for the check of connected daemons
	if err := openAt(t, unseen).Check(t.Context()); err == nil {
		t.Error("a database without a schema is taken")
	} else if m, ok := errors.AsType[*migrations.MismatchError](err); !ok || m.Newer() {
		t.Errorf("of a database without a schema: %v", err)
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	applied := 0
	for range 4 {
		all.Go(func() {
			done, err := postgres.MigrateUp(t.Context(), dsn, false)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			applied += len(done)
		})
	}
	all.Wait()
	if known, err := postgres.MigrationStatus(t.Context(), dsn); err != nil || applied != len(known) {
		t.Errorf("%d migrations were applied, of %d: %v", applied, len(known), err)
	}
	if err := openAt(t, unseen).Check(t.Context()); err != nil {
		t.Error(err)
	}
	for range 4 {
		all.Go(func() {
			for {
				last, err := postgres.MigrateDown(t.Context(), dsn, migrations.DownOptions{Force: true})
				if err != nil {
					t.Error(err)
				}
				if last == nil || err != nil {
					return
				}
			}
		})
	}
	all.Wait()
	var left int
	if err := connect(t, dsn).QueryRow(t.Context(), "SELECT count(*) FROM pg_class WHERE relname LIKE 'pl\\_%' AND relname NOT LIKE 'pl\\_migrations%'").Scan(&left); err != nil || left != 0 {
		t.Errorf("%d things are left of the schema: %v", left, err)
	}
	exec(t, connect(t, dsn), "INSERT INTO pl_migrations (version_id, is_applied) VALUES (99, true)")
	if err := openAt(t, dsn).Check(t.Context()); err == nil {
		t.Error("a newer schema is taken")
	} else if m, ok := errors.AsType[*migrations.MismatchError](err); !ok || !m.Newer() {
		t.Errorf("of a newer schema: %v", err)
	}
}

// TestCapacityIsGuardedByTheDatabase checks that the database refuses a step that would raise a pool's use above its
// capacity, whatever the scheduler decided.
func TestCapacityIsGuardedByTheDatabase(t *testing.T) {
	s := openAt(t, cluster.Migrated(t))
	f := storetest.NewModel("gpu")
	f.Row.MaxUnits = 2
	for range 2 {
		f.Start(f.Submit(nil).TaskID)
	}
	if err := s.Commit(t.Context(), f.Next()); err != nil {
		t.Fatal(err)
	}
	before := f.Row
	f.Start(f.Submit(nil).TaskID)
	if err := s.Commit(t.Context(), f.Next()); err == nil {
		t.Fatal("a third unit of two was taken")
	}
	if snap, err := s.Load(t.Context(), "gpu"); err != nil || snap.Row != before {
		t.Errorf("the pool is now %+v: %v", snap.Row, err)
	}
}

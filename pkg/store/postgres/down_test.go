package postgres_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/migrations"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/postgres"
)

// wantInUse tries to roll the last migration back, with several options. Each attempt must be refused because the
// database is in use.
func wantInUse(t *testing.T, dsn string) *migrations.InUseError {
	t.Helper()
	var used *migrations.InUseError
	for _, b := range []migrations.DownOptions{{}, {Force: true}, {DryRun: true}} {
		if taken, err := postgres.MigrateDown(t.Context(), dsn, b); !errors.As(err, &used) {
			t.Fatalf("with %+v, in use: %+v, %v", b, taken, err)
		}
	}
	return used
}

// TestDownWhileNodesLive: no migration is rolled back while a node has heartbeats, whatever its application name is.
func TestDownWhileNodesLive(t *testing.T) {
	dsn := restoreFirstRelease(t)
	c := connect(t, dsn)
	exec(t, c, "DELETE FROM pl_nodes")
	// However slow this test is, the last heartbeat of one of them is less than a minute old.
	exec(t, c, "INSERT INTO pl_nodes (node_id, counter, beat_at) VALUES ('silent', 1, now() + interval '1 hour'), ('gone', 1, now() - interval '10 min')")
	// The first schema does not have the time that a node may be silent.
	if used := wantInUse(t, dsn); len(used.Nodes) != 1 || !strings.HasPrefix(used.Nodes[0], "silent (last sign of life ") {
		t.Errorf("living: %v", used.Nodes)
	}
	if _, err := postgres.MigrateUp(t.Context(), dsn, false); err != nil {
		t.Fatal(err)
	}
	terms := store.NodeConfig{TTL: time.Hour, Grace: time.Hour}
	exec(t, c, "UPDATE pl_nodes SET ttl = $1, grace = $2, beat_at = now() - interval '90 min' WHERE node_id = 'silent'", int64(terms.TTL), int64(terms.Grace))
	if used := wantInUse(t, dsn); len(used.Nodes) != 1 || !strings.HasPrefix(used.Nodes[0], "silent ") {
		t.Errorf("living: %v", used.Nodes)
	}
	if err := openAt(t, dsn+" application_name=unseen").Check(t.Context()); err != nil {
		t.Fatalf("after all that: %v", err)
	}
	exec(t, c, "UPDATE pl_nodes SET dead = true WHERE node_id = 'silent'")
	if taken, err := postgres.MigrateDown(t.Context(), dsn, migrations.DownOptions{}); err != nil || taken == nil || len(taken.Deleted) > 0 {
		t.Errorf("with all nodes dead: %+v, %v", taken, err)
	}
}

// TestDownWhileDaemonsAreConnected: a daemon that keeps only mailboxes or the log in a database has no heartbeats
// there.
func TestDownWhileDaemonsAreConnected(t *testing.T) {
	for name, setting := range map[string]string{"by default": "", "by its own name": " application_name=scheduling"} {
		t.Run(name, func(t *testing.T) {
			dsn := cluster.Migrated(t) + setting
			s := openAt(t, dsn)
			if err := s.Check(t.Context()); err != nil {
				t.Fatal(err)
			}
			if used := wantInUse(t, dsn); len(used.Sessions) == 0 {
				t.Error("no connection is named")
			}
			if err := s.Check(t.Context()); err != nil {
				t.Fatalf("after all that: %v", err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := postgres.MigrateDown(t.Context(), dsn, migrations.DownOptions{}); err != nil {
				t.Errorf("after the daemon ended: %v", err)
			}
		})
	}
}

// TestDownThatLosesRows: the rows that would be deleted are named, and they are deleted only with Force.
func TestDownThatLosesRows(t *testing.T) {
	dsn := restoreFirstRelease(t)
	c := connect(t, dsn)
	before := dumpTables(t, c)
	for _, b := range []migrations.DownOptions{{}, {DryRun: true}} {
		taken, err := postgres.MigrateDown(t.Context(), dsn, b)
		var loss *migrations.DataLossError
		if !errors.As(err, &loss) {
			t.Fatalf("with %+v, a database with rows: %+v, %v", b, taken, err)
		}
		for _, want := range []string{"00001_schema.sql", "3 rows of pl_pools", "16 rows of pl_queue_jobs", "43 rows of pl_audit_events"} {
			if !strings.Contains(loss.Error(), want) {
				t.Errorf("%q does not say %q", loss, want)
			}
		}
	}
	taken, err := postgres.MigrateDown(t.Context(), dsn, migrations.DownOptions{DryRun: true, Force: true})
	if err != nil || taken.Version != firstVersion || len(taken.Deleted) < 4 {
		t.Errorf("would take back %+v, %v", taken, err)
	}
	if after := dumpTables(t, c); after != before {
		t.Errorf("there was\n%s\nand is\n%s", before, after)
	}
	if _, err := postgres.MigrateDown(t.Context(), dsn, migrations.DownOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	all, err := postgres.MigrationStatus(t.Context(), dsn)
	if err != nil || !all[0].AppliedAt.IsZero() {
		t.Errorf("status %+v, %v", all, err)
	}
	if _, err := postgres.MigrateUp(t.Context(), dsn, false); err != nil {
		t.Fatalf("up again: %v", err)
	}
}

// TestDownThatLosesAMessage: a later migration has room for rows that the one before has no room for.
func TestDownThatLosesAMessage(t *testing.T) {
	dsn := cluster.Migrated(t)
	c := connect(t, dsn)
	exec(t, c, `INSERT INTO pl_mailbox_messages (seq, tenant, mailbox_key, pool_id, task_id, status, reason, message, attempt, created_at, relayed)
		SELECT n, 'acme', 'alice', 'gpu', 'a', 'completed', '', '', 1, n, true FROM generate_series(1, 2) n`)
	var loss *migrations.DataLossError
	for {
		taken, err := postgres.MigrateDown(t.Context(), dsn, migrations.DownOptions{})
		if errors.As(err, &loss) {
			break
		}
		if err != nil || taken == nil {
			t.Fatalf("taken back %+v, %v", taken, err)
		}
	}
	if loss.Version == firstVersion || len(loss.Deleted) != 1 || loss.Deleted[0] != (migrations.DeletedRows{Table: "pl_mailbox_messages", Rows: 1}) {
		t.Errorf("refused: %v", loss)
	}
}

// TestNodeThatStartsBesideDown: a daemon that has checked the schema but has no heartbeat yet is not overlooked. A
// daemon that starts later finds the schema that remains.
func TestNodeThatStartsBesideDown(t *testing.T) {
	dsn := cluster.Migrated(t)
	const rounds = 5
	for range rounds {
		s := openAt(t, dsn)
		downs := make(chan error, 1)
		go func() {
			_, err := postgres.MigrateDown(t.Context(), dsn, migrations.DownOptions{})
			downs <- err
		}()
		_, beaten := s.Heartbeat(t.Context(), "a", store.NodeConfig{TTL: time.Hour})
		down := <-downs
		if beaten == nil && down == nil {
			t.Fatal("the schema was taken back beneath a node that lives")
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		exec(t, connect(t, dsn), "DELETE FROM pl_nodes")
		if _, err := postgres.MigrateUp(t.Context(), dsn, false); err != nil {
			t.Fatal(err)
		}
	}
}

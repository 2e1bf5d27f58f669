package sqlite_test

import (
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/parkd-dev/parkd/migrations"
	"github.com/parkd-dev/parkd/pkg/internal/storetest"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store/sqlite"
)

// execSQL runs SQL on a database that no process has open.
func execSQL(t *testing.T, path, query string) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), query); err != nil {
		t.Fatal(err)
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "parkd.db")
	s := openAt(t, path)
	f := storetest.NewModel("gpu")
	f.Submit(nil)
	if err := s.Commit(t.Context(), f.Next()); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	execSQL(t, path, "INSERT INTO pl_migrations (version_id, is_applied) VALUES (99, 1)")

	err := wantRefusal(t, path, path, "99", "newer parkd", "downgrade")
	if m, ok := errors.AsType[*migrations.MismatchError](err); !ok || !m.Newer() {
		t.Fatalf("got %v, want a mismatch with a newer schema", err)
	}
	for name, change := range map[string]func() error{
		"up":     func() error { _, err := sqlite.MigrateUp(t.Context(), path, false); return err },
		"up dry": func() error { _, err := sqlite.MigrateUp(t.Context(), path, true); return err },
		"down":   func() error { _, err := sqlite.MigrateDown(t.Context(), path, migrations.DownOptions{}); return err },
		"down dry": func() error {
			_, err := sqlite.MigrateDown(t.Context(), path, migrations.DownOptions{DryRun: true})
			return err
		},
	} {
		if _, ok := errors.AsType[*migrations.MismatchError](change()); !ok {
			t.Errorf("%s of a newer schema was not refused", name)
		}
	}
	all, err := sqlite.MigrationStatus(t.Context(), path)
	if err != nil || all[len(all)-1].Version != 99 {
		t.Fatalf("status %+v, %v", all, err)
	}

	execSQL(t, path, "DELETE FROM pl_migrations WHERE version_id = 99")
	snap, err := openAt(t, path).Load(t.Context(), "gpu")
	if err != nil || snap.Row.Rev != 1 {
		t.Fatalf("after all that the pool is at rev %d, %v", snap.Row.Rev, err)
	}
}

func TestMigrate(t *testing.T) {
	ctx, path := t.Context(), filepath.Join(t.TempDir(), "parkd.db")
	status := func(want bool) {
		t.Helper()
		all, err := sqlite.MigrationStatus(ctx, path)
		if err != nil || len(all) == 0 {
			t.Fatalf("status %+v, %v", all, err)
		}
		for _, m := range all {
			if m.AppliedAt.IsZero() == want {
				t.Fatalf("migration %d applied at %v, want applied: %t", m.Version, m.AppliedAt, want)
			}
		}
	}
	status(false)
	planned, err := sqlite.MigrateUp(ctx, path, true)
	if err != nil || len(planned) == 0 {
		t.Fatalf("planned %+v, %v", planned, err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("looking has made the file: %v", err)
	}
	done, err := sqlite.MigrateUp(ctx, path, false)
	if err != nil || len(done) != len(planned) {
		t.Fatalf("applied %+v, %v", done, err)
	}
	status(true)
	if done, err = sqlite.MigrateUp(ctx, path, false); err != nil || len(done) != 0 {
		t.Fatalf("applied again %+v, %v", done, err)
	}
	for range planned {
		would, err := sqlite.MigrateDown(ctx, path, migrations.DownOptions{DryRun: true})
		if err != nil || would == nil {
			t.Fatalf("would take back %+v, %v", would, err)
		}
		back, err := sqlite.MigrateDown(ctx, path, migrations.DownOptions{})
		if err != nil || back == nil || back.Version != would.Version {
			t.Fatalf("took back %+v, %v", back, err)
		}
	}
	status(false)
	if back, err := sqlite.MigrateDown(ctx, path, migrations.DownOptions{}); err != nil || back != nil {
		t.Fatalf("took back %+v of an empty database, %v", back, err)
	}

	s := openAt(t, path)
	f := storetest.NewModel("gpu")
	f.Submit(nil)
	if err := s.Commit(ctx, f.Next()); err != nil {
		t.Fatal(err)
	}
	found, _, err := s.List(ctx, "gpu", park.TaskQuery{Limit: 1})
	if err != nil || len(found) != 1 {
		t.Fatalf("tasks %+v, %v", found, err)
	}
}

// TestDownThatLosesRows: the rows that would be deleted are named, and they are deleted only with Force.
func TestDownThatLosesRows(t *testing.T) {
	path := createFirstRelease(t)
	want := readRows(t, path)
	lost := func(tables ...string) {
		t.Helper()
		for _, b := range []migrations.DownOptions{{}, {DryRun: true}} {
			taken, err := sqlite.MigrateDown(t.Context(), path, b)
			loss, ok := errors.AsType[*migrations.DataLossError](err)
			if !ok || len(loss.Deleted) != len(tables) {
				t.Fatalf("with %+v: %+v, %v", b, taken, err)
			}
			for i, table := range tables {
				if g := loss.Deleted[i]; g.Table != table || g.Rows != int64(len(want[table])) && len(tables) > 1 {
					t.Errorf("%+v would go, of %d", g, len(want[table]))
				}
			}
		}
	}
	lost("pl_pools", "pl_queue_jobs", "pl_mailbox_messages", "pl_audit_events", "pl_outbox")
	if diff := gocmp.Diff(want, readRows(t, path)); diff != "" {
		t.Errorf("rows (-before +after):\n%s", diff)
	}
	if _, err := sqlite.MigrateUp(t.Context(), path, false); err != nil {
		t.Fatal(err)
	}
	// The previous schema has room for one message of each task id.
	execSQL(t, path, `INSERT INTO pl_mailbox_messages (tenant, mailbox_key, pool_id, task_id, status, reason, message, attempt, created_at, late, trimmed)
		SELECT tenant, mailbox_key, pool_id, task_id, status, reason, message, attempt, created_at + 1, late, trimmed FROM pl_mailbox_messages LIMIT 1`)
	if taken, err := sqlite.MigrateDown(t.Context(), path, migrations.DownOptions{}); err != nil || taken.Version != 3 {
		t.Fatalf("taken back %+v, %v", taken, err)
	}
	lost("pl_mailbox_messages")
	for _, version := range []int64{2, 1} {
		taken, err := sqlite.MigrateDown(t.Context(), path, migrations.DownOptions{Force: true})
		if err != nil || taken == nil || taken.Version != version || len(taken.Deleted) == 0 {
			t.Fatalf("taken back %+v, %v", taken, err)
		}
	}
	openAt(t, path)
}

// TestDownOfAnOpenFile: while a daemon has the lock no migration is rolled back.
func TestDownOfAnOpenFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "parkd.db")
	openAt(t, path)
	for _, b := range []migrations.DownOptions{{}, {Force: true}, {DryRun: true}} {
		if taken, err := sqlite.MigrateDown(t.Context(), path, b); err == nil || !strings.Contains(err.Error(), "stop it") {
			t.Errorf("with %+v: %+v, %v", b, taken, err)
		}
	}
}

package sqlite_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/parkd-dev/parkd/pkg/internal/storetest"
	"github.com/parkd-dev/parkd/pkg/store/sqlite"
)

// TestBackup backs up an open database, writes more, and restores the backup.
func TestBackup(t *testing.T) {
	dir := t.TempDir()
	path, backup := filepath.Join(dir, "parkd.db"), filepath.Join(dir, "backup.db")
	f := storetest.NewModel("gpu")
	s := openAt(t, path)
	commitTasks(t, s, f, 20)
	want := readAll(t, s, "gpu")
	if err := sqlite.Backup(t.Context(), path, backup); err != nil {
		t.Fatal(err)
	}
	if err := sqlite.Backup(t.Context(), path, backup); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("a backup is written over: %v", err)
	}
	commitTasks(t, s, f, 20)
	if _, err := sqlite.Restore(t.Context(), backup, path); err == nil || !strings.Contains(err.Error(), "stop it") {
		t.Fatalf("a database that is open is replaced: %v", err)
	}
	// The files as a killed daemon leaves them.
	killed := filepath.Join(dir, "killed.db")
	copyKilled(t, path, killed)
	r, err := sqlite.Restore(t.Context(), backup, killed)
	if err != nil || r.ReplacedPath == "" {
		t.Fatalf("restored %+v, %v", r, err)
	}
	if diff := gocmp.Diff(want, readAll(t, openAt(t, killed), "gpu")); diff != "" {
		t.Errorf("what came back (-before +after):\n%s", diff)
	}
	snap, err := openAt(t, r.ReplacedPath).Load(t.Context(), "gpu")
	if err != nil || snap.Row.Rev != 40 {
		t.Errorf("what was replaced is at rev %d, %v", snap.Row.Rev, err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "*.partial*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestRestoreRefuses(t *testing.T) {
	dir := t.TempDir()
	path, text := filepath.Join(dir, "parkd.db"), filepath.Join(dir, "text.db")
	s := openAt(t, path)
	commitTasks(t, s, storetest.NewModel("gpu"), 3)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(text, []byte(strings.Repeat("this is no database\n", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(dir, "other.db")
	execSQL(t, other, "CREATE TABLE t (a)")
	newer := filepath.Join(dir, "newer.db")
	copyFile(t, path, newer)
	execSQL(t, newer, "INSERT INTO pl_migrations (version_id, is_applied) VALUES (99, 1)")
	empty := filepath.Join(dir, "empty.db")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for from, says := range map[string]string{
		empty: "is empty", dir: "is a directory", text: "not a database", other: "not a database of parkd", newer: "newer parkd", path: "itself", filepath.Join(dir, "none"): "no such file",
	} {
		if _, err := sqlite.Restore(t.Context(), from, path); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: got %v, want %q", from, err, says)
		}
		if from == path {
			continue
		}
		fresh := filepath.Join(dir, "fresh", "parkd.db")
		if _, err := sqlite.Restore(t.Context(), from, fresh); err == nil || !strings.Contains(err.Error(), from) {
			t.Errorf("%s: got %v, which does not name it", from, err)
		}
		if _, err := os.Stat(filepath.Dir(fresh)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: something was made for it, %v", from, err)
		}
	}
	snap, err := openAt(t, path).Load(t.Context(), "gpu")
	if err != nil || snap.Row.Rev != 3 {
		t.Errorf("after all that the pool is at rev %d, %v", snap.Row.Rev, err)
	}
}

// TestBackupByRelativeName uses relative paths, some with special characters.
func TestBackupByRelativeName(t *testing.T) {
	t.Chdir(t.TempDir())
	s := openAt(t, "parkd.db")
	commitTasks(t, s, storetest.NewModel("gpu"), 3)
	want := readAll(t, s, "gpu")
	for _, name := range []string{"copy.db", "50% of it?.db", "a#b:c.db", "host/copy.db"} {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := sqlite.Backup(t.Context(), "parkd.db", name); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if _, err := sqlite.Restore(t.Context(), name, "of "+name); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := gocmp.Diff(want, readAll(t, openAt(t, "of "+name), "gpu")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

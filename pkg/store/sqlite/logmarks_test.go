package sqlite_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parkd-dev/parkd/pkg/internal/storetest"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store/sqlite"
)

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// copyKilled copies a database and its log as a killed daemon leaves them. Both are copied as they were at the same
// moment, although an open store may do a checkpoint at any time.
func copyKilled(t *testing.T, from, to string) {
	t.Helper()
	state := func() (s string) {
		for _, f := range []string{from, from + "-wal"} {
			i, err := os.Stat(f)
			if err != nil {
				t.Fatal(err)
			}
			s += fmt.Sprint(i.Size(), i.ModTime().UnixNano(), " ")
		}
		return s
	}
	for before := ""; before != state(); {
		before = state()
		copyFile(t, from, to)
		copyFile(t, from+"-wal", to+"-wal")
	}
}

// commitTasks commits n tasks with large payloads.
func commitTasks(t *testing.T, s *sqlite.Store, f *storetest.Model, n int) {
	t.Helper()
	for range n {
		f.Submit(func(r *ledger.Record) { r.Payload = []byte(`"` + strings.Repeat("x", 20_000) + `"`) })
		if err := s.Commit(t.Context(), f.Next()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestForeignLog copies a backup over the database of a killed daemon and leaves the log.
func TestForeignLog(t *testing.T) {
	dir := t.TempDir()
	path, backup, killed := filepath.Join(dir, "parkd.db"), filepath.Join(dir, "backup.db"), filepath.Join(dir, "killed.db")
	f := storetest.NewModel("gpu")
	s := openAt(t, path)
	commitTasks(t, s, f, 50)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	copyFile(t, path, backup)
	s = openAt(t, path)
	commitTasks(t, s, f, 50)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openAt(t, path)
	commitTasks(t, s, f, 5)
	copyKilled(t, path, killed)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	whole := filepath.Join(dir, "whole.db")
	copyKilled(t, killed, whole)
	snap, err := openAt(t, whole).Load(t.Context(), "gpu")
	if err != nil || snap.Row.Rev != 105 {
		t.Fatalf("with its own log the pool is at rev %d, %v", snap.Row.Rev, err)
	}

	copyFile(t, backup, killed)
	wantRefusal(t, killed, killed+"-wal", "belongs to another database", "parkd restore")
	for _, name := range []string{"-wal", "-shm"} {
		if err := os.Remove(killed + name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	snap, err = openAt(t, killed).Load(t.Context(), "gpu")
	if err != nil || snap.Row.Rev != 50 {
		t.Fatalf("without the log the pool is at rev %d, %v", snap.Row.Rev, err)
	}
}

// TestDamagedAfterACrash: a database that was not closed is checked before it is used.
func TestDamagedAfterACrash(t *testing.T) {
	dir := t.TempDir()
	path, killed := filepath.Join(dir, "parkd.db"), filepath.Join(dir, "killed.db")
	f := storetest.NewModel("gpu")
	s := openAt(t, path)
	commitTasks(t, s, f, 50)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openAt(t, path)
	commitTasks(t, s, f, 1)
	copyKilled(t, path, killed)
	b, err := os.ReadFile(killed)
	if err != nil {
		t.Fatal(err)
	}
	for at := 40 * 8192; at < len(b) && at < 60*8192; at++ {
		b[at] = 0xff
	}
	if err := os.WriteFile(killed, b, 0o600); err != nil {
		t.Fatal(err)
	}
	wantRefusal(t, killed, "damaged", "parkd restore")
}

// TestFilesShrink: an idle store gives the room of removed rows back and truncates the log.
func TestFilesShrink(t *testing.T) {
	path := filepath.Join(t.TempDir(), "parkd.db")
	f := storetest.NewModel("gpu")
	s := openAt(t, path)
	commitTasks(t, s, f, 400)
	for _, id := range append([]string(nil), f.Queued...) {
		f.End(id, park.Expired, "")
	}
	if err := s.Commit(t.Context(), f.Next()); err != nil {
		t.Fatal(err)
	}
	size := func(name string) int64 {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	waitFor(t, "the log's end", func() bool { return size(path+"-wal") == 0 })
	before := size(path)
	for {
		n, err := s.PruneTasks(t.Context(), park.At(f.Now().AddDate(1, 0, 0)), 100)
		if err != nil {
			t.Fatal(err)
		}
		if n < 100 {
			break
		}
	}
	waitFor(t, "the room", func() bool { return size(path) < before/4 && size(path+"-wal") == 0 })
	commitTasks(t, s, f, 1)
}

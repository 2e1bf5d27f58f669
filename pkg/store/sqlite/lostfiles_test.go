package sqlite_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/internal/storetest"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/sqlite"
)

// TestOtherNamesAreRefused: a database is locked under all its names, and even if the lock file was removed.
func TestOtherNamesAreRefused(t *testing.T) {
	dir := t.TempDir()
	path, hard := filepath.Join(dir, "parkd.db"), filepath.Join(dir, "hard.db")
	s := openAt(t, path)
	if err := os.Link(path, hard); err != nil {
		t.Fatal(err)
	}
	wantRefusal(t, hard, hard, "another name", "stop it")
	if err := os.Remove(path + ".lock"); err != nil {
		t.Fatal(err)
	}
	wantRefusal(t, path, path, "stop it")
	f := storetest.NewModel("gpu")
	f.Submit(nil)
	if err := s.Commit(t.Context(), f.Next()); err != nil {
		t.Fatalf("a lock file that was removed keeps the database from being written: %v", err)
	}
	if _, err := os.Stat(path + ".lock"); err != nil {
		t.Errorf("the lock file is not made again: %v", err)
	}
}

// TestAnotherNameHasTheLog: after a crash the log is found only by the name under which the database was open.
func TestAnotherNameHasTheLog(t *testing.T) {
	dir := t.TempDir()
	path, hard := filepath.Join(dir, "parkd.db"), filepath.Join(dir, "hard.db")
	v, lines := startVictim(t, path, false)
	for lines.Scan() && lines.Text() == "open" { // until a step was committed
	}
	if err := v.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() { // until the process has ended
	}
	_ = v.Wait()
	if err := os.Link(path, hard); err != nil {
		t.Fatal(err)
	}
	wantRefusal(t, hard, path, "another name")
	openAt(t, path)
}

// fileChanges are changes to a database's files while they are open.
func fileChanges() map[string]func(path string) error {
	return map[string]func(string) error{
		"deleted": os.Remove,
		"moved":   func(path string) error { return os.Rename(path, path+".away") },
		"replaced": func(path string) error {
			if err := os.Rename(path, path+".away"); err != nil {
				return err
			}
			b, err := os.ReadFile(path + ".away")
			return errors.Join(err, os.WriteFile(path, b, 0o600))
		},
		"log deleted": func(path string) error { return os.Remove(path + "-wal") },
		"folder moved": func(path string) error {
			return os.Rename(filepath.Dir(path), filepath.Dir(path)+".away")
		},
	}
}

// TestLostWhileOpen: a step is not acknowledged if the next start would not find it, and the error is not in doubt.
func TestLostWhileOpen(t *testing.T) {
	for name, move := range fileChanges() {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "db", "parkd.db")
			s := openAt(t, path)
			f := storetest.NewModel("gpu")
			f.Submit(nil)
			if err := s.Commit(t.Context(), f.Next()); err != nil {
				t.Fatal(err)
			}
			if err := s.StorageError(); err != nil {
				t.Fatalf("before anything happened: %v", err)
			}
			if err := move(path); err != nil {
				t.Fatal(err)
			}
			f.Submit(nil)
			err := s.Commit(t.Context(), f.Next())
			if err == nil || park.CodeOf(err) != park.Internal {
				t.Fatalf("a step was stored where nobody will find it, or refused with %v", err)
			}
			if !strings.Contains(err.Error(), path) || errors.Is(err, store.ErrInDoubt) {
				t.Errorf("refused with %v", err)
			}
		})
	}
}

func TestLostIsNoticedAtRest(t *testing.T) {
	path := filepath.Join(t.TempDir(), "parkd.db")
	s := openAt(t, path)
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the loss", func() bool { return s.StorageError() != nil })
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the return", func() bool { return s.StorageError() == nil })
	f := storetest.NewModel("gpu")
	f.Submit(nil)
	if err := s.Commit(t.Context(), f.Next()); err != nil {
		t.Fatal(err)
	}
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for giveUp := time.Now().Add(time.Minute); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(giveUp) {
			t.Fatalf("%s was not noticed", what)
		}
	}
}

// TestEngineIsNotReady: an idle daemon whose file was removed is not ready and accepts nothing.
func TestEngineIsNotReady(t *testing.T) {
	path := filepath.Join(t.TempDir(), "parkd.db")
	s, err := sqlite.Open(t.Context(), sqlite.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	e, err := engine.Open(t.Context(), engine.Config{
		Pools: []engine.Pool{{
			PoolSpec: park.PoolSpec{
				ID: "gpu", Kind: park.GPUVram, MaxUnits: 4, MaxQueueDepth: 1000, Runtime: park.WebWorker,
				QueueBackend: park.File, MailboxBackend: park.File,
			},
		}},
		Stores: map[park.Backend]store.Store{park.File: s},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close(context.Background())
	if err := e.Ready(); err != nil {
		t.Fatalf("before anything happened: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the loss", func() bool { return e.Ready() != nil })
	r, err := e.Submit(t.Context(), "gpu", []park.Submission{{}})
	if err == nil && r[0].Err != nil {
		err = r[0].Err
	}
	if code := park.CodeOf(err); code != park.StorageUnavailable {
		t.Fatalf("got %v, want %s", err, park.StorageUnavailable)
	}
	if err := e.Ready(); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("ready says %v", err)
	}
}

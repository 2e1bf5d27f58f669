package sqlite_test

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/parkd-dev/parkd/migrations"
	"github.com/parkd-dev/parkd/pkg/internal/storetest"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/sqlite"
)

// contents is everything that a store returns.
type contents struct {
	Pools    map[string]store.Snapshot
	Tasks    map[string][]ledger.Record
	Listed   map[string][]ledger.Record
	Messages []park.Message
	Events   []park.Event
	Last     string
	Parcels  []store.OutboxEntry
}

func readAll(t testing.TB, s store.Store, pools ...string) contents {
	t.Helper()
	c := contents{Pools: make(map[string]store.Snapshot), Tasks: make(map[string][]ledger.Record), Listed: make(map[string][]ledger.Record)}
	var errs [6]error
	for _, p := range pools {
		var snap store.Snapshot
		snap, errs[0] = s.Load(t.Context(), p)
		slices.SortFunc(snap.Tasks, func(a, b ledger.Record) int { return cmp.Compare(a.TaskID, b.TaskID) })
		c.Pools[p] = snap
		c.Listed[p], _, errs[1] = s.List(t.Context(), p, park.TaskQuery{Limit: 1000})
		var ids []string
		for _, r := range c.Listed[p] {
			ids = append(ids, r.TaskID)
		}
		tasks, err := s.Records(t.Context(), p, ids)
		slices.SortFunc(tasks, func(a, b ledger.Record) int { return cmp.Compare(a.TaskID, b.TaskID) })
		c.Tasks[p], errs[2] = tasks, err
	}
	c.Messages, errs[3] = s.Messages(t.Context(), park.MailboxQuery{Tenant: "acme", Key: "alice", Limit: 1000})
	c.Events, errs[4] = s.Events(t.Context(), park.AuditQuery{Limit: 1000})
	c.Last, _ = s.LastEvent(t.Context())
	c.Parcels, errs[5] = s.Outbox(t.Context(), "notify/gpu", park.At(storetest.Epoch().Add(48*time.Hour)), 1000)
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestReopenKeepsAll(t *testing.T) {
	path := filepath.Join(t.TempDir(), "parkd.db")
	feeds := []*storetest.Model{storetest.NewModel("gpu"), storetest.NewModel("cpu")}
	s := openAt(t, path)
	for round := range 4 {
		for _, f := range feeds {
			f.Advance(time.Minute)
			r := f.Start(f.Submit(nil).TaskID)
			f.Submit(nil)
			m := f.Message(f.End(r.TaskID, park.Completed, `{"ok":true}`))
			f.AddOutboxEntry(store.OutboxEntry{Dest: "notify/gpu", Message: &m})
			if err := s.Commit(t.Context(), f.Next()); err != nil {
				t.Fatal(err)
			}
		}
		before := readAll(t, s, "gpu", "cpu")
		if n := 2 * (round + 1); len(before.Parcels) != n || len(before.Messages) != n || len(before.Pools["gpu"].Tasks) != round+1 {
			t.Fatalf("round %d: %d parcels, %d messages, %d live tasks", round, len(before.Parcels), len(before.Messages), len(before.Pools["gpu"].Tasks))
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		wantSound(t, path)
		s = openAt(t, path)
		if diff := gocmp.Diff(before, readAll(t, s, "gpu", "cpu")); diff != "" {
			t.Fatalf("after the reopening of round %d (-before +after):\n%s", round, diff)
		}
	}
}

// TestCloseLeavesOneFile checks that the write-ahead log is in the database, so that the file alone is a copy.
func TestCloseLeavesOneFile(t *testing.T) {
	dir := t.TempDir()
	s := openAt(t, filepath.Join(dir, "parkd.db"))
	f := storetest.NewModel("gpu")
	f.Submit(nil)
	if err := s.Commit(t.Context(), f.Next()); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{filepath.Join(dir, "parkd.db"), filepath.Join(dir, "parkd.db.lock")}; !slices.Equal(left, want) {
		t.Fatalf("left behind: %v, want %v", left, want)
	}
	if err := s.Commit(t.Context(), f.Next()); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Fatalf("commit to a closed database: %v", err)
	}
}

func TestOnlyTheOwnerReads(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	openAt(t, filepath.Join(dir, "parkd.db"))
	files := 0
	err := filepath.WalkDir(filepath.Dir(dir), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		if !d.IsDir() {
			files++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if files != 4 { // the database, its log and shared memory, the lock
		t.Fatalf("saw %d files, want 4", files)
	}
}

func wantRefusal(t *testing.T, path string, words ...string) error {
	t.Helper()
	s, err := sqlite.Open(t.Context(), sqlite.Config{Path: path})
	if err == nil {
		s.Close()
		t.Fatal("the database was opened")
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
	return err
}

func TestSecondOpenIsRefused(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "parkd.db")
	s := openAt(t, path)
	link := filepath.Join(dir, "link.db")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{path, link, dir + "/../" + filepath.Base(dir) + "/parkd.db"} {
		wantRefusal(t, name, path, "process "+strconv.Itoa(os.Getpid()), "stop it")
	}
	if _, err := sqlite.MigrateDown(t.Context(), path, migrations.DownOptions{Force: true}); err == nil {
		t.Error("the schema of an open database was taken back")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	openAt(t, path)
}

func TestOpenInAnotherProcessIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "parkd.db")
	v, lines := startVictim(t, path, false)
	if !lines.Scan() || lines.Text() != "open" {
		t.Fatalf("the other process said %q", lines.Text())
	}
	wantRefusal(t, path, path, "process "+strconv.Itoa(v.Process.Pid))
	if err := v.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() { // until the process has ended
	}
	_ = v.Wait()
	openAt(t, path)
}

func TestNotADatabase(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	text := file("text.db", []byte(strings.Repeat("this is no database\n", 1000)))
	wantRefusal(t, text, text, "not a database")
	wantRefusal(t, filepath.Join(text, "parkd.db"), "not a directory")
	wantRefusal(t, dir, "is a directory")
	wantRefusal(t, "", "no path")

	whole := filepath.Join(dir, "whole.db")
	if err := openAt(t, whole).Close(); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	cut := file("cut.db", good[:len(good)/2])
	wantRefusal(t, cut, cut, "malformed")
	blank := slices.Clone(good)
	clear(blank[100:])
	wantRefusal(t, file("blank.db", blank), "malformed")
	head := slices.Clone(good)
	copy(head, "SQLite format 9")
	wantRefusal(t, file("head.db", head), "not a database")

	openAt(t, file("empty.db", nil)) // as after touch
	openAt(t, whole)
}

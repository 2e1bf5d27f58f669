//go:build linux

package crash_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/proof"
	"github.com/parkd-dev/parkd/pkg/internal/proof/powercut"
	"github.com/parkd-dev/parkd/pkg/store/postgres"
	"github.com/parkd-dev/parkd/pkg/store/postgres/server"
)

// serverDisk is the size of a disk for a small database and its write-ahead log.
const serverDisk = 256 << 20

// TestServerPowerCut cuts the power of the database server's disk, while nodes with their own power wait for it. All
// acknowledged tasks exist afterwards; a step in doubt is stored or not.
func TestServerPowerCut(t *testing.T) {
	c := proof.Begin(t, "server-power-cut")
	c.Target("cuts", 2, 4, 200)
	if !server.Installed() {
		c.Absent("no PostgreSQL server is installed")
		return
	}
	disk := newDisk(c, serverDisk)
	if disk == nil {
		return
	}
	db, dsn := serverOn(t, disk.Path(), "max_wal_size=64MB", "min_wal_size=32MB")
	// A cluster is created without a flush.
	if err := disk.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := newCluster(c, dsn, 3)
	for c.More("cuts") && !c.Failed() {
		time.Sleep(s.between(100*time.Millisecond, time.Second))
		all := freezeServer(s, db)
		if err := disk.Cut(c.Context(), func() { killServer(db, all) }); err != nil {
			t.Fatal(err)
		}
		s.restartServer(db)
		c.Add("cuts", 1)
		s.wantServes(s.nodes[c.Count("cuts")%len(s.nodes)])
	}
	s.endFaults()
}

// serverOn starts a database server whose data is in a folder.
func serverOn(t *testing.T, folder string, options ...string) (db *server.Server, dsn string) {
	t.Helper()
	usual := os.TempDir()
	t.Setenv("TMPDIR", folder)
	db, err := server.Start(t.Context(), options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Stop() })
	t.Setenv("TMPDIR", usual)
	if dsn, err = db.Create(t.Context(), "cut", "template1"); err != nil {
		t.Fatal(err)
	}
	if _, err := postgres.MigrateUp(t.Context(), dsn, false); err != nil {
		t.Fatal(err)
	}
	return db, dsn
}

// freezeServer stops all processes of a server and returns their ids. The first is the parent of the others, so no new
// ones start once it has stopped.
func freezeServer(s *nodeCluster, db *server.Server) []int {
	s.Helper()
	if err := powercut.Freeze(s.Context(), db.Pid()); err != nil {
		s.Fatal(err)
	}
	all := append([]int{db.Pid()}, children(db.Pid())...)
	for _, pid := range all[1:] {
		if err := powercut.Freeze(s.Context(), pid); err != nil && syscall.Kill(pid, 0) == nil {
			s.Fatal(err)
		}
	}
	return all
}

// killServer kills a frozen server.
func killServer(db *server.Server, all []int) {
	for _, pid := range all[1:] {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	db.Kill()
}

// children returns the ids of a process's children. See Freeze in package powercut for the format of the file.
func children(pid int) (found []int) {
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		var state string
		var parent int
		_, rest, _ := strings.Cut(string(b[strings.LastIndexByte(string(b), ')'):]), " ")
		if _, err := fmt.Sscan(rest, &state, &parent); err == nil && parent == pid {
			id, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
			found = append(found, id)
		}
	}
	return found
}

//go:build linux

package crash_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/parkd-dev/parkd/pkg/internal/proof"
	"github.com/parkd-dev/parkd/pkg/store/postgres/server"
)

// TestFullDisk fills the disk of a database server, so that it refuses writes or ends, and frees space again.
func TestFullDisk(t *testing.T) {
	c := proof.Begin(t, "database-disk-full")
	c.Target("disks filled", 1, 1, 40)
	if !server.Installed() {
		c.Absent("no PostgreSQL server is installed")
		return
	}
	mount := shortDir(t)
	if err := unix.Mount("tmpfs", mount, "tmpfs", 0, "size=192m,mode=0777"); err != nil {
		c.Absent("cannot mount a small file system: %v", err)
		return
	}
	t.Cleanup(func() { _ = unix.Unmount(mount, unix.MNT_DETACH) })
	db, dsn := serverOn(t, mount, "fsync=off", "max_wal_size=32MB", "min_wal_size=32MB", "wal_recycle=off", "wal_init_zero=off", "checkpoint_timeout=30s")
	s := newCluster(c, dsn, 2)
	for c.More("disks filled") && !c.Failed() {
		time.Sleep(s.between(200*time.Millisecond, time.Second))
		ballast := filepath.Join(mount, "ballast")
		fill(s, ballast)
		time.Sleep(s.between(time.Second, 3*time.Second))
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		if !db.Alive() {
			s.restartServer(db)
			c.Add("servers ended by it", 1)
		}
		c.Add("disks filled", 1)
	}
	s.endFaults()
}

// fill fills the disk with a file.
func fill(s *nodeCluster, path string) {
	f, err := os.Create(path)
	if err != nil {
		s.Fatal(err)
	}
	defer f.Close()
	for _, size := range []int{1 << 20, 4 << 10} {
		for block := make([]byte, size); err == nil; {
			_, err = f.Write(block)
		}
		err = nil
	}
}

package sqlite

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestLockLeftForAMoment: a child that a killed daemon was starting may hold the daemon's lock for a moment. A lock
// that is held for longer belongs to another daemon.
func TestLockLeftForAMoment(t *testing.T) {
	path, err := prepareFile(filepath.Join(t.TempDir(), "parkd.db"))
	if err != nil {
		t.Fatal(err)
	}
	child, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer child.Close()
	fd := int(child.Fd())
	if err := unix.Flock(fd, unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if l, err := acquire(path); err == nil || !strings.Contains(err.Error(), "has the database") {
		t.Errorf("a lock that is kept is taken: %v, %v", l, err)
	}
	time.AfterFunc(lockTimeout/4, func() { _ = unix.Flock(fd, unix.LOCK_UN) })
	l, err := acquire(path)
	if err != nil {
		t.Fatalf("a lock that was let go of is not taken: %v", err)
	}
	if err := l.release(); err != nil {
		t.Error(err)
	}
}

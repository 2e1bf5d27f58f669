package sqlite

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// lock keeps other processes away from a database, whatever path they open it by. The operating system releases it when
// the process ends, in whatever way.
//
// There are two locks. Every release of parkd takes the lock on a file beside the database, which also has the id of
// the process that holds it. But that lock depends on the path: a hard link has another path, and the lock file may be
// removed. So the database itself is locked too, at a byte far beyond its end that SQLite's own locks do not use (see
// lockByte).
type lock struct {
	path     string         // of the database, with symbolic links resolved
	database *os.File       // open until release
	expected []expectedFile // the files that must be at their paths

	mu       sync.Mutex
	lockFile *os.File
}

// expectedFile is a file that must stay at its path while the database is open.
type expectedFile struct {
	path, kind string
	info       os.FileInfo
}

const (
	// lockTimeout is how long to wait for a lock. If a process is killed while it starts a child, the child has the
	// process's open files, and so its lock, until the child executes its own program.
	lockTimeout       = time.Second
	lockRetryInterval = 10 * time.Millisecond
)

var errLocked = errors.New("another process has the lock")

// acquire takes the locks of the existing database at path.
func acquire(path string) (*lock, error) {
	lockFile, err := openLockFile(path, lockTimeout)
	if err != nil {
		return nil, err
	}
	l := &lock{path: path, lockFile: lockFile}
	if l.database, err = os.OpenFile(path, os.O_RDWR, 0); err != nil {
		return nil, errors.Join(fmt.Errorf("open database: %w", err), lockFile.Close())
	}
	if err := l.lockDatabase(); err != nil {
		return nil, errors.Join(err, l.release())
	}
	return l, nil
}

// openLockFile opens the lock file and takes its lock.
func openLockFile(path string, timeout time.Duration) (*os.File, error) {
	f, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock database: %w", err)
	}
	err = retryLock(timeout, func() error {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) {
			return errLocked
		}
		return err
	})
	switch {
	case errors.Is(err, errLocked):
		err = errors.New(lockedMessage(path, f))
	case err != nil:
		err = fmt.Errorf("lock database %s: %w", path, err)
	default:
		err = writePID(f)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// retryLock retries to take a lock that its holder may be about to release.
func retryLock(timeout time.Duration, take func() error) error {
	deadline := time.Now().Add(timeout)
	for {
		if err := take(); !errors.Is(err, errLocked) || time.Now().After(deadline) {
			return err
		}
		time.Sleep(lockRetryInterval)
	}
}

// lockDatabase locks the database itself.
func (l *lock) lockDatabase() error {
	err := retryLock(lockTimeout, func() error { return lockByte(l.database) })
	if errors.Is(err, errLocked) {
		return fmt.Errorf("another process has the database %s open, perhaps by another name (a hard link, another mount): "+
			"stop it or use another file", l.path)
	}
	if err != nil {
		return fmt.Errorf("lock database %s: %w", l.path, err)
	}
	info, err := l.database.Stat()
	if err != nil {
		return fmt.Errorf("check database: %w", err)
	}
	l.expected = []expectedFile{{path: l.path, kind: "database file", info: info}}
	return l.checkFiles()
}

// lockedMessage names the process that holds the lock.
func lockedMessage(path string, f *os.File) string {
	holder := "another process"
	if b, err := io.ReadAll(io.LimitReader(f, 32)); err == nil {
		if pid, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil {
			holder = "process " + strconv.Itoa(pid)
		}
	}
	return fmt.Sprintf("%s has the database %s open (lock file %s.lock): stop it or use another file", holder, path, path)
}

// writePID writes the process's id for others to read.
func writePID(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return fmt.Errorf("write lock file: %w", err)
	}
	if _, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0); err != nil {
		return fmt.Errorf("write lock file: %w", err)
	}
	return nil
}

// expectLog adds the write-ahead log to the expected files. SQLite has opened it.
func (l *lock) expectLog() error {
	path := l.path + "-wal"
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("check the write-ahead log: %w", err)
	}
	l.expected = append(l.expected, expectedFile{path: path, kind: "write-ahead log", info: info})
	return nil
}

// lostFilesError says that data stored from now on would be lost, or that another process stores data here.
type lostFilesError string

func (e lostFilesError) Error() string { return string(e) }

// checkFiles returns a lostFilesError if a path no longer leads to the file that was opened there, or if another
// process has the lock file. A lock file that was removed is created again.
func (l *lock) checkFiles() error {
	for _, k := range l.expected {
		info, err := os.Stat(k.path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return lostFilesError(fmt.Sprintf("the %s %s was deleted or moved while it was open: nothing more is stored; stop parkd, put it back, and start parkd again", k.kind, k.path))
		case err != nil:
			return fmt.Errorf("check the %s: %w", k.kind, err)
		case !os.SameFile(info, k.info):
			return lostFilesError(fmt.Sprintf("the %s %s was replaced by another file while it was open: nothing more is stored; restart parkd to use the new file", k.kind, k.path))
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.checkLockFile()
}

func (l *lock) checkLockFile() error {
	held, err := l.lockFile.Stat()
	if err != nil {
		return fmt.Errorf("check the lock file: %w", err)
	}
	if now, err := os.Stat(l.path + ".lock"); err == nil && os.SameFile(now, held) {
		return nil
	}
	f, err := openLockFile(l.path, 0)
	if err != nil {
		return lostFilesError("the lock file was removed while it was held, and " + err.Error())
	}
	old := l.lockFile
	l.lockFile = f
	return old.Close()
}

// release releases the locks. It must be called after SQLite's last connection was closed: closing any descriptor of a
// file releases all fcntl locks that this process has on the file, which are SQLite's. The lock file is not removed,
// because then two processes could lock two files of the same name.
func (l *lock) release() error {
	var err error
	if l.database != nil {
		err = l.database.Close()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := errors.Join(err, l.lockFile.Truncate(0), l.lockFile.Close()); err != nil {
		return fmt.Errorf("release lock: %w", err)
	}
	return nil
}

// nameWithLog returns another name of the database in its folder that has a write-ahead log beside it, or "" if there
// is none. SQLite finds the log by the name, so under this store's name it would miss that log.
func (l *lock) nameWithLog() (string, error) {
	own := l.expected[0].info
	if linkCount(own) < 2 {
		return "", nil
	}
	dir := filepath.Dir(l.path)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", fmt.Errorf("look for other names of the database: %w", err)
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if path == l.path || !e.Type().IsRegular() {
			continue
		}
		if info, err := e.Info(); err != nil || !os.SameFile(info, own) {
			continue
		}
		if log, err := os.Stat(path + "-wal"); err == nil && log.Size() > 0 {
			return path, nil
		}
	}
	return "", nil
}

// linkCount returns how many names a file has.
func linkCount(info os.FileInfo) uint64 {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(s.Nlink) //nolint:unconvert // its type depends on the system
	}
	return 1
}

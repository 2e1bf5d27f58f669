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

// lock keeps other processes away from a database, by whatever name they know it. The operating system lets go of it
// when the process ends, however it does.
//
// There are two locks. The one on a file beside the database is what every release of parkd takes, and says who has it.
// But it goes by a name: a hard link to the database has another, and the file may be removed. So the database itself is
// locked too, far beyond its end and out of the way of SQLite's own locks (see claim).
type lock struct {
	path     string         // of the database, without links
	database *os.File       // the database: see release
	expected []expectedFile // what must be found under its name

	mu       sync.Mutex
	lockFile *os.File
}

// known is a file that has a name as long as the database is open.
type expectedFile struct {
	path, kind string
	info       os.FileInfo
}

const (
	// lockPatience is how long a lock is waited for. A process that was killed while it started another leaves its
	// open files, and with them its lock, to that child for the moment until the child is a program of its own.
	lockTimeout       = time.Second
	lockRetryInterval = 10 * time.Millisecond
)

var errLocked = errors.New("another process has the lock")

// acquire takes the locks of the database at path, which is there.
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

// lockBeside takes the lock that lies beside the database.
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

// retry takes a lock that another may be about to let go of.
func retryLock(timeout time.Duration, take func() error) error {
	deadline := time.Now().Add(timeout)
	for {
		if err := take(); !errors.Is(err, errLocked) || time.Now().After(deadline) {
			return err
		}
		time.Sleep(lockRetryInterval)
	}
}

// claim locks the database itself.
func (l *lock) lockDatabase() error {
	err := retryLock(lockTimeout, func() error { return lockByte(l.database) })
	if errors.Is(err, errLocked) {
		return fmt.Errorf("another process has the database %s open, perhaps by another name (a hard link, another mount): "+
			"stop it, or give this one a file of its own", l.path)
	}
	if err != nil {
		return fmt.Errorf("lock database %s: %w", l.path, err)
	}
	info, err := l.database.Stat()
	if err != nil {
		return fmt.Errorf("look at database: %w", err)
	}
	l.expected = []expectedFile{{path: l.path, kind: "database file", info: info}}
	return l.checkFiles()
}

// taken says who has the lock.
func lockedMessage(path string, f *os.File) string {
	holder := "another process"
	if b, err := io.ReadAll(io.LimitReader(f, 32)); err == nil {
		if pid, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil {
			holder = "process " + strconv.Itoa(pid)
		}
	}
	return fmt.Sprintf("%s has the database %s open (lock file %s.lock): stop it, or give this one a file of its own", holder, path, path)
}

// sign leaves the process's id for others to read.
func writePID(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return fmt.Errorf("sign lock: %w", err)
	}
	if _, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0); err != nil {
		return fmt.Errorf("sign lock: %w", err)
	}
	return nil
}

// hold notes that from now on the database's write-ahead log has to be where it is, too. SQLite has opened it.
func (l *lock) expectLog() error {
	path := l.path + "-wal"
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("look at the write-ahead log: %w", err)
	}
	l.expected = append(l.expected, expectedFile{path: path, kind: "write-ahead log", info: info})
	return nil
}

// lostError says that what is stored from now on would be lost, or is another process's to store.
type lostFilesError string

func (e lostFilesError) Error() string { return string(e) }

// look returns a lostError where the database's files are no longer those that are found by their names, or the lock
// beside it is another's. A lock file that was removed is made again.
func (l *lock) checkFiles() error {
	for _, k := range l.expected {
		info, err := os.Stat(k.path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return lostFilesError(fmt.Sprintf("the %s %s was deleted or moved while it was open: nothing more is stored; stop parkd, put it back, and start parkd again", k.kind, k.path))
		case err != nil:
			return fmt.Errorf("look at the %s: %w", k.kind, err)
		case !os.SameFile(info, k.info):
			return lostFilesError(fmt.Sprintf("the %s %s was replaced by another file while it was open: nothing more is stored; restart parkd to go on with what is there now", k.kind, k.path))
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.checkLockFile()
}

func (l *lock) checkLockFile() error {
	held, err := l.lockFile.Stat()
	if err != nil {
		return fmt.Errorf("look at the lock: %w", err)
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

// release lets go of the locks. It comes after the last connection of SQLite was closed: to close any descriptor of a
// file takes away all locks that this process has on it by fcntl, which are SQLite's. The lock file stays: to remove it
// would let two processes lock two files of one name.
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

// otherName returns another name that the database has in its folder and under which a write-ahead log lies, "" where
// there is none. SQLite finds the log by the name: under this one it would miss what is in it.
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

// links returns how many names a file has.
func linkCount(info os.FileInfo) uint64 {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(s.Nlink) //nolint:unconvert // it is not of one type on all systems
	}
	return 1
}

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
	path  string   // of the database, without links
	file  *os.File // the database: see release
	known []known  // what must be found under its name

	mu     sync.Mutex
	beside *os.File
}

// known is a file that has a name as long as the database is open.
type known struct {
	path, what string
	info       os.FileInfo
}

const (
	// lockPatience is how long a lock is waited for. A process that was killed while it started another leaves its
	// open files, and with them its lock, to that child for the moment until the child is a program of its own.
	lockPatience = time.Second
	lockRest     = 10 * time.Millisecond
)

var errTaken = errors.New("another process has the lock")

// acquire takes the locks of the database at path, which is there.
func acquire(path string) (*lock, error) {
	beside, err := lockBeside(path, lockPatience)
	if err != nil {
		return nil, err
	}
	l := &lock{path: path, beside: beside}
	if l.file, err = os.OpenFile(path, os.O_RDWR, 0); err != nil {
		return nil, errors.Join(fmt.Errorf("open database: %w", err), beside.Close())
	}
	if err := l.claim(); err != nil {
		return nil, errors.Join(err, l.release())
	}
	return l, nil
}

// lockBeside takes the lock that lies beside the database.
func lockBeside(path string, patience time.Duration) (*os.File, error) {
	f, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock database: %w", err)
	}
	err = retry(patience, func() error {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) {
			return errTaken
		}
		return err
	})
	switch {
	case errors.Is(err, errTaken):
		err = errors.New(taken(path, f))
	case err != nil:
		err = fmt.Errorf("lock database %s: %w", path, err)
	default:
		err = sign(f)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// retry takes a lock that another may be about to let go of.
func retry(patience time.Duration, take func() error) error {
	giveUp := time.Now().Add(patience)
	for {
		if err := take(); !errors.Is(err, errTaken) || time.Now().After(giveUp) {
			return err
		}
		time.Sleep(lockRest)
	}
}

// claim locks the database itself.
func (l *lock) claim() error {
	err := retry(lockPatience, func() error { return claim(l.file) })
	if errors.Is(err, errTaken) {
		return fmt.Errorf("another process has the database %s open, perhaps by another name (a hard link, another mount): "+
			"stop it, or give this one a file of its own", l.path)
	}
	if err != nil {
		return fmt.Errorf("lock database %s: %w", l.path, err)
	}
	info, err := l.file.Stat()
	if err != nil {
		return fmt.Errorf("look at database: %w", err)
	}
	l.known = []known{{path: l.path, what: "database file", info: info}}
	return l.look()
}

// taken says who has the lock.
func taken(path string, f *os.File) string {
	who := "another process"
	if b, err := io.ReadAll(io.LimitReader(f, 32)); err == nil {
		if pid, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil {
			who = "process " + strconv.Itoa(pid)
		}
	}
	return fmt.Sprintf("%s has the database %s open (lock file %s.lock): stop it, or give this one a file of its own", who, path, path)
}

// sign leaves the process's id for others to read.
func sign(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return fmt.Errorf("sign lock: %w", err)
	}
	if _, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0); err != nil {
		return fmt.Errorf("sign lock: %w", err)
	}
	return nil
}

// hold notes that from now on the database's write-ahead log has to be where it is, too. SQLite has opened it.
func (l *lock) hold() error {
	path := l.path + "-wal"
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("look at the write-ahead log: %w", err)
	}
	l.known = append(l.known, known{path: path, what: "write-ahead log", info: info})
	return nil
}

// lostError says that what is stored from now on would be lost, or is another process's to store.
type lostError string

func (e lostError) Error() string { return string(e) }

// look returns a lostError where the database's files are no longer those that are found by their names, or the lock
// beside it is another's. A lock file that was removed is made again.
func (l *lock) look() error {
	for _, k := range l.known {
		now, err := os.Stat(k.path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return lostError(fmt.Sprintf("the %s %s was deleted or moved while it was open: nothing more is stored; stop parkd, put it back, and start parkd again", k.what, k.path))
		case err != nil:
			return fmt.Errorf("look at the %s: %w", k.what, err)
		case !os.SameFile(now, k.info):
			return lostError(fmt.Sprintf("the %s %s was replaced by another file while it was open: nothing more is stored; restart parkd to go on with what is there now", k.what, k.path))
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lookBeside()
}

func (l *lock) lookBeside() error {
	ours, err := l.beside.Stat()
	if err != nil {
		return fmt.Errorf("look at the lock: %w", err)
	}
	if now, err := os.Stat(l.path + ".lock"); err == nil && os.SameFile(now, ours) {
		return nil
	}
	f, err := lockBeside(l.path, 0)
	if err != nil {
		return lostError("the lock file was removed while it was held, and " + err.Error())
	}
	old := l.beside
	l.beside = f
	return old.Close()
}

// release lets go of the locks. It comes after the last connection of SQLite was closed: to close any descriptor of a
// file takes away all locks that this process has on it by fcntl, which are SQLite's. The lock file stays: to remove it
// would let two processes lock two files of one name.
func (l *lock) release() error {
	var err error
	if l.file != nil {
		err = l.file.Close()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := errors.Join(err, l.beside.Truncate(0), l.beside.Close()); err != nil {
		return fmt.Errorf("release lock: %w", err)
	}
	return nil
}

// otherName returns another name that the database has in its folder and under which a write-ahead log lies, "" where
// there is none. SQLite finds the log by the name: under this one it would miss what is in it.
func (l *lock) otherName() (string, error) {
	own := l.known[0].info
	if links(own) < 2 {
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
func links(info os.FileInfo) uint64 {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(s.Nlink) //nolint:unconvert // it is not of one type on all systems
	}
	return 1
}

package sqlite

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// lock keeps other processes away from a database. The operating system lets go of it when the process ends,
// however it does.
type lock struct{ file *os.File }

const (
	// lockPatience is how long a lock is waited for. A process that was killed while it started another leaves its
	// open files, and with them its lock, to that child for the moment until the child is a program of its own.
	lockPatience = time.Second
	lockRest     = 10 * time.Millisecond
)

// acquire takes the lock of the database at path.
func acquire(path string) (*lock, error) {
	f, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock database: %w", err)
	}
	giveUp := time.Now().Add(lockPatience)
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(giveUp) {
			break
		}
		time.Sleep(lockRest)
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = errors.New(taken(path, f))
	} else if err != nil {
		err = fmt.Errorf("lock database %s: %w", path, err)
	}
	if err == nil {
		err = sign(f)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &lock{file: f}, nil
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

// release lets go of the lock. The file stays: to remove it would let two processes lock two files of one name.
func (l *lock) release() error {
	if err := errors.Join(l.file.Truncate(0), l.file.Close()); err != nil {
		return fmt.Errorf("release lock: %w", err)
	}
	return nil
}

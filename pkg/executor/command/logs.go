package command

// Runs write to logs/<pool>/t-<task>/<attempt>.<part>.log. When a part is full the next one begins, and only the two newest
// are kept.

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/parkd-dev/parkd/pkg/park"
)

// logs is the folder of all logs. No name can reach outside it. Executors and daemons may share it.
type logs struct{ root *folderRoot }

func openLogs(dir string) (*logs, error) {
	root, err := openFolder(dir)
	if err != nil {
		return nil, err
	}
	l := &logs{root}
	if names, err := l.names("."); err == nil && len(names) == 0 {
		err = l.markIndexComplete()
		if err != nil {
			return nil, errors.Join(fmt.Errorf("begin the folder for logs: %w", err), root.Close())
		}
	}
	return l, nil
}

func (l *logs) close() error { return l.root.Close() }

// taskPrefix makes a plain name even of a task id such as "..".
const taskPrefix = "t-"

// folder returns the name of a task's folder.
func folder(pool, task string) (string, error) {
	if !park.StoredTaskID(task) || !filepath.IsLocal(pool) || strings.ContainsAny(pool, `/\`) || strings.HasPrefix(pool, ".") {
		return "", park.Errorf(park.LogNotFound, "no such log: pool %q, task %q", pool, task)
	}
	return path.Join(pool, taskPrefix+task), nil
}

// openDir opens a folder. Anything else of that name counts as missing: opening it could block.
func openDir(root *folderRoot, name string) (*os.File, error) {
	info, err := root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%s is no folder: %w", name, fs.ErrNotExist)
	}
	return root.OpenFile(name, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
}

// beginRun creates a task's folder for a new run and opens it. Files of an earlier task with the same id are removed. While
// the folder is open, here or in a shim, no process prunes it.
func (l *logs) beginRun(pool, task string, attempt int) (*os.File, error) {
	name, err := folder(pool, task)
	if err != nil {
		return nil, err
	}
	dir, err := l.createLocked(name)
	if err != nil {
		return nil, fmt.Errorf("make the folder for the log: %w", err)
	}
	old, err := parts(dir, func(fs.DirEntry) bool { return true })
	for _, p := range old {
		if p.attempt >= attempt && err == nil {
			err = l.root.RemoveAll(path.Join(name, p.name()))
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("clear the folder for the log: %w", err), dir.Close())
	}
	return dir, nil
}

// maxLockTries bounds how often the folder may be pruned between its creation and its lock.
const maxLockTries = 1000

// createLocked creates a folder, notes the time, and locks the folder against pruning.
func (l *logs) createLocked(name string) (*os.File, error) {
	for range maxLockTries {
		dir, err := l.tryCreateLocked(name)
		if dir != nil || err != nil && (!errors.Is(err, fs.ErrNotExist) || l.root.replaced()) {
			return dir, err
		}
		time.Sleep(lockPollInterval / 10)
	}
	return nil, errors.New("it is pruned again and again")
}

// tryCreateLocked returns nil without an error if the folder is being pruned.
func (l *logs) tryCreateLocked(name string) (*os.File, error) {
	// The note comes first: a folder without one would never be pruned.
	if err := l.note(name, time.Now()); err != nil {
		return nil, err
	}
	if err := l.root.MkdirAll(name, 0o700); err != nil {
		return nil, err
	}
	dir, err := openDir(l.root, name)
	if err != nil {
		return nil, err
	}
	if isLocked(unix.Flock(int(dir.Fd()), unix.LOCK_SH|unix.LOCK_NB)) {
		return nil, dir.Close()
	}
	opened, err1 := dir.Stat()
	named, err2 := l.root.Lstat(name)
	if err := errors.Join(err1, err2); err != nil || !os.SameFile(opened, named) {
		return nil, errors.Join(err, dir.Close())
	}
	return dir, nil
}

// isLocked reports whether an error says that another process holds the lock. File systems without locks for folders return
// other errors; there only the time of the last write protects a log.
func isLocked(err error) bool { return errors.Is(err, unix.EWOULDBLOCK) }

// part is one file of a log.
type part struct{ attempt, number int }

func (p part) name() string { return strconv.Itoa(p.attempt) + "." + strconv.Itoa(p.number) + ".log" }

// isLog reports whether an entry of a folder is a regular file. Opening anything else with the name of a log may block.
func isLog(e fs.DirEntry) bool { return e.Type().IsRegular() }

// parts lists the parts in a task's folder whose entry is to be included, in the order in which they were written.
func parts(dir *os.File, include func(fs.DirEntry) bool) ([]part, error) {
	if _, err := dir.Seek(0, 0); err != nil {
		return nil, err
	}
	entries, err := dir.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	var found []part
	for _, e := range entries {
		if !include(e) {
			continue
		}
		name := e.Name()
		attempt, rest, _ := strings.Cut(name, ".")
		number, _ := strings.CutSuffix(rest, ".log")
		a, err1 := strconv.Atoi(attempt)
		n, err2 := strconv.Atoi(number)
		if p := (part{a, n}); err1 == nil && err2 == nil && p.name() == name {
			found = append(found, p)
		}
	}
	slices.SortFunc(found, func(a, b part) int {
		if a.attempt != b.attempt {
			return a.attempt - b.attempt
		}
		return a.number - b.number
	})
	return found, nil
}

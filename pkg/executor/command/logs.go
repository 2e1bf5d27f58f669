package command

// Where runs write: logs/<pool>/t-<task>/<attempt>.<part>.log.
// A run writes one part at a time; when it is full the next begins and the one before the last goes.

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

// logs is the folder of all logs. Nothing outside it can be reached through a name. Executors and daemons may share it.
type logs struct{ root *folderRoot }

func openLogs(dir string) (*logs, error) {
	root, err := openFolder(dir)
	if err != nil {
		return nil, err
	}
	l := &logs{root}
	if names, err := l.names("."); err == nil && len(names) == 0 {
		err = l.allNoted()
		if err != nil {
			return nil, errors.Join(fmt.Errorf("begin the folder for logs: %w", err), root.Close())
		}
	}
	return l, nil
}

func (l *logs) close() error { return l.root.Close() }

// taskPrefix keeps a task called ".." what it is.
const taskPrefix = "t-"

// folder returns the name of a task's folder.
func folder(pool, task string) (string, error) {
	if !park.StoredTaskID(task) || !filepath.IsLocal(pool) || strings.ContainsAny(pool, `/\`) || strings.HasPrefix(pool, ".") {
		return "", park.Errorf(park.LogNotFound, "no such log: pool %q, task %q", pool, task)
	}
	return path.Join(pool, taskPrefix+task), nil
}

// openDir opens a folder. What is called like one and is something else is not there: to open it may block.
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

// begin makes a task's folder for a new run and opens it. What an earlier task of the same id left is removed. As long as
// the folder is open here, or in a shim that was handed it, nobody prunes it, whichever process he is.
func (l *logs) begin(pool, task string, attempt int) (*os.File, error) {
	name, err := folder(pool, task)
	if err != nil {
		return nil, err
	}
	dir, err := l.claim(name)
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

// claims bounds how often somebody may prune the folder in the moment between its making and its lock.
const claims = 1000

// claim makes a folder, notes when, and locks it against pruning.
func (l *logs) claim(name string) (*os.File, error) {
	for range claims {
		dir, err := l.tryClaim(name)
		if dir != nil || err != nil && (!errors.Is(err, fs.ErrNotExist) || l.root.gone()) {
			return dir, err
		}
		time.Sleep(lockRest / 10)
	}
	return nil, errors.New("it is pruned again and again")
}

// tryClaim returns nil without an error where the folder is being pruned.
func (l *logs) tryClaim(name string) (*os.File, error) {
	// First the note: a folder without one would never be pruned.
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
	if taken(unix.Flock(int(dir.Fd()), unix.LOCK_SH|unix.LOCK_NB)) {
		return nil, dir.Close()
	}
	mine, err1 := dir.Stat()
	now, err2 := l.root.Lstat(name)
	if err := errors.Join(err1, err2); err != nil || !os.SameFile(mine, now) {
		return nil, errors.Join(err, dir.Close())
	}
	return dir, nil
}

// taken reports whether a lock is held by somebody else. File systems that have no locks for folders say something else;
// there only the time of the last line keeps a log.
func taken(err error) bool { return errors.Is(err, unix.EWOULDBLOCK) }

// part is one file of a log.
type part struct{ attempt, number int }

func (p part) name() string { return strconv.Itoa(p.attempt) + "." + strconv.Itoa(p.number) + ".log" }

// isLog reports whether an entry of a folder is a file. To open anything else that is called like a log may block.
func isLog(e fs.DirEntry) bool { return e.Type().IsRegular() }

// parts lists what a task's folder holds that is meant, in the order in which it was written.
func parts(dir *os.File, meant func(fs.DirEntry) bool) ([]part, error) {
	if _, err := dir.Seek(0, 0); err != nil {
		return nil, err
	}
	entries, err := dir.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	var found []part
	for _, e := range entries {
		if !meant(e) {
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

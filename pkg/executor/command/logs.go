package command

// Where runs write: logs/<pool>/t-<task>/<attempt>.<part>.log. The prefix keeps a task called ".." what it is.
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
	"sync"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// logs is the folder of all logs. Nothing outside it can be reached through a name.
type logs struct {
	root *folderRoot
	mu   sync.Mutex
	live map[string]int // runs under way, by the folder of their task
}

func openLogs(dir string) (*logs, error) {
	root, err := openFolder(dir)
	if err != nil {
		return nil, err
	}
	return &logs{root: root, live: make(map[string]int)}, nil
}

func (l *logs) close() error { return l.root.Close() }

// folder returns the name of a task's folder.
func folder(pool, task string) (string, error) {
	if !park.ValidTaskID(task) || !filepath.IsLocal(pool) || strings.ContainsAny(pool, `/\`) || pool == "." {
		return "", park.Errorf(park.LogNotFound, "pool %q, task %q: there can be no such log", pool, task)
	}
	return path.Join(pool, "t-"+task), nil
}

// hold keeps a task's logs from being pruned until the returned function is called.
func (l *logs) hold(pool, task string) (release func()) {
	name, err := folder(pool, task)
	if err != nil {
		return func() {}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.live[name]++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.live[name]--; l.live[name] == 0 {
			delete(l.live, name)
		}
	}
}

// begin makes a task's folder for a new run and opens it. What an earlier task of the same id left is removed.
func (l *logs) begin(pool, task string, attempt int) (*os.File, error) {
	name, err := folder(pool, task)
	if err != nil {
		return nil, err
	}
	if err := l.root.MkdirAll(name, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder for the log: %w", err)
	}
	dir, err := l.root.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open the folder for the log: %w", err)
	}
	old, err := parts(dir)
	for _, p := range old {
		if p.attempt >= attempt && err == nil {
			err = l.root.Remove(path.Join(name, p.name()))
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("clear the folder for the log: %w", err), dir.Close())
	}
	return dir, nil
}

// part is one file of a log.
type part struct{ attempt, number int }

func (p part) name() string { return strconv.Itoa(p.attempt) + "." + strconv.Itoa(p.number) + ".log" }

// parts lists what a task's folder holds, in the order in which it was written.
func parts(dir *os.File) ([]part, error) {
	if _, err := dir.Seek(0, 0); err != nil {
		return nil, err
	}
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var found []part
	for _, name := range names {
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

// PruneLogs removes the logs of tasks that wrote nothing since before. Runs under way keep theirs.
func (e *Executor) PruneLogs(before time.Time) error {
	tasks, err := fs.Glob(e.logs.root.FS(), "*/t-*")
	if err != nil {
		return fmt.Errorf("list logs: %w", err)
	}
	var errs []error
	for _, name := range tasks {
		errs = append(errs, e.logs.prune(name, before))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("prune logs: %w", err)
	}
	return nil
}

func (l *logs) prune(name string, before time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.live[name] > 0 {
		return nil
	}
	last, err := l.lastWrite(name)
	if err != nil || !last.Before(before) {
		return err
	}
	return l.root.RemoveAll(name)
}

// lastWrite returns the latest time of a folder and of what is in it.
func (l *logs) lastWrite(name string) (time.Time, error) {
	var last time.Time
	err := fs.WalkDir(l.root.FS(), name, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.ModTime().After(last) {
			last = info.ModTime()
		}
		return err
	})
	return last, err
}

package command

// An index of logs by time, so that old ones are found without reading all folders. A note is an empty file
// .by-time/<day>/<hour and minute>/<pool>~t-<task>. It says that the folder is to be checked once that minute is older than
// the retention. If the folder was written to since, the check moves the note to the minute of the last write.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	byTime = ".by-time"
	// indexComplete exists once every folder has a note. Older versions of parkd made folders without notes.
	indexComplete = byTime + "/complete"

	dayLayout     = "2006-01-02"
	minuteLayout  = "1504"
	noteSeparator = "~"
	// nameBatch is how many names are read at once.
	nameBatch = 256
)

// minuteOf returns the folder of the notes of a minute.
func minuteOf(at time.Time) string {
	at = at.UTC()
	return path.Join(byTime, at.Format(dayLayout), at.Format(minuteLayout))
}

// note adds a note that a folder of logs was written to at a time.
func (l *logs) note(name string, at time.Time) error {
	minute := minuteOf(at)
	if err := l.root.MkdirAll(minute, 0o700); err != nil {
		return err
	}
	f, err := l.root.OpenFile(path.Join(minute, strings.Replace(name, "/", noteSeparator, 1)), os.O_CREATE|os.O_WRONLY|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// parseNote returns the folder that a note is about.
func parseNote(note string) (folder string, ok bool) {
	i := strings.LastIndex(note, noteSeparator)
	if i < 0 {
		return "", false
	}
	return path.Join(note[:i], note[i+len(noteSeparator):]), true
}

// PruneLogs removes the logs of tasks that wrote nothing since before. Running tasks keep theirs, including those of other
// executors and daemons with the same folder. It checks only folders that may be old enough. If ctx ends, it returns ctx's
// error.
func (e *Executor) PruneLogs(ctx context.Context, before time.Time) error {
	l := e.logs
	err := l.indexOldFolders(ctx)
	if err == nil {
		err = l.prune(ctx, before)
	}
	if err != nil {
		return fmt.Errorf("prune logs: %w", err)
	}
	return nil
}

func (l *logs) prune(ctx context.Context, before time.Time) error {
	last := minuteOf(before)
	var errs []error
	days, err := l.names(byTime)
	errs = append(errs, err)
	for _, day := range days {
		day = path.Join(byTime, day)
		if day > path.Dir(last) || day == indexComplete {
			continue
		}
		minutes, err := l.names(day)
		errs = append(errs, err)
		for _, minute := range minutes {
			if minute = path.Join(day, minute); minute > last {
				break
			}
			errs = append(errs, l.pruneMinute(ctx, minute, before))
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		_ = l.root.Remove(day) // if it is empty
	}
	return errors.Join(errs...)
}

func (l *logs) pruneMinute(ctx context.Context, minute string, before time.Time) error {
	var errs []error
	err := l.eachName(ctx, minute, func(note string) error {
		if name, ok := parseNote(note); ok {
			errs = append(errs, l.pruneOne(name, path.Join(minute, note), before))
		}
		return nil
	})
	_ = l.root.Remove(minute) // if it is empty
	return errors.Join(append(errs, err)...)
}

// pruneOne removes a folder that was not written to since before, or moves its note.
func (l *logs) pruneOne(name, note string, before time.Time) error {
	dir, err := openDir(l.root, name)
	if errors.Is(err, fs.ErrNotExist) {
		return l.root.Remove(note) // another process has removed the folder
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	last := time.Now()
	if !isLocked(unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB)) {
		if last, err = lastWrite(dir); err != nil {
			return err
		}
		if last.Before(before) {
			return errors.Join(l.root.RemoveAll(name), l.root.Remove(note))
		}
	}
	if minuteOf(last) == path.Dir(note) {
		return nil
	}
	if err := l.note(name, last); err != nil {
		return err
	}
	return l.root.Remove(note)
}

// lastWrite returns the latest modification time of a folder and its entries.
func lastWrite(dir *os.File) (time.Time, error) {
	info, err := dir.Stat()
	if err != nil {
		return time.Time{}, err
	}
	last := info.ModTime()
	entries, err := dir.ReadDir(-1)
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.ModTime().After(last) {
			last = info.ModTime()
		}
	}
	return last, err
}

// indexOldFolders adds notes, once, for folders that an older version of parkd made.
func (l *logs) indexOldFolders(ctx context.Context) error {
	if _, err := l.root.Lstat(indexComplete); err == nil {
		return nil
	}
	pools, err := l.names(".")
	if err != nil {
		return err
	}
	for _, pool := range pools {
		if pool == byTime {
			continue
		}
		err := l.eachName(ctx, pool, func(task string) error {
			name := path.Join(pool, task)
			dir, err := openDir(l.root, name)
			if err != nil || !strings.HasPrefix(task, taskPrefix) {
				return nil // not made by parkd
			}
			defer dir.Close()
			last, err := lastWrite(dir)
			if err != nil {
				return err
			}
			return l.note(name, last)
		})
		if err != nil {
			return err
		}
	}
	return l.markIndexComplete()
}

func (l *logs) markIndexComplete() error {
	if err := l.root.MkdirAll(byTime, 0o700); err != nil {
		return err
	}
	return l.root.WriteFile(indexComplete, nil, 0o600)
}

// names returns the names in a folder, in order; none if there is no such folder.
func (l *logs) names(dir string) (all []string, err error) {
	err = l.eachName(context.Background(), dir, func(name string) error {
		all = append(all, name)
		return nil
	})
	slices.Sort(all)
	return all, err
}

// eachName calls f with each name in a folder, until f returns an error or ctx ends. It calls nothing if dir is no folder.
func (l *logs) eachName(ctx context.Context, dir string, f func(name string) error) error {
	d, err := openDir(l.root, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(nameBatch)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		for _, name := range names {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := f(name); err != nil {
				return err
			}
		}
		if err != nil {
			return nil
		}
	}
}

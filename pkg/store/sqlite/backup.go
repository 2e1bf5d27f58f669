package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/parkd-dev/parkd/migrations"
)

// Backup writes the contents of a database at one moment to a new file. The file has its name only when it is complete.
// A daemon may have the database open and continues meanwhile. The database does not change.
func Backup(ctx context.Context, path, to string) error {
	path, err := filepath.EvalSymlinks(path)
	if err == nil {
		err = checkUsable(ctx, path)
	}
	if err != nil {
		return fmt.Errorf("back up: %w", err)
	}
	if _, err := os.Lstat(to); err == nil {
		return fmt.Errorf("back up: %s already exists: choose another name or move it away", to)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("back up: %w", err)
	}
	tmp, err := copyDatabase(ctx, path, to)
	if err == nil {
		err = os.Link(tmp, to) // unlike a rename, a link replaces nothing
		err = errors.Join(err, os.Remove(tmp), syncFolder(to))
	}
	if err != nil {
		return fmt.Errorf("back up %s: %w", path, err)
	}
	return nil
}

// Restored is the result of [Restore].
type Restored struct {
	ReplacedPath string // the new path of the previous database; "" if there was none
}

// Restore replaces a database by a backup, or by any database of parkd that no process has open. The previous database
// is kept under another name, with its write-ahead log. Restore refuses if a daemon has the database open, if the
// backup is damaged, and if it is from a newer parkd.
func Restore(ctx context.Context, from, path string) (r Restored, err error) {
	if err := checkUsable(ctx, from); err != nil {
		return r, fmt.Errorf("restore: %w", err)
	}
	if path, err = prepareFile(path); err != nil {
		return r, err
	}
	l, err := acquire(path)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, l.release()) }()
	if same, err := os.Stat(from); err == nil && os.SameFile(same, l.expected[0].info) {
		return r, fmt.Errorf("restore: %s is the database itself", from)
	}
	tmp, err := copyDatabase(ctx, from, path)
	if err == nil {
		r, err = replaceDatabase(tmp, path)
	}
	if err != nil {
		return r, fmt.Errorf("restore %s: %w", path, err)
	}
	return r, nil
}

// checkUsable refuses a file that is no database of parkd, that is from a newer release, or that has the log of another
// database. It is called before anything is created at the destination.
func checkUsable(ctx context.Context, from string) error {
	info, err := os.Stat(from)
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is %s, not a file", from, fileKind(info.Mode()))
	case info.Size() == 0:
		return fmt.Errorf("%s is empty", from)
	}
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	_, err = checkLeftLog(from, f)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return checkSchema(ctx, from)
}

// replaceDatabase moves a file to the place of a database. If it is interrupted after the rename, the log that remains
// does not belong to the file, and the next start reports that.
func replaceDatabase(tmp, path string) (r Restored, err error) {
	if info, err := os.Stat(path); err != nil {
		return r, err
	} else if info.Size() > 0 {
		r.ReplacedPath = path + ".replaced-" + time.Now().UTC().Format("20060102T150405.000000Z")
		if err := os.Link(path, r.ReplacedPath); err != nil {
			return Restored{}, errors.Join(err, os.Remove(tmp))
		}
	}
	if err := os.Rename(tmp, path); err != nil {
		return r, errors.Join(err, os.Remove(tmp))
	}
	if r.ReplacedPath != "" {
		err = os.Rename(path+"-wal", r.ReplacedPath+"-wal")
	} else {
		err = os.Remove(path + "-wal")
	}
	return r, errors.Join(ignoreNotExist(err), ignoreNotExist(os.Remove(path+"-shm")), syncFolder(path))
}

func ignoreNotExist(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// copyDatabase writes a copy of a database, with the contents of its log, to a new file beside another file. It checks
// the copy and returns its path.
func copyDatabase(ctx context.Context, from, beside string) (tmp string, err error) {
	tmp = beside + ".partial-" + strconv.Itoa(os.Getpid())
	if err := createFile(tmp); err != nil {
		return "", err
	}
	if err = vacuumInto(ctx, from, tmp); err == nil {
		err = errors.Join(quickCheck(ctx, tmp), checkSchema(ctx, tmp), syncFile(tmp))
	}
	for _, suffix := range []string{"-wal", "-shm", "-journal"} {
		err = errors.Join(err, ignoreNotExist(os.Remove(tmp+suffix)))
	}
	if err != nil {
		return "", errors.Join(err, os.Remove(tmp))
	}
	return tmp, nil
}

// vacuumInto copies a database in one read. The copy gets a new log mark, so no existing log belongs to it.
func vacuumInto(ctx context.Context, from, to string) error {
	db, err := sql.Open("sqlite", dataSourceName(from, "mode=ro", "busy_timeout(5000)"))
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	var mode int
	if err := db.QueryRowContext(ctx, "PRAGMA auto_vacuum").Scan(&mode); err != nil {
		return err
	}
	if mode == 0 { // this sets the mode of the copy; in any other mode it would be written to the database itself
		if _, err := db.ExecContext(ctx, "PRAGMA auto_vacuum = 2"); err != nil {
			return err
		}
	}
	if _, err := db.ExecContext(ctx, "VACUUM INTO ?", to); err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	target, err := sql.Open("sqlite", dataSourceName(to, "", "busy_timeout(5000)"))
	if err != nil {
		return err
	}
	defer target.Close()
	_, err = target.ExecContext(ctx, "PRAGMA user_version = "+strconv.Itoa(int(int32(newLogMark()))))
	return err
}

// checkSchema refuses a file that is no database of parkd or is from a newer release.
func checkSchema(ctx context.Context, path string) error {
	return inspect(ctx, path, func(s *migrations.Schema) error {
		version, err := s.Version(ctx)
		switch {
		case err != nil:
			return err
		case version == 0:
			return errors.New("it is not a database of parkd")
		case version > s.Needed():
			return &migrations.MismatchError{Found: version, Needed: s.Needed()}
		}
		return nil
	})
}

func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func syncFolder(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

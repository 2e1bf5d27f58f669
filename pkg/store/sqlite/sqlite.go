// Package sqlite is the backend that keeps everything in one file, with SQLite.
//
// One goroutine owns the only connection that writes. It takes whatever steps, deliveries and settlements
// wait and makes them durable in one transaction, so the price of the disk's flush is shared; callers are
// answered after it. Reads go over connections of their own and see what was committed, no more and no less.
// A lock beside the file keeps a second daemon out.
package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parkd-dev/parkd/migrations"
)

// Config says which file to open.
type Config struct {
	Path string // made if need be, with mode 0600
	Log  *slog.Logger
}

// Store implements [store.Store].
type Store struct {
	db        *sql.DB // reads
	writer    *writer
	lock      *lock
	pruned    pruneCursor
	closeOnce sync.Once
	closeErr  error

	trouble   atomic.Pointer[error] // see Trouble
	watchDone chan struct{}         // closed once nothing watches any more
}

// readers is how many reads run at once.
const maxReaders = 4

// Open opens the database and brings its schema up to date. It refuses a file that another process has open,
// and one whose schema is newer than this program (a *[migrations.MismatchError]).
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	path, err := prepareFile(cfg.Path)
	if err != nil {
		return nil, err
	}
	l, err := acquire(path)
	if err != nil {
		return nil, err
	}
	s, err := open(ctx, l, cfg.Log)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", path, err), l.release())
	}
	return s, nil
}

// place makes the file and the folder around it, readable by their owner alone, and returns the file's real path.
func prepareFile(path string) (string, error) {
	if path == "" {
		return "", errors.New("open database: no path is given")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("open database: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", fmt.Errorf("open database: %w", err)
	}
	// A file that is there is not opened to see that it is: see lock.release.
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = createFile(path)
	case err == nil && !info.Mode().IsRegular():
		err = fmt.Errorf("%s is %s and no file", path, fileKind(info.Mode()))
	}
	if err != nil {
		return "", fmt.Errorf("open database: %w", err)
	}
	// The lock beside the file and the write-ahead log go by the path, so one file must not have two.
	return filepath.EvalSymlinks(path)
}

func createFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

func fileKind(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "a directory"
	case m&fs.ModeNamedPipe != 0:
		return "a pipe"
	case m&fs.ModeSocket != 0:
		return "a socket"
	}
	return "a device"
}

func open(ctx context.Context, l *lock, log *slog.Logger) (*Store, error) {
	path := l.path
	hasLog, err := checkLeftLog(path, l.database)
	if err != nil {
		return nil, err
	}
	if hasLog {
		if err := checkAfterCrash(ctx, path, log); err != nil {
			return nil, err
		}
	}
	if name, err := l.nameWithLog(); err != nil || name != "" {
		return nil, cmp.Or(err, fmt.Errorf("it has another name, %s, under which its write-ahead log lies: open it by that name", name))
	}
	applied, err := migrate(ctx, path)
	if err == nil {
		err = enableAutoVacuum(ctx, path, log)
	}
	if err != nil {
		return nil, err
	}
	for _, m := range applied {
		log.Info("migration applied", "path", path, "migration", m.Name)
	}
	w, err := newWriter(ctx, l, log)
	if err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", dataSourceName(path, "mode=ro", readPragmas()...))
	if err != nil {
		return nil, errors.Join(err, w.stop())
	}
	db.SetMaxOpenConns(maxReaders)
	db.SetMaxIdleConns(maxReaders)
	s := &Store{db: db, writer: w, lock: l, watchDone: make(chan struct{})}
	w.reportFiles = s.recordTrouble
	if err := errors.Join(w.loadClocks(ctx, db), l.expectLog()); err != nil {
		return nil, errors.Join(err, db.Close(), w.stop())
	}
	go w.loop()
	go s.watch()
	return s, nil
}

// migrate brings the schema up to date and makes sure that the file's name is on the disk.
func migrate(ctx context.Context, path string) ([]migrations.Migration, error) {
	pragmas := writePragmas()
	if info, err := os.Stat(path); err == nil && info.Size() == 0 {
		// Before anything is in it, and only then: in any other file it would write something at each start.
		pragmas = append([]string{"page_size(8192)", "auto_vacuum(2)"}, pragmas...)
	}
	db, err := sql.Open("sqlite", dataSourceName(path, "_txlock=immediate", pragmas...))
	if err != nil {
		return nil, err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	schema, err := migrations.New(db, migrations.SQLite)
	if err != nil {
		return nil, err
	}
	applied, err := schema.Up(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	return applied, errors.Join(dir.Sync(), dir.Close())
}

const (
	// checkWithin bounds how long a database is checked that was not closed.
	checkTimeout = 5 * time.Second
	// rewriteUpTo is how many bytes a database may have that is rewritten at the start so that it can get smaller.
	maxRewriteBytes = 64 << 20
)

// check looks whether a database that was not closed is whole, for as long as a start may take. It changes nothing.
func checkAfterCrash(ctx context.Context, path string, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	err := quickCheck(ctx, path)
	if ctx.Err() != nil {
		log.Warn("the database was not closed, and is too large to be checked whole at the start", "path", path)
		return nil
	}
	return err
}

// quickCheck returns an error where the tables of a database are broken.
func quickCheck(ctx context.Context, path string) error {
	db, err := sql.Open("sqlite", dataSourceName(path, "mode=ro", readPragmas()...))
	if err != nil {
		return err
	}
	defer db.Close()
	var result string
	if err := db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&result); err != nil {
		return fmt.Errorf("check the database: %w", err)
	}
	if result != "ok" {
		return fmt.Errorf("the database is damaged (%s): bring a backup back with 'parkd restore'", result)
	}
	return nil
}

// shrinkable sees to it that free pages can be given back (see tidy), for which a database made by an older release has to
// be written anew. A large one stays as it is until somebody does that with 'parkd backup' and 'parkd restore'.
func enableAutoVacuum(ctx context.Context, path string, log *slog.Logger) error {
	db, err := sql.Open("sqlite", dataSourceName(path, "_txlock=immediate", writePragmas()...))
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	var mode, pages, size int64
	for query, dest := range map[string]*int64{"auto_vacuum": &mode, "page_count": &pages, "page_size": &size} {
		if err := db.QueryRowContext(ctx, "PRAGMA "+query).Scan(dest); err != nil {
			return err
		}
	}
	if mode == 2 || pages*size > maxRewriteBytes {
		return nil
	}
	if _, err := db.ExecContext(ctx, "PRAGMA auto_vacuum = 2; VACUUM"); err != nil {
		log.Warn("the database keeps its size", "path", path, "error", err)
	}
	return nil
}

// source returns the data source name of a file.
func dataSourceName(path, mode string, pragmas ...string) string {
	var q strings.Builder
	q.WriteString(mode)
	for _, p := range pragmas {
		q.WriteString("&_pragma=" + url.QueryEscape(p))
	}
	u := url.URL{Scheme: "file", Path: path, RawQuery: q.String()}
	if !filepath.IsAbs(path) { // or its first part would be taken for a host
		u.Opaque = u.EscapedPath()
	}
	return u.String()
}

func writePragmas() []string {
	return []string{
		"busy_timeout(" + strconv.Itoa(busyTimeout) + ")", "page_size(8192)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(0)",
		"mmap_size(0)", "temp_store(MEMORY)", "cache_size(-16384)", "journal_size_limit(67108864)",
		"wal_autocheckpoint(0)", // see checkpoint.go
	}
}

func readPragmas() []string {
	return []string{"busy_timeout(5000)", "query_only(1)", "mmap_size(0)", "temp_store(MEMORY)", "cache_size(-4096)"}
}

// Close finishes what was asked for, folds the write-ahead log into the file and lets go of the lock.
// What is asked for later is refused.
func (s *Store) Close() error {
	s.closeOnce.Do(func() {
		// The writer goes last: a connection that only reads could not remove the write-ahead log.
		s.closeErr = errors.Join(s.db.Close(), s.writer.drainAndStop())
		<-s.watchDone
		s.closeErr = errors.Join(s.closeErr, s.lock.release())
	})
	return s.closeErr
}

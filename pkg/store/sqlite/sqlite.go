// Package sqlite is the store that keeps everything in one SQLite file.
//
// One goroutine owns the only connection that writes. It puts all waiting steps, deliveries and acknowledgements into
// one transaction, so that they share the cost of the flush, and answers the callers afterwards. Reads use connections
// of their own and see exactly what was committed. A lock beside the file keeps a second daemon out.
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

// Config is the configuration of a store.
type Config struct {
	Path string // created with mode 0600 if it does not exist
	Log  *slog.Logger
}

// Store implements [store.Store].
type Store struct {
	db        *sql.DB // for reads
	writer    *writer
	lock      *lock
	pruned    pruneCursor
	closeOnce sync.Once
	closeErr  error

	trouble   atomic.Pointer[error] // see StorageError
	watchDone chan struct{}         // closed when watch has returned
}

// maxReaders is how many reads run at once.
const maxReaders = 4

// Open opens the database and brings its schema up to date. It refuses a file that another process has open. It also
// refuses a schema that is newer than this program, with a *[migrations.MismatchError].
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

// prepareFile creates the file and its folder, readable by their owner only. It returns the file's real path.
func prepareFile(path string) (string, error) {
	if path == "" {
		return "", errors.New("open database: no path given")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("open database: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", fmt.Errorf("open database: %w", err)
	}
	// Do not open an existing file to see whether it exists: see lock.release.
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = createFile(path)
	case err == nil && !info.Mode().IsRegular():
		err = fmt.Errorf("%s is %s, not a file", path, fileKind(info.Mode()))
	}
	if err != nil {
		return "", fmt.Errorf("open database: %w", err)
	}
	// The names of the lock file and of the write-ahead log follow from the path, so each file must have one path.
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
		return nil, cmp.Or(err, fmt.Errorf("another name of the database, %s, has its write-ahead log: open it by that name", name))
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

// migrate brings the schema up to date and flushes the folder that has the file's name.
func migrate(ctx context.Context, path string) ([]migrations.Migration, error) {
	pragmas := writePragmas()
	if info, err := os.Stat(path); err == nil && info.Size() == 0 {
		// These two pragmas are for an empty file only. In any other file they would write at each start.
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
	// checkTimeout limits the check of a database that was not closed.
	checkTimeout = 5 * time.Second
	// maxRewriteBytes is the largest size of a database that is rewritten at the start so that it can shrink.
	maxRewriteBytes = 64 << 20
)

// checkAfterCrash checks a database that was not closed, within the time that a start may take. It changes nothing.
func checkAfterCrash(ctx context.Context, path string, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	err := quickCheck(ctx, path)
	if ctx.Err() != nil {
		log.Warn("the database was not closed and is too large for a complete check at the start", "path", path)
		return nil
	}
	return err
}

// quickCheck returns an error if the tables of a database are damaged.
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
		return fmt.Errorf("the database is damaged (%s): restore a backup with 'parkd restore'", result)
	}
	return nil
}

// enableAutoVacuum makes it possible to give free pages back (see tidy). A database that an older release made has to
// be rewritten for that. A large one is left as it is, until an operator does 'parkd backup' and 'parkd restore'.
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
		log.Warn("the database cannot shrink", "path", path, "error", err)
	}
	return nil
}

// dataSourceName returns the data source name of a file.
func dataSourceName(path, mode string, pragmas ...string) string {
	var q strings.Builder
	q.WriteString(mode)
	for _, p := range pragmas {
		q.WriteString("&_pragma=" + url.QueryEscape(p))
	}
	u := url.URL{Scheme: "file", Path: path, RawQuery: q.String()}
	if !filepath.IsAbs(path) { // without this the first part of the path would be taken for a host
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

// Close completes all accepted work, writes the write-ahead log into the file and releases the lock. Later calls are
// refused.
func (s *Store) Close() error {
	s.closeOnce.Do(func() {
		// The writer is closed last, because a read-only connection could not remove the write-ahead log.
		s.closeErr = errors.Join(s.db.Close(), s.writer.drainAndStop())
		<-s.watchDone
		s.closeErr = errors.Join(s.closeErr, s.lock.release())
	})
	return s.closeErr
}

// Package migrations holds the SQL that makes the databases of parkd and changes them from one release to the
// next, and runs it. A database remembers in its table pl_migrations which files were applied.
package migrations

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/pressly/goose/v3"
)

//go:embed sqlite/*.sql postgres/*.sql
var files embed.FS

// table is where a database keeps what was applied to it.
const table = "pl_migrations"

// Dialect is a kind of database.
type Dialect string

// The dialects; each has a folder of its name.
const (
	SQLite   Dialect = "sqlite"
	Postgres Dialect = "postgres"
)

// Migration is one file of SQL, with the way there and back.
type Migration struct {
	Version   int64
	Name      string    // of the file
	AppliedAt time.Time // zero: not applied
}

// Schema is the schema of one database.
type Schema struct {
	// Flags are those of parkd migrate that lead to the database, for errors that name the command.
	Flags string

	db       *sql.DB
	dialect  Dialect
	provider *goose.Provider
}

// MismatchError says that a database has another schema than this program needs.
type MismatchError struct {
	Found  int64 // the database's version; 0 for an empty one
	Needed int64 // the program's
	// Flags are those of parkd migrate that lead to the database, with a space before each.
	Flags string
}

// Newer reports whether the database is ahead of the program.
func (e *MismatchError) Newer() bool { return e.Found > e.Needed }

// Error implements error.
func (e *MismatchError) Error() string {
	if e.Newer() {
		return fmt.Sprintf("the database has schema version %d, made by a newer parkd; this one knows versions up to %d and does not downgrade it: "+
			"run the newer parkd, or have it take the schema back with \"parkd migrate down%s\"", e.Found, e.Needed, e.Flags)
	}
	return fmt.Sprintf("the database has schema version %d but this parkd needs %d: run \"parkd migrate up%s\"", e.Found, e.Needed, e.Flags)
}

// New returns the schema of db. It does not touch the database.
func New(db *sql.DB, d Dialect) (*Schema, error) {
	dir, err := fs.Sub(files, string(d))
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	options := []goose.ProviderOption{goose.WithTableName(table), goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger())}
	p, err := goose.NewProvider(d.goose(), db, dir, options...)
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	return &Schema{db: db, dialect: d, provider: p}, nil
}

func (d Dialect) goose() goose.Dialect {
	if d == SQLite {
		return goose.DialectSQLite3
	}
	return goose.Dialect(d)
}

// Needed returns the version that this program works with.
func (s *Schema) Needed() int64 {
	sources := s.provider.ListSources()
	return sources[len(sources)-1].Version
}

// Status lists the known migrations, and those that only the database knows, by version. It writes nothing.
func (s *Schema) Status(ctx context.Context) ([]Migration, error) {
	applied, err := s.applied(ctx, s.db)
	if err != nil {
		return nil, fmt.Errorf("read schema version: %w", err)
	}
	var all []Migration
	for _, src := range s.provider.ListSources() {
		m := Migration{Version: src.Version, Name: src.Path}
		for len(applied) > 0 && applied[0].Version <= m.Version {
			if applied[0].Version == m.Version {
				m.AppliedAt = applied[0].AppliedAt
			}
			applied = applied[1:]
		}
		all = append(all, m)
	}
	return append(all, applied...), nil
}

// Version returns the database's version; 0 for an empty one. It writes nothing.
func (s *Schema) Version(ctx context.Context) (int64, error) {
	applied, err := s.applied(ctx, s.db)
	if err != nil || len(applied) == 0 {
		return 0, err
	}
	return applied[len(applied)-1].Version, nil
}

// Check returns a *[MismatchError] where the database is not at the version that this program needs.
func (s *Schema) Check(ctx context.Context) error {
	found, err := s.Version(ctx)
	if err != nil {
		return fmt.Errorf("read schema version: %w", err)
	}
	if needed := s.Needed(); found != needed {
		return &MismatchError{Found: found, Needed: needed, Flags: s.Flags}
	}
	return nil
}

// Pending lists what Up would apply, in order. A database that is ahead is a *[MismatchError].
func (s *Schema) Pending(ctx context.Context) ([]Migration, error) {
	var mismatch *MismatchError
	if err := s.Check(ctx); err == nil || !errors.As(err, &mismatch) || mismatch.Newer() {
		return nil, err
	}
	all, err := s.Status(ctx)
	var pending []Migration
	for _, m := range all {
		if m.AppliedAt.IsZero() {
			pending = append(pending, m)
		}
	}
	return pending, err
}

// Up brings the database to the version that this program needs and returns what it applied.
// A database that is ahead is left alone, with a *[MismatchError].
func (s *Schema) Up(ctx context.Context) (done []Migration, err error) {
	err = s.withLock(ctx, func() error {
		if pending, err := s.Pending(ctx); err != nil || len(pending) == 0 {
			return err
		}
		results, err := s.provider.Up(ctx)
		if err != nil {
			return fmt.Errorf("migrate up: %w", err)
		}
		done = s.appliedOf(results)
		return nil
	})
	return done, err
}

const (
	// lockKey is any number that nobody else on the database takes.
	lockKey = 0x7061726b64 // parkd
	// lockWithin is how long one waits for another who migrates, and lockRest how long between two looks.
	lockTimeout       = time.Minute
	lockRetryInterval = 100 * time.Millisecond
)

// alone calls change while no other node migrates the same database; of a file the OS lock sees to that. The lock is a
// transaction's and not a session's, for a pooler may give the next transaction another session; and who waits for it
// holds none, for a pooler may have few.
func (s *Schema) withLock(ctx context.Context, change func() error) error {
	if s.dialect != Postgres {
		return change()
	}
	tx, err := s.waitForLock(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // nothing was done in it
	return change()
}

// await returns a transaction that has the lock.
func (s *Schema) waitForLock(ctx context.Context) (*sql.Tx, error) {
	for began := time.Now(); ; {
		tx, err := s.tryLock(ctx)
		if err != nil {
			return nil, fmt.Errorf("lock the schema: %w", err)
		}
		if tx != nil {
			return tx, nil
		}
		if time.Since(began) > lockTimeout {
			return nil, fmt.Errorf("lock the schema: another process has held the lock for %s", lockTimeout)
		}
		select {
		case <-time.After(lockRetryInterval):
		case <-ctx.Done():
			return nil, fmt.Errorf("lock the schema: %w", ctx.Err())
		}
	}
}

// lock returns a transaction that has the lock, or nil.
func (s *Schema) tryLock(ctx context.Context) (*sql.Tx, error) {
	tx, err := s.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted}) // sees what was committed while it waits
	if err != nil {
		return nil, err
	}
	var got bool
	err = tx.QueryRowContext(ctx, "SELECT pg_try_advisory_xact_lock($1)", lockKey).Scan(&got)
	if err != nil || !got {
		return nil, errors.Join(err, tx.Rollback())
	}
	return tx, nil
}

func (s *Schema) appliedOf(results []*goose.MigrationResult) []Migration {
	all := make([]Migration, len(results))
	for i, r := range results {
		all[i] = Migration{Version: r.Source.Version, Name: r.Source.Path}
	}
	return all
}

// querier is a database or a transaction on it.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// applied lists what the database says was applied to it, by version.
func (s *Schema) applied(ctx context.Context, db querier) ([]Migration, error) {
	if exists, err := s.exists(ctx, db, table); err != nil || !exists {
		return nil, err
	}
	rows, err := db.QueryContext(ctx, "SELECT version_id, tstamp FROM "+table+" WHERE version_id > 0 ORDER BY version_id")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []Migration
	for rows.Next() {
		var m Migration
		if err := rows.Scan(&m.Version, &m.AppliedAt); err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, rows.Err()
}

// exists reports whether there is a table or a view of a name.
func (s *Schema) exists(ctx context.Context, db querier, name string) (bool, error) {
	query := "SELECT count(*) FROM sqlite_master WHERE type IN ('table', 'view') AND name = '" + name + "'"
	if s.dialect != SQLite {
		query = "SELECT count(*) FROM (SELECT to_regclass('" + name + "') AS t) x WHERE t IS NOT NULL"
	}
	var n int
	err := db.QueryRowContext(ctx, query).Scan(&n)
	return n > 0, err
}

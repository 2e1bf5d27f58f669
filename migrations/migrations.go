// Package migrations has the SQL that creates parkd's databases and changes them from release to release, and applies
// it. The table pl_migrations of a database has the files that were applied.
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

// table has the migrations that were applied to a database.
const table = "pl_migrations"

// Dialect is a kind of database.
type Dialect string

// The dialects. Each has a folder of its name.
const (
	SQLite   Dialect = "sqlite"
	Postgres Dialect = "postgres"
)

// Migration is one file of SQL, with the statements for both directions.
type Migration struct {
	Version   int64
	Name      string    // of the file
	AppliedAt time.Time // zero: not applied
}

// Schema is the schema of one database.
type Schema struct {
	// Flags are the flags with which parkd migrate finds the database. Errors name them.
	Flags string

	db       *sql.DB
	dialect  Dialect
	provider *goose.Provider
}

// MismatchError says that a database does not have the schema that this program needs.
type MismatchError struct {
	Found  int64 // the version of the database; 0 for an empty one
	Needed int64 // the version that the program needs
	// Flags are the flags with which parkd migrate finds the database, with a space before each.
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

// Needed returns the version that this program needs.
func (s *Schema) Needed() int64 {
	sources := s.provider.ListSources()
	return sources[len(sources)-1].Version
}

// Status returns the known migrations and those that only the database has, by version. It writes nothing.
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

// Check returns a *[MismatchError] if the database does not have the version that this program needs.
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

// Pending returns the migrations that Up would apply, in order. If the database is ahead, the error is a
// *[MismatchError].
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

// Up brings the database to the version that this program needs and returns the applied migrations. If the database is
// ahead, it changes nothing, and the error is a *[MismatchError].
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
	// lockKey is an arbitrary number that no other user of the database is likely to lock.
	lockKey = 0x7061726b64 // parkd
	// lockTimeout is how long to wait for another process that migrates. lockRetryInterval is the time between two
	// attempts.
	lockTimeout       = time.Minute
	lockRetryInterval = 100 * time.Millisecond
)

// withLock calls change while no other node migrates the same database. For a file the file's lock does that. The lock
// belongs to a transaction and not to a session, because a pooler may give the next transaction another session. A
// process that waits for the lock has no transaction open, because a pooler may have few sessions.
func (s *Schema) withLock(ctx context.Context, change func() error) error {
	if s.dialect != Postgres {
		return change()
	}
	tx, err := s.waitForLock(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // the transaction has changed nothing
	return change()
}

// waitForLock returns a transaction that has the lock.
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

// tryLock returns a transaction that has the lock, or nil.
func (s *Schema) tryLock(ctx context.Context) (*sql.Tx, error) {
	tx, err := s.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted}) // sees what others commit during the wait
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

// applied returns the migrations that the database has, by version.
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

package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/parkd-dev/parkd/migrations"
)

// MigrationStatus lists the schema changes that the program and the database know. It writes nothing; a file
// that does not exist has none applied.
func MigrationStatus(ctx context.Context, path string) (all []migrations.Migration, err error) {
	err = inspect(ctx, path, func(s *migrations.Schema) error {
		all, err = s.Status(ctx)
		return err
	})
	return all, err
}

// MigrateUp brings the schema up to date, as [Open] does, and returns what it applied, or with dryRun what it
// would apply. It refuses a database that a daemon has open.
func MigrateUp(ctx context.Context, path string, dryRun bool) (all []migrations.Migration, err error) {
	if dryRun {
		err = inspect(ctx, path, func(s *migrations.Schema) error {
			all, err = s.Pending(ctx)
			return err
		})
		return all, err
	}
	err = withLock(path, func(path string) error {
		all, err = migrate(ctx, path)
		return err
	})
	return all, err
}

// MigrateDown takes back the last schema change, with the data that only it had room for, and returns it, or with DryRun
// what it would take back; nil where there is nothing. It refuses a database that a daemon has open, and without Force one
// that would lose rows, with a *[migrations.LossError].
func MigrateDown(ctx context.Context, path string, b migrations.DownOptions) (last *migrations.RolledBack, err error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	err = withLock(path, func(path string) error {
		return withSchema(dataSourceName(path, "_txlock=immediate", writePragmas()...), func(s *migrations.Schema) error {
			last, err = s.Down(ctx, b)
			return err
		})
	})
	return last, err
}

// inspect looks at the schema of a file, or of an empty database where there is no file.
func inspect(_ context.Context, path string, use func(*migrations.Schema) error) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	dsn := dataSourceName(path, "mode=ro", readPragmas()...)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		dsn = ":memory:"
	}
	if err := withSchema(dsn, use); err != nil {
		return fmt.Errorf("database %s: %w", path, err)
	}
	return nil
}

// alter changes a file under its lock.
func withLock(path string, change func(path string) error) error {
	path, err := prepareFile(path)
	if err != nil {
		return err
	}
	l, err := acquire(path)
	if err != nil {
		return err
	}
	if err := change(path); err != nil {
		return errors.Join(fmt.Errorf("database %s: %w", path, err), l.release())
	}
	return l.release()
}

func withSchema(dsn string, use func(*migrations.Schema) error) error {
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	s, err := migrations.New(db, migrations.SQLite)
	if err != nil {
		return err
	}
	return use(s)
}

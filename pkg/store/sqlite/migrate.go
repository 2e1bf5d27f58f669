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

// MigrationStatus lists the migrations that the program and the database know. It writes nothing. In a file that does
// not exist none is applied.
func MigrationStatus(ctx context.Context, path string) (all []migrations.Migration, err error) {
	err = inspect(ctx, path, func(s *migrations.Schema) error {
		all, err = s.Status(ctx)
		return err
	})
	return all, err
}

// MigrateUp brings the schema up to date, as [Open] does. It returns the migrations that it applied or, with dryRun,
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

// MigrateDown rolls back the last migration, with the data that only that migration has room for. It returns the
// migration, or nil if there is none. With DryRun it changes nothing. It refuses a database that a daemon has open.
// Without Force it refuses to delete rows, with a *[migrations.DataLossError].
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

// inspect opens the schema of a file, or of an empty database if there is no file.
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

// withLock changes a file under its lock.
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

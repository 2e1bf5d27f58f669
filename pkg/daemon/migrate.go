package daemon

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/parkd-dev/parkd/migrations"
	"github.com/parkd-dev/parkd/pkg/config"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store/postgres"
	"github.com/parkd-dev/parkd/pkg/store/sqlite"
)

// Direction says what to do with a schema.
type Direction string

// The directions.
const (
	Up     Direction = "up"     // apply all pending migrations
	Down   Direction = "down"   // roll back the last migration, with the data that only it can hold
	Status Direction = "status" // change nothing
)

// Migration is a migration of a backend's schema.
type Migration struct {
	Backend park.Backend
	migrations.Migration
	Gone []migrations.DeletedRows // the rows that were deleted, or would be
}

// MigrateOptions say what to do with the schema of all databases.
type MigrateOptions struct {
	To     Direction
	DryRun bool // change nothing
	Force  bool // roll back even if that deletes rows
}

// Migrate migrates the backends that the configuration uses and returns the migrations: those applied or rolled back,
// with DryRun those that would be, and for Status all known ones. No daemon may have the file open. If one of the
// databases refuses a rollback, none is rolled back: see [migrations.InUseError] and [migrations.LossError].
func Migrate(ctx context.Context, c *config.Config, o MigrateOptions) ([]Migration, error) {
	if o.To == Down && !o.DryRun && len(c.Backends()) > 1 {
		trial := o
		trial.DryRun = true
		if _, err := Migrate(ctx, c, trial); err != nil {
			return nil, err
		}
	}
	var all []Migration
	for _, b := range c.Backends() {
		changes, err := migrate(ctx, c, b, o)
		if err != nil {
			return nil, fmt.Errorf("migrate: %w", addMigrateFlags(err, c, b))
		}
		for _, m := range changes {
			m.Backend = b
			all = append(all, m)
		}
	}
	return all, nil
}

func migrate(ctx context.Context, c *config.Config, b park.Backend, o MigrateOptions) ([]Migration, error) {
	switch b.Kind() {
	case park.InMemory:
	case park.Postgres:
		if o.To == Down {
			return downResult(postgres.MigrateDown(ctx, c.DSN(b), migrations.DownOptions{DryRun: o.DryRun, Force: o.Force}))
		}
		return changes(migratePostgres(ctx, c.DSN(b), o))
	case park.File:
		if o.To == Down {
			return downResult(sqlite.MigrateDown(ctx, c.File.Path, migrations.DownOptions{DryRun: o.DryRun, Force: o.Force}))
		}
		return changes(migrateFile(ctx, c.File.Path, o))
	}
	return nil, nil
}

func downResult(m *migrations.RolledBack, err error) ([]Migration, error) {
	if err != nil || m == nil {
		return nil, err
	}
	return []Migration{{Migration: m.Migration, Gone: m.Deleted}}, nil
}

func changes(found []migrations.Migration, err error) ([]Migration, error) {
	all := make([]Migration, len(found))
	for i, m := range found {
		all[i].Migration = m
	}
	return all, err
}

func migratePostgres(ctx context.Context, dsn string, o MigrateOptions) ([]migrations.Migration, error) {
	if o.To == Up {
		return postgres.MigrateUp(ctx, dsn, o.DryRun)
	}
	return postgres.MigrationStatus(ctx, dsn)
}

func migrateFile(ctx context.Context, path string, o MigrateOptions) ([]migrations.Migration, error) {
	if o.To == Up {
		return sqlite.MigrateUp(ctx, path, o.DryRun)
	}
	return sqlite.MigrationStatus(ctx, path)
}

// addMigrateFlags adds flags to an error that mentions parkd migrate, so that the command applies to this backend's
// database only.
func addMigrateFlags(err error, c *config.Config, b park.Backend) error {
	if mismatch, ok := errors.AsType[*migrations.MismatchError](err); ok {
		mismatch.Flags = migrateFlags(c, b)
	}
	return err
}

// migrateFlags returns the flags of parkd migrate for the database of a backend, each with a space before it, and
// without a password.
func migrateFlags(c *config.Config, b park.Backend) string {
	const main = "backends.postgres.dsn"
	place := c.DSNPath(b)
	switch {
	case b.Kind() == park.File:
		return " --db " + quoted(absolute(c.File.Path))
	case c.Source != "" && (place == main || place == "PARKD_POSTGRES_DSN" || b != park.Postgres):
		return " --config " + quoted(absolute(c.Source))
	case place == "PARKD_POSTGRES_DSN":
		return ""
	}
	return " --dsn " + quoted(postgres.DescribeDSN(c.DSN(b)))
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// quoted returns text as one word of a shell.
func quoted(text string) string {
	if regexp.MustCompile(`^[A-Za-z0-9_./:@%+,=-]+$`).MatchString(text) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

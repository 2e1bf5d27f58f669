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

// Direction says what is to become of a schema.
type Direction string

// The directions.
const (
	Up     Direction = "up"     // to what this program needs
	Down   Direction = "down"   // one change back, with the data that only it had room for
	Status Direction = "status" // nothing
)

// Migration is a change of a backend's schema.
type Migration struct {
	Backend park.Backend
	migrations.Migration
}

// Migrate changes the schema of the backends that the configuration uses and returns the changes: those made,
// with dryRun those that would be made, and for Status all that are known. No daemon may have the file open.
func Migrate(ctx context.Context, c *config.Config, to Direction, dryRun bool) ([]Migration, error) {
	var all []Migration
	for _, b := range c.Backends() {
		var changes []migrations.Migration
		var err error
		switch b.Kind() {
		case park.InMemory:
		case park.Postgres:
			changes, err = migratePostgres(ctx, c.DSN(b), to, dryRun)
		case park.File:
			changes, err = migrateFile(ctx, c.File.Path, to, dryRun)
		}
		if err != nil {
			return nil, fmt.Errorf("migrate: %w", wayOut(err, c, b))
		}
		for _, m := range changes {
			all = append(all, Migration{b, m})
		}
	}
	return all, nil
}

// wayOut has an error that names parkd migrate name it so that it changes the database of a backend and no other.
func wayOut(err error, c *config.Config, b park.Backend) error {
	if wrong, ok := errors.AsType[*migrations.MismatchError](err); ok {
		wrong.Flags = migrateFlags(c, b)
	}
	return err
}

// migrateFlags returns the flags of parkd migrate that lead to the database of a backend, with a space before each. A
// password is not among them.
func migrateFlags(c *config.Config, b park.Backend) string {
	const main = "backends.postgres.dsn"
	place := c.DSNPlace(b)
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

// quoted returns text as a shell takes it for one word.
func quoted(text string) string {
	if regexp.MustCompile(`^[A-Za-z0-9_./:@%+,=-]+$`).MatchString(text) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

func migratePostgres(ctx context.Context, dsn string, to Direction, dryRun bool) ([]migrations.Migration, error) {
	switch to {
	case Up:
		return postgres.MigrateUp(ctx, dsn, dryRun)
	case Down:
		last, err := postgres.MigrateDown(ctx, dsn, dryRun)
		if err != nil || last == nil {
			return nil, err
		}
		return []migrations.Migration{*last}, nil
	case Status:
	}
	return postgres.MigrationStatus(ctx, dsn)
}

func migrateFile(ctx context.Context, path string, to Direction, dryRun bool) ([]migrations.Migration, error) {
	switch to {
	case Up:
		return sqlite.MigrateUp(ctx, path, dryRun)
	case Down:
		last, err := sqlite.MigrateDown(ctx, path, dryRun)
		if err != nil || last == nil {
			return nil, err
		}
		return []migrations.Migration{*last}, nil
	case Status:
	}
	return sqlite.MigrationStatus(ctx, path)
}

package daemon

import (
	"context"
	"errors"
	"fmt"

	"github.com/parkd-dev/parkd/migrations"
	"github.com/parkd-dev/parkd/pkg/config"
	"github.com/parkd-dev/parkd/pkg/park"
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

// ErrNoPostgres says that a database is meant which this build cannot reach.
var ErrNoPostgres = errors.New("this build has no Postgres backend: it keeps its data in memory or in a file")

// Migrate changes the schema of the backends that the configuration uses and returns the changes: those made,
// with dryRun those that would be made, and for Status all that are known. No daemon may have the file open.
func Migrate(ctx context.Context, c *config.Config, to Direction, dryRun bool) ([]Migration, error) {
	var all []Migration
	for _, b := range c.Backends() {
		switch b {
		case park.InMemory:
		case park.Postgres:
			return nil, ErrNoPostgres
		case park.File:
			changes, err := migrateFile(ctx, c.File.Path, to, dryRun)
			if err != nil {
				return nil, fmt.Errorf("migrate: %w", err)
			}
			for _, m := range changes {
				all = append(all, Migration{b, m})
			}
		}
	}
	return all, nil
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

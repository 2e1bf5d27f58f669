package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/parkd-dev/parkd/migrations"
)

// MigrationStatus lists the migrations that the program and the database know. It writes nothing.
func MigrationStatus(ctx context.Context, dsn string) (all []migrations.Migration, err error) {
	err = schema(ctx, dsn, func(s *migrations.Schema) error {
		all, err = s.Status(ctx)
		return err
	})
	return all, err
}

// MigrateUp brings the schema up to date. It returns the migrations that it applied or, with dryRun, would apply. If
// two nodes call it at the same time, one waits for the other.
func MigrateUp(ctx context.Context, dsn string, dryRun bool) (all []migrations.Migration, err error) {
	err = schema(ctx, dsn, func(s *migrations.Schema) error {
		if dryRun {
			all, err = s.Pending(ctx)
		} else {
			all, err = s.Up(ctx)
		}
		return err
	})
	return all, err
}

// MigrateDown rolls back the last migration, with the data that only that migration has room for. It returns the
// migration, or nil if there is none. With DryRun it changes nothing. It refuses a database that daemons use, with a
// *[migrations.InUseError]. Without Force it refuses to delete rows, with a *[migrations.DataLossError].
func MigrateDown(ctx context.Context, dsn string, b migrations.DownOptions) (last *migrations.RolledBack, err error) {
	cfg, err := parse(dsn)
	if err != nil {
		return nil, err
	}
	b.AppNames = append(b.AppNames, defaultAppName, cfg.ConnConfig.RuntimeParams["application_name"])
	err = schema(ctx, dsn, func(s *migrations.Schema) error {
		last, err = s.Down(ctx, b)
		return err
	})
	return last, err
}

func schema(ctx context.Context, dsn string, use func(*migrations.Schema) error) error {
	cfg, err := parse(dsn)
	if err != nil {
		return err
	}
	cfg.ConnConfig.RuntimeParams["application_name"] = defaultAppName + " migrate" // this process must not count as a daemon
	db := stdlib.OpenDB(*cfg.ConnConfig)
	defer db.Close()
	s, err := migrations.New(db, migrations.Postgres)
	if err != nil {
		return err
	}
	var enc string
	if err = db.QueryRowContext(ctx, "SELECT pg_catalog.current_setting('server_encoding')").Scan(&enc); err == nil {
		err = checkEncoding(enc)
	}
	if err == nil {
		err = use(s)
	}
	if unreachable, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		err = errors.New(unreachable.Error()) // without the type, for which the caller would report an unreachable daemon
	}
	if err != nil {
		return fmt.Errorf("database %s at %s: %w", cfg.ConnConfig.Database, cfg.ConnConfig.Host, err)
	}
	return nil
}

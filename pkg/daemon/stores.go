package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/parkd-dev/parkd/migrations"
	"github.com/parkd-dev/parkd/pkg/config"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/memory"
	"github.com/parkd-dev/parkd/pkg/store/postgres"
	"github.com/parkd-dev/parkd/pkg/store/sqlite"
)

// stores are the backends that the configuration uses.
type stores map[park.Backend]store.Store

func openStores(ctx context.Context, c *config.Config, log *slog.Logger) (stores, error) {
	all := make(stores)
	for _, b := range c.Backends() {
		s, err := openStore(ctx, b, c, log)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open backend %s: %w", b, err), all.close())
		}
		all[b] = s
	}
	return all, nil
}

func openStore(ctx context.Context, b park.Backend, c *config.Config, log *slog.Logger) (store.Store, error) {
	switch b.Kind() {
	case park.InMemory:
		return memory.New(), nil
	case park.File:
		s, err := sqlite.Open(ctx, sqlite.Config{Path: c.File.Path, Log: log})
		if err != nil {
			return nil, addMigrateFlags(err, c, b)
		}
		return s, nil
	case park.Postgres:
		s, err := postgres.Open(postgres.Config{DSN: c.DSN(b), MigrateFlags: migrateFlags(c, b), Log: log})
		if err != nil {
			return nil, config.Faults{{Path: c.DSNPath(b), Problem: err.Error()}}
		}
		return s, checkPostgres(ctx, s, log)
	}
	return nil, errors.New("unknown kind of backend")
}

// warnUnused warns if a flag or the environment names a Postgres database that nothing uses. A configuration file may
// name one for later.
func warnUnused(c *config.Config, log *slog.Logger) {
	place := c.DSNPath(park.Postgres)
	if c.Postgres.DSN == "" || place == "backends.postgres.dsn" || slices.Contains(c.Backends(), park.Postgres) {
		return
	}
	file := c.Source
	if file == "" {
		file = "none"
	}
	log.Warn("a Postgres database is configured but not used: in a configuration file, set audit and the queue and mailbox of the pools to postgres",
		"given_by", place, "config", file, "kept_in", c.Backends())
}

// checkPostgres checks a database. The daemon waits for one that is unavailable; it refuses only one with a wrong
// schema or settings.
func checkPostgres(ctx context.Context, s *postgres.Store, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, postgresCheckTimeout)
	defer cancel()
	err := s.Check(ctx)
	_, mismatched := errors.AsType[*migrations.MismatchError](err)
	_, unfit := errors.AsType[*postgres.UnfitError](err)
	if mismatched || unfit {
		return errors.Join(err, s.Close())
	}
	if err != nil {
		log.Warn("postgres is not available yet; will try again", "error", err)
	}
	return nil
}

// postgresCheckTimeout bounds how long a start waits for a database.
const postgresCheckTimeout = 5 * time.Second

// shared lists the queue backends that other daemons may use too.
func shared(c *config.Config) (all []park.Backend) {
	for _, p := range c.Pools {
		if p.Queue.Kind() == park.Postgres && !slices.Contains(all, p.Queue) {
			all = append(all, p.Queue)
		}
	}
	return all
}

func (s stores) close() error {
	var errs []error
	for _, one := range s {
		errs = append(errs, one.Close())
	}
	return errors.Join(errs...)
}

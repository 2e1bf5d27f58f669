package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/parkd-dev/parkd/pkg/config"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/memory"
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
	switch b {
	case park.InMemory:
		return memory.New(), nil
	case park.File:
		return sqlite.Open(ctx, sqlite.Config{Path: c.File.Path, Log: log})
	case park.Postgres:
	}
	return nil, errors.New("this build has none of this kind: use in_memory or file")
}

func (s stores) close() error {
	var errs []error
	for _, one := range s {
		errs = append(errs, one.Close())
	}
	return errors.Join(errs...)
}

package daemon

import (
	"context"
	"errors"
	"log/slog"

	"github.com/parkd-dev/parkd/pkg/config"
	"github.com/parkd-dev/parkd/pkg/engine"
)

// parts are opened once the daemon listens, because that may take a minute: a pool may hold a million tasks.
type parts struct {
	stores    stores
	executors *executors
	meter     *meter
	engine    *engine.Engine
}

// openParts opens all parts, or none.
func openParts(ctx context.Context, c *config.Config, log *slog.Logger) (p *parts, err error) {
	p = &parts{meter: newMeter()}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	if p.stores, err = openStores(ctx, c, log); err != nil {
		return p, err
	}
	if p.executors, err = newExecutors(c, log); err != nil {
		return p, err
	}
	if err := p.executors.waitForOrphans(ctx); err != nil {
		return p, err
	}
	ec := engineConfig(c)
	ec.Pools, ec.Stores, ec.Meter, ec.Log = p.executors.pools, p.stores, p.meter, log
	p.engine, err = engine.Open(ctx, *ec)
	return p, err
}

// close closes all open parts but the engine, which is closed before.
func (p *parts) close() error {
	var err error
	if p.executors != nil {
		err = p.executors.close()
	}
	return errors.Join(err, p.stores.close())
}

package daemon

import (
	"context"
	"errors"
	"log/slog"

	"github.com/parkd-dev/parkd/pkg/config"
	"github.com/parkd-dev/parkd/pkg/engine"
)

// parts are what a daemon opens once it listens. That may take a minute: a pool may hold a million tasks.
type parts struct {
	stores stores
	crew   *crew
	meter  *meter
	engine *engine.Engine
}

// openParts opens them all, or none.
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
	if p.crew, err = hire(c, log); err != nil {
		return p, err
	}
	if err := p.crew.settle(ctx); err != nil {
		return p, err
	}
	ec := engineConfig(c)
	ec.Pools, ec.Stores, ec.Meter, ec.Log = p.crew.pools, p.stores, p.meter, log
	p.engine, err = engine.Open(ctx, *ec)
	return p, err
}

// close closes what is open. The engine is closed before.
func (p *parts) close() error {
	var err error
	if p.crew != nil {
		err = p.crew.close()
	}
	return errors.Join(err, p.stores.close())
}

package engine

import (
	"context"

	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/park"
)

// Pools implements [park.PoolService].
func (e *Engine) Pools(context.Context) ([]park.Pool, error) {
	pools := make([]park.Pool, len(e.order))
	for i, id := range e.order {
		pools[i] = *e.pools[id].view.Load()
	}
	return pools, nil
}

// Pool implements [park.PoolService].
func (e *Engine) Pool(_ context.Context, id string) (park.Pool, error) {
	p, err := e.pool(id)
	if err != nil {
		return park.Pool{}, err
	}
	return *p.view.Load(), nil
}

// SetPool implements [park.PoolService].
func (e *Engine) SetPool(ctx context.Context, id string, patch park.PoolPatch) (park.Pool, error) {
	p, err := e.pool(id)
	if err != nil {
		return park.Pool{}, err
	}
	if err := patch.Check(); err != nil {
		return park.Pool{}, err
	}
	due := p.eng.due()
	// What is so already by what this node knows, another may have changed a moment before.
	if _, err := p.doBy(ctx, lot.Configure{Patch: patch}, true, due); err != nil {
		return park.Pool{}, err
	}
	view := *p.view.Load()
	if patch.MaxUnits != nil {
		// The change is made: who cannot be told of this is told all the same what the pool is like now.
		var warning string
		if p.askBy(ctx, func(l *loop) { warning = l.tooLarge() }, due) == nil {
			view.Warning = warning
		}
	}
	return view, nil
}

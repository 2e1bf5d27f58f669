package engine

import (
	"context"
	"fmt"

	"github.com/parkd-dev/parkd/pkg/lot"
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
	if _, err := p.do(ctx, lot.Configure{Patch: patch}); err != nil {
		return park.Pool{}, err
	}
	view := *p.view.Load()
	if patch.MaxUnits != nil {
		// The change is made: who cannot be told of this is told all the same what the pool is like now.
		_ = p.ask(ctx, func() { view.Warning = p.tooLarge() })
	}
	return view, nil
}

// tooLarge says that parked tasks cost more than the pool has, "" where none does.
func (p *pool) tooLarge() string {
	n, most := p.lot.TooLarge()
	if n == 0 {
		return ""
	}
	tasks := "1 parked task"
	if n > 1 {
		tasks = fmt.Sprintf("%d parked tasks", n)
	}
	return fmt.Sprintf("%s of pool %s can start only if it is given more than its %d units (the dearest costs %d); others pass meanwhile",
		tasks, p.ID, p.lot.Row().MaxUnits, most)
}

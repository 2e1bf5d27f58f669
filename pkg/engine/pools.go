package engine

import (
	"context"

	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/park"
)

// Pools implements [park.PoolService].
func (e *Engine) Pools(context.Context) ([]park.Pool, error) {
	pools := make([]park.Pool, len(e.poolIDs))
	for i, id := range e.poolIDs {
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
	deadline := p.eng.newDeadline()
	// What this node holds for current may have been changed by another node a moment ago.
	if _, err := p.doBy(ctx, lot.Configure{Patch: patch}, true, deadline); err != nil {
		return park.Pool{}, err
	}
	view := *p.view.Load()
	if patch.MaxUnits != nil {
		// The change is made. If the warning cannot be computed in time, the caller still gets the current state.
		var warning string
		if p.inLoopBy(ctx, func(l *loop) { warning = l.tooLargeWarning() }, deadline) == nil {
			view.Warning = warning
		}
	}
	return view, nil
}

package engine

import (
	"context"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

const (
	pruneEvery = time.Minute
	pruneChunk = 200
	// pruneRest lets steps go first between two chunks.
	pruneRest = 20 * time.Millisecond
)

// Pruner forgets what a run wrote; an executor whose logs implement it is asked together with the stores.
type Pruner interface {
	PruneLogs(ctx context.Context, before time.Time) error
}

// retain removes what is older than the retention, in small chunks. What is kept for ever has its logs of events looked
// after all the same.
func (e *Engine) retain() {
	every := pruneEvery
	if e.cfg.Retention > 0 {
		every = min(pruneEvery, max(e.cfg.Retention/10, time.Second))
	}
	a := e.newAging()
	for rest := time.Second; e.rest(rest); rest = every {
		var before park.Time
		if e.cfg.Retention > 0 {
			before = a.before()
		}
		e.pruneAll(before)
	}
}

func (e *Engine) pruneAll(before park.Time) {
	stores := make([]store.Store, 0, len(e.stores))
	for b, s := range e.stores {
		if n := e.nodes[b]; n == nil || n.first() {
			stores = append(stores, s)
		}
	}
	// A task goes last: while it is known its id is not taken anew, and so nothing of the old task stands where
	// something of the new one should.
	whole := true
	for _, s := range stores {
		whole = e.prune("events", before, s.PruneEvents) && whole
	}
	// While events are left from before, nothing that they tell of goes: what a reader of the log finds there is there.
	if before.IsZero() || !whole {
		return
	}
	for _, s := range stores {
		whole = e.prune("messages", before, s.PruneMessages) && whole
	}
	if !whole {
		return
	}
	for _, s := range stores {
		e.prune("tasks", before, s.PruneTasks)
	}
	e.pruneLogs(before)
}

// prune reports whether nothing is left that is older.
func (e *Engine) prune(what string, before park.Time, chunk func(context.Context, park.Time, int) (int, error)) bool {
	for {
		n, err := chunk(e.ctx, before, pruneChunk)
		if err != nil {
			if e.ctx.Err() == nil {
				e.log.Error("not pruned", "what", what, "error", err)
			}
			return false
		}
		if n < pruneChunk {
			return true
		}
		if !e.rest(pruneRest) {
			return false
		}
	}
}

func (e *Engine) pruneLogs(before park.Time) {
	done := make(map[Pruner]bool)
	for _, id := range e.order {
		l, ok := e.pools[id].Logs.(Pruner)
		if !ok || done[l] {
			continue
		}
		done[l] = true
		if err := l.PruneLogs(e.ctx, before.Time); err != nil && e.ctx.Err() == nil {
			e.log.Error("logs not pruned", "pool", id, "error", err)
		}
	}
}

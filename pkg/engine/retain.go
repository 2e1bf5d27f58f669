package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	var errs []error
	each := func(what string, prune func(store.Store) chunk) {
		stores = slices.DeleteFunc(stores, func(s store.Store) bool {
			err := e.prune(before, prune(s))
			if err != nil {
				errs = append(errs, fmt.Errorf("prune %s: %w", what, err))
			}
			return err != nil
		})
	}
	// A task goes last: while it is known its id is not taken anew, and so nothing of the old task stands where
	// something of the new one should. While a store has events left from before, nothing that they tell of goes from
	// it: what a reader of the log finds there is there. What a store cannot do stops no other store, which would grow
	// for as long.
	each("events", func(s store.Store) chunk { return s.PruneEvents })
	if !before.IsZero() {
		each("messages", func(s store.Store) chunk { return s.PruneMessages })
		each("tasks", func(s store.Store) chunk { return s.PruneTasks })
		errs = append(errs, e.pruneLogs(before))
	}
	if err := errors.Join(errs...); err != nil && e.ctx.Err() == nil {
		e.log.Error("not pruned", "error", err)
	}
}

// chunk removes some of what is older, and says how much, as stores do.
type chunk func(ctx context.Context, before park.Time, limit int) (int, error)

// prune returns nil if nothing is left that is older.
func (e *Engine) prune(before park.Time, some chunk) error {
	for {
		n, err := some(e.ctx, before, pruneChunk)
		if err != nil || n < pruneChunk {
			return err
		}
		if !e.rest(pruneRest) {
			return e.ctx.Err()
		}
	}
}

func (e *Engine) pruneLogs(before park.Time) error {
	var errs []error
	done := make(map[Pruner]bool)
	for _, id := range e.order {
		l, ok := e.pools[id].Logs.(Pruner)
		if !ok || done[l] {
			continue
		}
		done[l] = true
		if err := l.PruneLogs(e.ctx, before.Time); err != nil {
			errs = append(errs, fmt.Errorf("prune logs of pool %s: %w", id, err))
		}
	}
	return errors.Join(errs...)
}

// Package retention removes from stores what is older than it has to be kept.
package retention

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/env"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

const (
	maxEvery = time.Minute
	chunk    = 200
	// chunkRest lets steps go first between two chunks.
	chunkRest = 20 * time.Millisecond
)

// Pruner forgets what runs wrote before a time.
type Pruner interface {
	PruneLogs(ctx context.Context, before time.Time) error
}

// Store is a store that is pruned.
type Store struct {
	store.Store
	// Turn reports whether this node is the one to prune, of several that share the store; nil: it always is.
	Turn func() bool
}

// Janitor prunes stores and logs.
type Janitor struct {
	Env    *env.Env
	Log    *slog.Logger
	Stores []Store
	Logs   map[string]Pruner // by pool; one that several pools share is asked once
	// Keep is how long ended tasks, messages and events are kept; 0: for ever.
	Keep time.Duration
	// LastStep is the latest time that the stores know of; zero if there is none.
	LastStep park.Time
}

// Run prunes until ctx ends. If all is kept for ever, stores are still asked to prune events of before the zero time:
// a log may have some that are of no use to anybody.
func (j *Janitor) Run(ctx context.Context) {
	every := maxEvery
	if j.Keep > 0 {
		every = min(maxEvery, max(j.Keep/10, time.Second))
	}
	a := newAge(j)
	for rest := time.Second; j.rest(ctx, rest); rest = every {
		var before park.Time
		if j.Keep > 0 {
			before = a.before()
		}
		j.pruneAll(ctx, before)
	}
}

// rest waits and returns false once ctx ends.
func (j *Janitor) rest(ctx context.Context, d time.Duration) bool {
	return j.Env.Await(d, ctx.Done()) < 0
}

func (j *Janitor) pruneAll(ctx context.Context, before park.Time) {
	stores := slices.DeleteFunc(slices.Clone(j.Stores), func(s Store) bool { return s.Turn != nil && !s.Turn() })
	var errs []error
	each := func(what string, some func(Store) pruneSome) {
		stores = slices.DeleteFunc(stores, func(s Store) bool {
			err := j.prune(ctx, before, some(s))
			if err != nil {
				errs = append(errs, fmt.Errorf("prune %s: %w", what, err))
			}
			return err != nil
		})
	}
	// Events are removed first and tasks last. While a task is known its id is not used again, so nothing of the old
	// task can be taken for a new one's, and everything in the log can still be read. A store that fails is skipped
	// from then on; the others are not affected.
	each("events", func(s Store) pruneSome { return s.PruneEvents })
	if !before.IsZero() {
		each("messages", func(s Store) pruneSome { return s.PruneMessages })
		each("tasks", func(s Store) pruneSome { return s.PruneTasks })
		errs = append(errs, j.pruneLogs(ctx, before))
	}
	if err := errors.Join(errs...); err != nil && ctx.Err() == nil {
		j.Log.Error("not pruned", "error", err)
	}
}

// pruneSome removes up to limit things that are older, and returns how many it has removed.
type pruneSome func(ctx context.Context, before park.Time, limit int) (int, error)

// prune returns nil if nothing older is left.
func (j *Janitor) prune(ctx context.Context, before park.Time, some pruneSome) error {
	for {
		n, err := some(ctx, before, chunk)
		if err != nil || n < chunk {
			return err
		}
		if !j.rest(ctx, chunkRest) {
			return ctx.Err()
		}
	}
}

func (j *Janitor) pruneLogs(ctx context.Context, before park.Time) error {
	var errs []error
	done := make(map[Pruner]bool)
	for _, pool := range slices.Sorted(maps.Keys(j.Logs)) {
		l := j.Logs[pool]
		if done[l] {
			continue
		}
		done[l] = true
		if err := l.PruneLogs(ctx, before.Time); err != nil {
			errs = append(errs, fmt.Errorf("prune logs of pool %s: %w", pool, err))
		}
	}
	return errors.Join(errs...)
}

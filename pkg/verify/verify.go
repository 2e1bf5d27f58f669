// Package verify checks that the data of a pool is a complete and valid history: it replays the log with package replay, and
// compares every task and every message with it, in both directions.
//
// It reads the log once, then the messages, then the tasks, and finally the log's new events, so that everything it has read
// of a task is in the log too. Data that cannot change any more is compared by sums of hashes, one for each of some thousand
// buckets of tasks, so memory does not grow with the history. If two sums differ, everything is read again and the tasks in
// these buckets are compared one by one, to find the task.
//
// The Go package is no API: it may change with any release.
package verify

import (
	"context"
	"errors"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/replay"
	"github.com/parkd-dev/parkd/pkg/park"
)

// Options select what is checked.
type Options struct {
	Since park.Time // begin the log there; zero: with all that is kept
	Now   func() time.Time
}

// Offence is the error of a pool that broke a rule, with the step, the event and the task.
type Offence = replay.Offence

// Rule is the name of a rule.
type Rule = replay.Rule

// Report is the result.
type Report struct {
	replay.Summary
	Counts
}

// The log may be a little behind the queue where it is in another store: so often it is looked at again, and after such a rest.
const (
	endTries = 20
	endRest  = 100 * time.Millisecond
	// onePass is how many tasks are looked at one by one at once.
	onePass = 100_000
)

// Pool verifies a pool up to its first offence, which is the error: an *[Offence].
//
// The limits that the log begins with are worked out from two reads, between which somebody may change them, and the log may
// hear of a change a little later than the pool: so an offence against limits counts only if they are the same when they are
// worked out again.
func Pool(ctx context.Context, src Source, pool string, o Options) (r Report, err error) {
	limits, err := startingLimits(ctx, src, pool, o)
	if err != nil {
		return r, err
	}
	for range endTries {
		r, err = history(ctx, src, pool, o, limits)
		forgotten := errors.Is(err, errForgotten)
		if offence, found := errors.AsType[*replay.Offence](err); !forgotten && (!found || !offence.Rule.OfLimits()) {
			return r, err
		}
		again, err1 := limitsAgain(ctx, src, pool, o)
		if err1 != nil {
			return r, err1
		}
		if again == limits && !forgotten {
			return r, err
		}
		limits = again
	}
	return r, err
}

// limitsDelay is how long a change of a pool may take to reach the log.
const limitsDelay = time.Second

// startingLimits works back from the pool's limits of now to those before its log.
func startingLimits(ctx context.Context, src Source, pool string, o Options) (replay.Limits, error) {
	changes, err := updates(ctx, src, park.AuditQuery{PoolID: pool, Since: o.Since})
	if err != nil {
		return replay.Limits{}, err
	}
	ev, err := src.Evidence(ctx, pool)
	if err != nil {
		return replay.Limits{}, err
	}
	return replay.Initial(limitsOf(ev), changes), nil
}

// limitsAgain works them out once more, when the log has heard of what the pool knows.
func limitsAgain(ctx context.Context, src Source, pool string, o Options) (l replay.Limits, err error) {
	ev, err := src.Evidence(ctx, pool)
	if err == nil && ev.EventsApart {
		err = sleep(ctx, limitsDelay)
	}
	if err != nil {
		return l, err
	}
	return startingLimits(ctx, src, pool, o)
}

func limitsOf(ev park.Evidence) replay.Limits {
	return replay.Limits{MaxUnits: ev.MaxUnits, MaxQueueDepth: ev.MaxQueueDepth, State: ev.State}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// history compares by sums, and then what differs one by one, a part after the other.
func history(ctx context.Context, src Source, pool string, o Options, l replay.Limits) (Report, error) {
	f := newHasher()
	p := newPass(src, pool, o, l, newCollector(f, nil))
	err := p.run(ctx)
	r := p.report()
	if err != nil {
		return r, err
	}
	done := make(map[int]bool)
	for {
		only := p.collected.differing(onePass, done)
		if len(only) == 0 {
			return r, nil
		}
		again := newPass(src, pool, o, l, newCollector(f, only))
		again.bounds = p.bounds
		if err := again.run(ctx); err != nil {
			return r, err
		}
		for b := range only {
			done[b] = true
		}
	}
}

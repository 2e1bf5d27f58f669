package cmd

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/parkd-dev/parkd/pkg/park"
)

// retryPolicy repeats a request while the daemon is unavailable, for commands that outlast its restart.
type retryPolicy struct {
	most   time.Duration    // in a row, without an answer; 0: for ever
	lost   func()           // called once when the daemon goes away
	unless func(error) bool // is not patient with these
}

// ask calls f until it answers something, be it an error of the daemon's.
func (p retryPolicy) ask(ctx context.Context, f func(context.Context) error) error {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = 100*time.Millisecond, 3*time.Second
	told := false
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := f(ctx)
		if err == nil || !p.retries(ctx, err) {
			return struct{}{}, permanent(err)
		}
		if !told && p.lost != nil {
			p.lost()
		}
		told = true
		return struct{}{}, err
	}, backoff.WithBackOff(pause), backoff.WithMaxElapsedTime(p.most))
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

func permanent(err error) error {
	if err == nil {
		return nil
	}
	return backoff.Permanent(err)
}

// retries reports whether err may be temporary: no daemon answers, or its store is unavailable.
func (p retryPolicy) retries(ctx context.Context, err error) bool {
	if ctx.Err() != nil || p.unless != nil && p.unless(err) {
		return false
	}
	return unreachable(err) || park.Passing(err)
}

// neverReached reports whether the daemon was not even there to take the question.
func neverReached(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}

// patient retries without a time limit.
func (g *globals) patient() retryPolicy {
	return retryPolicy{lost: func() { g.notice("The daemon does not answer. Waiting for it to come back.") }}
}

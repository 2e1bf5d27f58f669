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
	limit  time.Duration    // without an answer; 0: for ever
	onLost func()           // called once when the daemon stops answering
	except func(error) bool // errors that are not retried
}

// do calls f until it succeeds or fails with an error that is not temporary.
func (p retryPolicy) do(ctx context.Context, f func(context.Context) error) error {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = 100*time.Millisecond, 3*time.Second
	reported := false
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := f(ctx)
		if err == nil || !p.retries(ctx, err) {
			return struct{}{}, permanent(err)
		}
		if !reported && p.onLost != nil {
			p.onLost()
		}
		reported = true
		return struct{}{}, err
	}, backoff.WithBackOff(pause), backoff.WithMaxElapsedTime(p.limit))
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
	if ctx.Err() != nil || p.except != nil && p.except(err) {
		return false
	}
	return unreachable(err) || park.Passing(err)
}

// dialFailed reports whether no connection to the daemon could be opened, so that the request was not sent.
func dialFailed(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}

// retryForever retries without a time limit.
func (g *globals) retryForever() retryPolicy {
	return retryPolicy{onLost: func() { g.notice("The daemon does not answer. Waiting for it to come back.") }}
}

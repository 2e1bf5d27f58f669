package engine

import (
	"context"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/env"
)

// All waiting of the engine is here and in [env.Env].

const (
	// noTimeout is the duration of a wait without an end.
	noTimeout = env.Forever
	// noDeadline is the deadline of a call that has none.
	noDeadline time.Duration = -1
)

// remaining returns the time until a deadline; noTimeout if there is none.
func (e *Engine) remaining(deadline time.Duration) time.Duration {
	if deadline == noDeadline {
		return noTimeout
	}
	return max(0, deadline-e.env.Mono())
}

// nextMessage waits for the loop's next message; m is nil if none has come within d. ok is false if the loop is to end.
func (l *loop) nextMessage(timer *time.Timer, d time.Duration) (m message, ok bool) {
	if l.eng.env.Sim != nil {
		d = l.eng.env.Until(d, func() bool { return len(l.urgent) > 0 || len(l.messages) > 0 || env.Ready(l.quit) })
	}
	switch { // a select alone would choose at random
	case env.Ready(l.quit):
		return nil, false
	case len(l.urgent) > 0:
		return <-l.urgent, true
	case len(l.messages) > 0:
		return <-l.messages, true
	case d == 0:
		return nil, true
	}
	timer.Reset(d)
	select {
	case m = <-l.urgent:
		return m, true
	case m = <-l.messages:
		return m, true
	case <-timer.C:
		return nil, true
	case <-l.quit:
		return nil, false
	}
}

// send sends the loop a message.
func (p *pool) send(ctx context.Context, m message) error { return p.sendBy(ctx, m, noDeadline) }

// sendBy is send with a deadline: if there is no room until then, the loop never gets the message.
func (p *pool) sendBy(ctx context.Context, m message, deadline time.Duration) error {
	d := p.eng.remaining(deadline)
	if p.eng.env.Sim != nil {
		d = p.eng.env.Until(d, func() bool {
			return len(p.messages) < cap(p.messages) || ctx.Err() != nil || env.Ready(p.done)
		})
	}
	if err := p.waitErr(ctx); err != nil {
		return err
	}
	select {
	case p.messages <- m:
		return nil
	default: // a select of several channels is slower, and mostly there is room
	}
	timedOut, stop := p.eng.env.After(d)
	defer stop()
	select {
	case p.messages <- m:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-p.done:
		return errPoolStopped(p.ID)
	case <-timedOut:
		return errNotAccepted(p.ID)
	}
}

// waitErr returns why a wait for the loop is over: the caller has gone or the loop has ended. It returns nil if neither
// is so.
func (p *pool) waitErr(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if env.Ready(p.done) {
		return errPoolStopped(p.ID)
	}
	return nil
}

// receive waits for a value that the pool's loop sends to c.
func receive[T any](ctx context.Context, p *pool, c <-chan T) (v T, err error) {
	return receiveBy(ctx, p, c, noDeadline)
}

// receiveBy is receive with a deadline, after which the error is errDeadline.
func receiveBy[T any](ctx context.Context, p *pool, c <-chan T, deadline time.Duration) (v T, err error) {
	d := p.eng.remaining(deadline)
	if p.eng.env.Sim != nil {
		d = p.eng.env.Until(d, func() bool { return env.Ready(c) || ctx.Err() != nil || env.Ready(p.done) })
	}
	select {
	case v = <-c:
		return v, nil
	default:
	}
	if err := p.waitErr(ctx); err != nil {
		return v, err
	}
	timedOut, stop := p.eng.env.After(d)
	defer stop()
	select {
	case v = <-c:
		return v, nil
	case <-ctx.Done():
		return v, ctx.Err()
	case <-timedOut:
		err = errDeadline
	case <-p.done:
		err = errPoolStopped(p.ID)
	}
	select {
	case v = <-c: // sent just before
		return v, nil
	default:
		return v, err
	}
}

// sleep waits for d. It returns false once the engine is closed.
func (e *Engine) sleep(d time.Duration) bool { return e.env.Await(d, e.ctx.Done()) < 0 }

// waitOn waits for the channel or for d. The end of ctx or of the pool is an error.
func waitOn(ctx context.Context, p *pool, woken <-chan struct{}, d time.Duration) error {
	switch p.eng.env.Await(d, woken, p.done, ctx.Done()) {
	case 1:
		return errPoolStopped(p.ID)
	case 2:
		return ctx.Err()
	default:
		return nil
	}
}

// waitOn waits for the channel or for d. The end of ctx or of the engine is an error.
func (e *Engine) waitOn(ctx context.Context, woken <-chan struct{}, d time.Duration) error {
	switch e.env.Await(d, woken, e.ctx.Done(), ctx.Done()) {
	case 1:
		return errEngineStopped
	case 2:
		return ctx.Err()
	default:
		return nil
	}
}

// hubWait returns how long to wait on the hub, which does not know of everything: deliveries by the relay of another
// node wake nobody here.
func (e *Engine) hubWait(d time.Duration) time.Duration {
	if len(e.nodes) > 0 {
		return min(d, hubPollInterval)
	}
	return d
}

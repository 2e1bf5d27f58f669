package engine

import (
	"context"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/env"
)

// The engine waits here and through [env.Env], nowhere else.

const (
	// forever is how long a wait without an end lasts.
	noTimeout = env.Forever
	// never is when a call is due that may wait for ever.
	noDeadline time.Duration = -1
)

// left returns how long it is until a call is due, forever if it never is.
func (e *Engine) remaining(deadline time.Duration) time.Duration {
	if deadline == noDeadline {
		return noTimeout
	}
	return max(0, deadline-e.env.Mono())
}

// next waits for the loop's next message; it is nil if none has come within d. ok is false if the loop is to end.
func (l *loop) nextMessage(timer *time.Timer, d time.Duration) (m message, ok bool) {
	if l.eng.env.Sim != nil {
		d = l.eng.env.Until(d, func() bool { return len(l.urgent) > 0 || len(l.messages) > 0 || env.Ready(l.quit) })
	}
	switch { // a select alone would take any that is ready
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

// send hands the loop a message.
func (p *pool) send(ctx context.Context, m message) error { return p.sendBy(ctx, m, noDeadline) }

// sendBy is send for a call that is due: if there is no room until then, the loop never hears of it.
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
	default: // a look at more than one channel costs more, and mostly there is room
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

// gone returns why nobody answers, or nobody waits for an answer, if that is so.
func (p *pool) waitErr(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if env.Ready(p.done) {
		return errPoolStopped(p.ID)
	}
	return nil
}

// receive waits for what the pool's loop sends to c.
func receive[T any](ctx context.Context, p *pool, c <-chan T) (v T, err error) {
	return receiveBy(ctx, p, c, noDeadline)
}

// receiveBy is receive for a call that is due: then its error is errDue.
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

// rest waits and returns false once the engine is closed.
func (e *Engine) sleep(d time.Duration) bool { return e.env.Await(d, e.ctx.Done()) < 0 }

// sleep waits for the channel, for the time, or for the end of ctx or pool, which alone are errors.
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

// linger waits for the channel, for the time, or for the end of ctx or the engine, which alone are errors.
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

// patience returns how long to wait for a hub that may not hear of everything: what another node's relay delivered
// wakes nobody here.
func (e *Engine) hubWait(d time.Duration) time.Duration {
	if len(e.nodes) > 0 {
		return min(d, hubPollInterval)
	}
	return d
}

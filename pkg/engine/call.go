package engine

// Calls of a pool's loop from other goroutines, and their deadlines.

import (
	"context"
	"errors"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/lot"
)

// do has the loop carry out one operation and returns its result.
func (p *pool) do(ctx context.Context, op lot.Op) ([]lot.Result, error) {
	return p.doBy(ctx, op, false, p.eng.newDeadline())
}

// newDeadline returns the deadline of a call that starts now.
func (e *Engine) newDeadline() time.Duration { return e.env.Mono() + e.cfg.Patience }

// doBy is do with a deadline. If catchUp is set, the loop first reads what other nodes did.
func (p *pool) doBy(ctx context.Context, op lot.Op, catchUp bool, deadline time.Duration) ([]lot.Result, error) {
	m := &operations{catchUp: catchUp}
	m.setOp(op)
	return p.callBy(ctx, m, deadline)
}

// doRetryStale is do for an operation on a task that another node may have started. If the operation is stale here, it
// is tried once more after the loop has read what the other nodes did.
func (p *pool) doRetryStale(ctx context.Context, op lot.Op) ([]lot.Result, error) {
	deadline := p.eng.newDeadline()
	results, err := p.doBy(ctx, op, false, deadline)
	if err != nil || p.node == nil || !results[0].Stale {
		return results, err
	}
	return p.doBy(ctx, op, true, deadline)
}

// inLoop has the loop call fn.
func (p *pool) inLoop(ctx context.Context, fn func(l *loop)) error {
	return p.inLoopBy(ctx, fn, noDeadline)
}

// inLoopBy is inLoop with a deadline. After an error the loop may still call fn, so the caller must not read what fn
// writes.
func (p *pool) inLoopBy(ctx context.Context, fn func(l *loop), deadline time.Duration) error {
	_, err := p.callBy(ctx, &loopFunc{fn: fn}, deadline)
	return err
}

// callBy sends a message and waits for its answer.
func (p *pool) callBy(ctx context.Context, m message, deadline time.Duration) ([]lot.Result, error) {
	m.base().reply = make(chan reply, 1)
	if err := p.sendBy(ctx, m, deadline); err != nil {
		return nil, err
	}
	return p.waitBy(ctx, m.base(), deadline)
}

// post sends a message whose answer nobody awaits. It does not block if the channel is full.
func (p *pool) post(m message) {
	m.base().reply = make(chan reply, 1)
	select {
	case p.messages <- m:
	default:
		p.eng.env.Go(func() { _ = p.send(p.ctx, m) })
	}
}

func (p *pool) wait(ctx context.Context, r *request) ([]lot.Result, error) {
	return p.waitBy(ctx, r, noDeadline)
}

// waitBy waits for the answer to a request. If the deadline passes while the request is part of a step, the outcome is
// unknown. If it passes earlier, the request is never carried out.
func (p *pool) waitBy(ctx context.Context, r *request, deadline time.Duration) ([]lot.Result, error) {
	a, err := receiveBy(ctx, p, r.reply, deadline)
	switch {
	case !errors.Is(err, errDeadline):
	case r.abandon():
		err = errNotAccepted(p.ID)
	default:
		err = errOutcomeUnknown("pool " + p.ID)
	}
	if err != nil {
		return nil, err
	}
	return a.results, a.err
}

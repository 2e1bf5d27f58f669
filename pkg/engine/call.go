package engine

// Calls of the pool's loop by other goroutines, and how long they wait.

import (
	"context"
	"errors"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/lot"
)

// do has the loop carry out an operation and returns its result, alone.
func (p *pool) do(ctx context.Context, op lot.Op) ([]lot.Result, error) {
	return p.doBy(ctx, op, false, p.eng.due())
}

// due returns when a call that begins now is to be answered, whatever has become of it.
func (e *Engine) due() time.Duration { return e.env.Mono() + e.cfg.Patience }

// doBy is do for a call that is due at a time. If fresh is set, the loop looks first at what other nodes did.
func (p *pool) doBy(ctx context.Context, op lot.Op, fresh bool, due time.Duration) ([]lot.Result, error) {
	m := &operations{fresh: fresh}
	m.single(op)
	return p.callBy(ctx, m, due)
}

// doFresh is do for an operation on a task that another node may have started: what is stale here is tried once more,
// after a look at what the others did.
func (p *pool) doFresh(ctx context.Context, op lot.Op) ([]lot.Result, error) {
	due := p.eng.due()
	results, err := p.doBy(ctx, op, false, due)
	if err != nil || p.node == nil || !results[0].Stale {
		return results, err
	}
	return p.doBy(ctx, op, true, due)
}

// ask has the loop call at.
func (p *pool) ask(ctx context.Context, at func(l *loop)) error { return p.askBy(ctx, at, never) }

// askBy is ask for a call that is due. After an error the loop may still be about to call at: what at writes to is then
// not the caller's.
func (p *pool) askBy(ctx context.Context, at func(l *loop), due time.Duration) error {
	_, err := p.callBy(ctx, &look{at: at}, due)
	return err
}

// callBy sends a message and waits for its answer.
func (p *pool) callBy(ctx context.Context, m message, due time.Duration) ([]lot.Result, error) {
	m.base().reply = make(chan reply, 1)
	if err := p.sendBy(ctx, m, due); err != nil {
		return nil, err
	}
	return p.waitBy(ctx, m.base(), due)
}

// post sends a message that nobody waits for, without waiting for room.
func (p *pool) post(m message) {
	m.base().reply = make(chan reply, 1)
	select {
	case p.messages <- m:
	default:
		p.eng.env.Go(func() { _ = p.send(p.ctx, m) })
	}
}

func (p *pool) wait(ctx context.Context, r *request) ([]lot.Result, error) {
	return p.waitBy(ctx, r, never)
}

// waitBy waits for the answer to a request that was sent. If the call is due while the request is part of a step, it is
// not known what will become of it; otherwise nothing will.
func (p *pool) waitBy(ctx context.Context, r *request, due time.Duration) ([]lot.Result, error) {
	a, err := receiveBy(ctx, p, r.reply, due)
	switch {
	case !errors.Is(err, errDue):
	case r.abandon():
		err = errAway(p.ID)
	default:
		err = errUnknown("pool " + p.ID)
	}
	if err != nil {
		return nil, err
	}
	return a.results, a.err
}

package engine

import (
	"context"
	"time"
)

// The engine waits here and nowhere else, each time in two ways: in the real world for channels and timers, in a
// simulated one for the same, in a fixed order.

// forever is how long a wait without an end lasts, and never when a call is due that is not.
const (
	forever = -1
	never   = -1
)

// left returns how long it is until a call is due, forever where it never is.
func (e *Engine) left(due time.Duration) time.Duration {
	if due == never {
		return forever
	}
	return max(0, due-e.clock.mono())
}

// after returns a channel that receives something after d, and what lets go of it.
func (e *Engine) after(d time.Duration) (<-chan time.Time, func()) {
	if d < 0 {
		return nil, func() {}
	}
	t, ok := e.timers.Get().(*time.Timer)
	if ok {
		t.Reset(d)
	} else {
		t = time.NewTimer(d)
	}
	return t.C, func() {
		t.Stop()
		e.timers.Put(t)
	}
}

// next waits for the loop's next request, nil for what time brings after d. ok is false where the loop is to end.
func (p *pool) next(timer *time.Timer, d time.Duration) (r *request, ok bool) {
	if p.eng.simulated {
		p.eng.world.Wait(d, func() bool { return ready(p.urgent) || ready(p.requests) || ready(p.quit) })
		switch {
		case ready(p.urgent):
			return <-p.urgent, true
		case ready(p.requests):
			return <-p.requests, true
		default:
			return nil, !ready(p.quit)
		}
	}
	select { // which takes any that is ready
	case <-p.quit:
		return nil, false
	case r = <-p.urgent:
		return r, true
	default:
	}
	timer.Reset(d)
	select {
	case r = <-p.urgent:
		return r, true
	case r = <-p.requests:
		return r, true
	case <-timer.C:
		return nil, true
	case <-p.quit:
		return nil, false
	}
}

// send hands the loop a request.
func (p *pool) send(ctx context.Context, r *request) error { return p.sendBy(ctx, r, never) }

// sendBy is send for a call that is due: when there is no room until then, the loop never hears of it.
func (p *pool) sendBy(ctx context.Context, r *request, due time.Duration) error {
	if p.eng.simulated {
		p.eng.world.Wait(p.eng.left(due), func() bool {
			return len(p.requests) < cap(p.requests) || ctx.Err() != nil || ready(p.done)
		})
		switch {
		case ready(p.done):
			return errStopped(p.ID)
		case ctx.Err() != nil:
			return ctx.Err()
		case len(p.requests) == cap(p.requests):
			return errAway(p.ID)
		}
	}
	select {
	case p.requests <- r:
		return nil
	default: // a look at more than one channel costs more, and mostly there is room
	}
	over, leave := p.eng.after(p.eng.left(due))
	defer leave()
	select {
	case p.requests <- r:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-p.done:
		return errStopped(p.ID)
	case <-over:
		return errAway(p.ID)
	}
}

// receive waits for what the pool's loop sends to c.
func receive[T any](ctx context.Context, p *pool, c <-chan T) (v T, err error) {
	return receiveBy(ctx, p, c, never)
}

// receiveBy is receive for a call that is due: then its error is errDue.
func receiveBy[T any](ctx context.Context, p *pool, c <-chan T, due time.Duration) (v T, err error) {
	if p.eng.simulated {
		p.eng.world.Wait(p.eng.left(due), func() bool { return ready(c) || ctx.Err() != nil || ready(p.done) })
		switch {
		case ready(c):
			return <-c, nil
		case ctx.Err() != nil:
			return v, ctx.Err()
		case ready(p.done):
			return v, errStopped(p.ID)
		default:
			return v, errDue
		}
	}
	over, leave := p.eng.after(p.eng.left(due))
	defer leave()
	select {
	case v = <-c:
		return v, nil
	case <-ctx.Done():
		return v, ctx.Err()
	case <-over:
		select {
		case v = <-c: // at the last moment
			return v, nil
		default:
			return v, errDue
		}
	case <-p.done:
		select {
		case v = <-c: // sent just before
			return v, nil
		default:
			return v, errStopped(p.ID)
		}
	}
}

// await waits until something comes from one of at most three channels, and returns which one, or -1 after d.
func (e *Engine) await(d time.Duration, from ...<-chan struct{}) int {
	if e.simulated {
		e.world.Wait(d, func() bool { return firstReady(from) >= 0 })
		i := firstReady(from)
		if i >= 0 {
			<-from[i]
		}
		return i
	}
	var c [3]<-chan struct{}
	copy(c[:], from)
	var over <-chan time.Time
	if d >= 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-c[0]:
		return 0
	case <-c[1]:
		return 1
	case <-c[2]:
		return 2
	case <-over:
		return -1
	}
}

// rest waits and returns false once the engine is closed.
func (e *Engine) rest(d time.Duration) bool { return e.await(d, e.ctx.Done()) < 0 }

// sleep waits for the channel, for the time, or for the end of ctx or pool, which alone are errors.
func sleep(ctx context.Context, p *pool, rung <-chan struct{}, d time.Duration) error {
	switch p.eng.await(d, rung, p.done, ctx.Done()) {
	case 1:
		return errStopped(p.ID)
	case 2:
		return ctx.Err()
	default:
		return nil
	}
}

// linger waits for the channel, for the time, or for the end of ctx or the engine, which alone are errors.
func (e *Engine) linger(ctx context.Context, rung <-chan struct{}, d time.Duration) error {
	switch e.await(d, rung, e.ctx.Done(), ctx.Done()) {
	case 1:
		return errNodeStopped
	case 2:
		return ctx.Err()
	default:
		return nil
	}
}

// ready reports, in a simulated world, whether c has something or is closed: nobody sends there while nothing waits
// at the other end and the channel has no room.
func ready[T any](c <-chan T) bool {
	if len(c) > 0 {
		return true
	}
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func firstReady(from []<-chan struct{}) int {
	for i, c := range from {
		if ready(c) {
			return i
		}
	}
	return -1
}

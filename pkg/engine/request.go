package engine

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/parkd-dev/parkd/pkg/lot"
	"github.com/parkd-dev/parkd/pkg/park"
)

// request is what the loop is asked to do: operations, a worker that begins or ceases to wait, or a look
// at the lot. It is answered once, after the commit.
type request struct {
	ops    []lot.Op
	late   func() []lot.Op // makes ops from the lot as it is when they are decided
	fresh  bool            // after a look at what other nodes did
	reload bool            // after the pool was loaded again
	joins  *waiter
	leaves *waiter
	look   func()
	owed   *run                // whose outcome this is: to be tried until it is stored
	short  *park.ShortageError // why the run of owed was not begun
	reply  chan reply
	state  atomic.Int32 // waiting, or which came first of taken and abandoned
	// op and results are room for those of a single operation, which most requests are.
	op      [1]lot.Op
	results [1]lot.Result
}

type reply struct {
	results []lot.Result
	err     error
}

const (
	waiting int32 = iota
	taken
	abandoned
)

// take claims the request for a step, which the loop may do again. It reports false where whoever sent it has been told that
// nothing came of it.
func (r *request) take() bool {
	return r.state.CompareAndSwap(waiting, taken) || r.state.Load() == taken
}

// abandon sees that nothing comes of the request, and reports whether that could be had.
func (r *request) abandon() bool { return r.state.CompareAndSwap(waiting, abandoned) }

// do has the loop carry out an operation and returns its result, alone.
func (p *pool) do(ctx context.Context, op lot.Op) ([]lot.Result, error) {
	return p.doBy(ctx, op, false, p.eng.due())
}

// due returns when a call that begins now is to be answered, whatever has become of it.
func (e *Engine) due() time.Duration { return e.env.Mono() + e.cfg.Patience }

// doBy is do for a call that is due, and fresh is that it comes after a look at what other nodes did.
func (p *pool) doBy(ctx context.Context, op lot.Op, fresh bool, due time.Duration) ([]lot.Result, error) {
	r := &request{fresh: fresh, reply: make(chan reply, 1)}
	r.single(op)
	if err := p.sendBy(ctx, r, due); err != nil {
		return nil, err
	}
	return p.waitBy(ctx, r, due)
}

func (r *request) single(op lot.Op) {
	r.op[0] = op
	r.ops = r.op[:]
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

// ask has the loop call look.
func (p *pool) ask(ctx context.Context, look func()) error { return p.askBy(ctx, look, never) }

// askBy is ask for a call that is due. After an error the loop may still be about to call look: what look writes to is then
// not the caller's.
func (p *pool) askBy(ctx context.Context, look func(), due time.Duration) error {
	r := &request{look: look, reply: make(chan reply, 1)}
	if err := p.sendBy(ctx, r, due); err != nil {
		return err
	}
	_, err := p.waitBy(ctx, r, due)
	return err
}

func (p *pool) wait(ctx context.Context, r *request) ([]lot.Result, error) {
	return p.waitBy(ctx, r, never)
}

// waitBy waits for the answer to a request that was sent. When the call is due and the request is part of a step, it is
// not known what will become of it; else nothing will.
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

// errDue says that a call has waited for as long as it may.
var errDue = errors.New("the call is due")

// errAway is the answer to who was not heard: nothing was accepted, and nothing will be.
func errAway(pool string) *park.Error {
	return &park.Error{Code: park.StorageUnavailable, Detail: "the store of pool " + pool + " did not take the step; nothing was accepted", RetryAfter: time.Second}
}

// errUnknown is the answer to who asked for something of which it is not known whether it was done, or will be.
func errUnknown(what string) *park.Error {
	return park.Errorf(park.OutcomeUnknown, "the store of %s did not say in time whether it took the request", what)
}

// about returns err, and where it says that the outcome is unknown, which task that is of and how to find out.
func about(task string, err error) error {
	e, ok := errors.AsType[*park.Error](err)
	if !ok || e.Code != park.OutcomeUnknown {
		return err
	}
	return &park.Error{
		Code: e.Code, TaskID: task,
		Detail: e.Detail + ": ask for task " + task + ", or send the same again with this taskId",
	}
}

// errNodeStopped is the answer to who reads from an engine that is closing.
var errNodeStopped = &park.Error{Code: park.StorageUnavailable, Detail: "this node has stopped", RetryAfter: time.Second}

func errStopped(pool string) error {
	return &park.Error{Code: park.StorageUnavailable, Detail: "pool " + pool + " has stopped on this node", RetryAfter: time.Second}
}

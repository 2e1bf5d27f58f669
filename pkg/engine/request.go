package engine

import (
	"context"
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
	told   bool                // it was answered before it was known what became of it
	short  *park.ShortageError // why the run of owed was not begun
	reply  chan reply
	// op and results are room for those of a single operation, which most requests are.
	op      [1]lot.Op
	results [1]lot.Result
}

type reply struct {
	results []lot.Result
	err     error
}

// do has the loop carry out an operation and returns its result, alone.
func (p *pool) do(ctx context.Context, op lot.Op) ([]lot.Result, error) {
	r := &request{reply: make(chan reply, 1)}
	r.single(op)
	if err := p.send(ctx, r); err != nil {
		return nil, err
	}
	return p.wait(ctx, r)
}

func (r *request) single(op lot.Op) {
	r.op[0] = op
	r.ops = r.op[:]
}

// doFresh is do for an operation on a task that another node may have started: what is stale here is tried once more,
// after a look at what the others did.
func (p *pool) doFresh(ctx context.Context, op lot.Op) ([]lot.Result, error) {
	results, err := p.do(ctx, op)
	if err != nil || p.node == nil || !results[0].Stale {
		return results, err
	}
	r := &request{ops: []lot.Op{op}, fresh: true, reply: make(chan reply, 1)}
	if err := p.send(ctx, r); err != nil {
		return nil, err
	}
	return p.wait(ctx, r)
}

// ask has the loop call look.
func (p *pool) ask(ctx context.Context, look func()) error {
	r := &request{look: look, reply: make(chan reply, 1)}
	if err := p.send(ctx, r); err != nil {
		return err
	}
	_, err := p.wait(ctx, r)
	return err
}

func (p *pool) wait(ctx context.Context, r *request) ([]lot.Result, error) {
	a, err := receive(ctx, p, r.reply)
	if err != nil {
		return nil, err
	}
	return a.results, a.err
}

// errNodeStopped is the answer to who reads from an engine that is closing.
var errNodeStopped = &park.Error{Code: park.StorageUnavailable, Detail: "this node has stopped", RetryAfter: time.Second}

func errStopped(pool string) error {
	return &park.Error{Code: park.StorageUnavailable, Detail: "pool " + pool + " has stopped on this node", RetryAfter: time.Second}
}

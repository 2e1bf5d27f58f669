package engine

import (
	"slices"
	"sync/atomic"

	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/park"
)

// message is what a pool's loop is asked for. Each kind has a type of its own, made around a request.
type message interface{ base() *request }

// The kinds of messages.
type (
	// operations are decided and committed, and their results are the answer.
	operations struct {
		request
		catchUp bool // first look at what other nodes did
	}

	// report says how a run of this node ended. It is tried until it is stored.
	report struct {
		request
		run      *run
		shortage *park.ShortageError // why the run was not begun
	}

	// followUp has the pool look at what other nodes did, or load the pool again.
	refreshRequest struct {
		request
		reload bool
		derive func(l *loop) []lot.Op // operations that depend on what was found; nil: none
	}

	// derived are operations that the loop itself makes, at the time when they are decided.
	derived struct {
		request
		derive func(l *loop) []lot.Op
	}

	// workerJoins is a worker that begins to wait for tasks.
	workerJoins struct {
		request
		worker *waiter
	}

	// workerLeaves is a worker that ceases to wait.
	workerLeaves struct {
		request
		worker  *waiter
		granted bool // part of the answer: there are leases for it
	}

	// look has the loop call a function that reads or writes what is the loop's. It needs no store.
	loopFunc struct {
		request
		fn func(l *loop)
	}
)

// request is what all messages have in common: operations for the next step, and the answer that follows its commit.
type request struct {
	ops   []lot.Op
	reply chan reply // has room for the one answer; nil if nobody waits for it
	state atomic.Int32
	// op and results are room for those of a single operation, which most requests are.
	op      [1]lot.Op
	results [1]lot.Result
}

type reply struct {
	results []lot.Result
	err     error
}

func (r *request) base() *request { return r }

func (r *request) setOp(op lot.Op) {
	r.op[0] = op
	r.ops = r.op[:]
}

// States of a request.
const (
	requestWaiting int32 = iota
	requestClaimed
	requestAbandoned
)

// take claims the request for a step, which the loop may do again. It reports false if the sender was told that nothing
// came of it.
func (r *request) claim() bool {
	return r.state.CompareAndSwap(requestWaiting, requestClaimed) || r.state.Load() == requestClaimed
}

// abandon sees to it that nothing comes of the request, and reports whether that was still possible.
func (r *request) abandon() bool { return r.state.CompareAndSwap(requestWaiting, requestAbandoned) }

// simple reports whether a message is for operations and nothing else.
func onlyOperations(m message) bool {
	switch m := m.(type) {
	case *operations:
		return len(m.ops) > 0 && !m.catchUp
	case *report:
		return len(m.ops) > 0
	default:
		return false
	}
}

// deriving returns what makes a message's operations when they are decided, nil if it has no such operations.
func deriveFunc(m message) func(l *loop) []lot.Op {
	switch m := m.(type) {
	case *derived:
		return m.derive
	case *refreshRequest:
		return m.derive
	default:
		return nil
	}
}

// looks reports whether a message is answered when its turn is over, whatever has become of the step.
func answeredLast(m message) bool {
	switch m.(type) {
	case *loopFunc, *workerLeaves:
		return true
	default:
		return false
	}
}

// claim returns the messages of a batch that are to be carried out: the senders of the others were told that they never
// will be.
func claimAll(batch []message) []message {
	batch = slices.DeleteFunc(batch, func(m message) bool { return !m.base().claim() })
	for _, m := range batch {
		if r, ok := m.(*report); ok {
			r.run.returned = true
		}
	}
	return batch
}

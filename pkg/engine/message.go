package engine

import (
	"slices"
	"sync/atomic"

	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/park"
)

// message is a request to a pool's loop. Each kind has a type of its own, which embeds request.
type message interface{ base() *request }

// The kinds of messages.
type (
	// operations are decided and committed, and answered with their results.
	operations struct {
		request
		catchUp bool // first merge what other nodes did
	}

	// report is how a run of this node ended. It is retried until it is stored.
	report struct {
		request
		run      *run
		shortage *park.ShortageError // why the run could not begin
	}

	// refreshRequest has the loop merge what other nodes did, or load the pool again.
	refreshRequest struct {
		request
		reload bool
		derive func(l *loop) []lot.Op // returns operations that depend on the refreshed state; nil: none
	}

	// derived are operations that the loop itself makes when the step is decided.
	derived struct {
		request
		derive func(l *loop) []lot.Op
	}

	// workerJoins is a worker that starts to wait.
	workerJoins struct {
		request
		worker *waiter
	}

	// workerLeaves is a worker that stops waiting.
	workerLeaves struct {
		request
		worker  *waiter
		granted bool // part of the answer: the worker has been granted leases
	}

	// loopFunc has the loop call a function that uses the loop's state. It needs no store.
	loopFunc struct {
		request
		fn func(l *loop)
	}
)

// request is the common part of all messages: operations for the next step, and the answer after its commit.
type request struct {
	ops   []lot.Op
	reply chan reply // has room for the one answer; nil if nobody waits for it
	state atomic.Int32
	// op and results hold those of a single operation, which most requests have.
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

// claim takes the request for a step, possibly again. It returns false if the sender was told that the request is not
// carried out.
func (r *request) claim() bool {
	return r.state.CompareAndSwap(requestWaiting, requestClaimed) || r.state.Load() == requestClaimed
}

// abandon ensures that the request is never carried out, and reports whether that was still possible.
func (r *request) abandon() bool { return r.state.CompareAndSwap(requestWaiting, requestAbandoned) }

// onlyOperations reports whether a message has operations and nothing else.
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

// deriveFunc returns the function that makes a message's operations when the step is decided; nil if it has none.
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

// answeredLast reports whether a message is answered at the end of the batch, whatever happened to the step.
func answeredLast(m message) bool {
	switch m.(type) {
	case *loopFunc, *workerLeaves:
		return true
	default:
		return false
	}
}

// claimAll returns the messages of a batch that are to be carried out. The senders of the others were told that they
// are not.
func claimAll(batch []message) []message {
	batch = slices.DeleteFunc(batch, func(m message) bool { return !m.base().claim() })
	for _, m := range batch {
		if r, ok := m.(*report); ok {
			r.run.returned = true
		}
	}
	return batch
}

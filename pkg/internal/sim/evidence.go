package sim

import (
	"time"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// evidence is one item of what a [judge] is told about a history: requests, actual events, and what parkd did. A test
// may record them, change one, and run a judge on the result.
type evidence struct {
	at   time.Duration // true time
	what any           // one of the following
}

// What was asked for.
type (
	// submitted is a submission as its client sends it; TaskID is "" if the daemon is to choose one.
	submitted struct {
		job  int
		pool string
		sub  park.Submission
		work work
		bad  bool // every pool must refuse it
	}
	// cancelRequest is a request to cancel a task.
	cancelRequest struct{ pool, id string }
	// poolPatch is a change of a pool by an operator, or by a configuration file.
	poolPatch struct {
		pool  string
		patch park.PoolPatch
	}
)

// Actual events.
type (
	// outcome is the outcome of a run from its executor or worker, or that it was not started for lack of resources.
	outcome struct {
		job, attempt int
		park.Outcome
		normalized bool // parkd chooses the message
	}
	// leaseReleased is a lease that a worker released because it could not start the task.
	leaseReleased struct {
		pool, task string
		attempt    int
	}
	// heartbeatAcked is a heartbeat whose node knows that it was stored.
	heartbeatAcked struct {
		node string
		sent time.Duration
	}
	// heartbeatStored is a heartbeat when it reached the database.
	heartbeatStored struct {
		node string
		store.NodeConfig
	}
	buried   struct{ node string } // another node has declared it dead
	nodeLeft struct{ node string } // the node has left
	// daemonStopped is a daemon that was told to stop, or died.
	daemonStopped struct {
		daemon uint64
		killed bool
	}
)

// What parkd did.
type (
	// step is a committed step. wall is the wall clock of the machine that sent it, at the time sent.
	step struct {
		*store.Step
		sent time.Duration
		wall park.Time
	}
	// messageStored is a message when it reached its mailbox.
	messageStored struct{ park.Message }
	// stray is something that reached the database outside of the step to which it belongs.
	stray    struct{ text string }
	pruned   struct{ pool, id string }
	restored struct{} // the database was restored: its steps follow again
	// answer is an engine's answer.
	answer struct {
		request
		err   error
		value any
	}
	// finalPool is a pool in the database at the end.
	finalPool struct {
		pool  string
		row   ledger.Pool
		tasks []ledger.Record
	}
)

// request is a request to an engine.
type request struct {
	op    string // such as submit
	pool  string
	id    string // of the task
	job   int    // of a submission
	asked time.Duration
	query any
}

// record tells the judge something.
func (h *history) record(what any) { h.recordAt(h.now, what) }

// recordAt is record for an earlier time.
func (h *history) recordAt(at time.Duration, what any) {
	e := evidence{at, what}
	if h.opt.record != nil {
		h.opt.record(e)
	}
	h.check.judge.consider(e)
	h.checkVerdict()
}

// checkVerdict ends the history if the judge has found a broken guarantee.
func (h *history) checkVerdict() {
	if v := h.check.judge.broken; v != nil && h.broken == nil {
		h.broken = v
	}
}

// recordAnswer records an engine's answer for the judge.
func recordAnswer[T any](h *history, c request, f func() (T, error)) (T, error) {
	c.asked = h.now
	h.count(c.op)
	v, err := f()
	h.record(answer{c, err, v})
	return v, err
}

package engine

import (
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/lot"
)

const (
	// maxOps bounds how many operations share a step, so that the first does not wait long for the last.
	maxOps = 512
	// troubleRest is how long a pool whose store failed rests before it tries again by itself.
	retryInterval = 200 * time.Millisecond
)

// loop owns the state of a pool. It belongs to the goroutine that runs it, and until then to the one that opens the
// engine. Others reach it by messages only.
type loop struct {
	*pool
	lot      *lot.Lot
	lotNode  string // the node's name when the lot was loaded, which is what the lot calls the node
	runs     map[string]*run
	specs    specCache
	prefetch *prefetch // submissions that are read while the step is stored; nil: none
	runTime  durationEWMA
	limiter  startLimiter

	// Who waits.
	waiters       []*waiter
	retries       []message // that must not be lost, to be tried again
	postponed     []message // that came in between, and are not for the step, or too large for it
	largeOutcomes []message // outcomes of runs that were too large for the steps that others went into; see gather
	largeNext     bool      // it is their turn

	// The step that is being decided.
	split           bool // a step of this turn was refused, and is done in parts
	failed          bool // something of this turn did not come about
	redecided       bool // the step was decided before, and another node's came first
	lookUpsLeft     int  // steps for which ids are looked up first, because one may have been taken
	lookedUp        bool // the ids of this step were looked up
	stepsSinceCheck int  // since the last thorough check

	// The store.
	mustReload    bool          // the lot may differ from the store: load it again
	refusalDelay  time.Duration // how long the pool rests because the store has refused a step; 0: it has not
	refusalLogged bool          // the refusal was logged
	commitTime    time.Duration // how long a step takes to be stored, on average
	halted        error

	// Other nodes; see catchup.go and turnqueue.go.
	unsecured         bool               // what other nodes did is known, and may not be durable; see [store.Shared.Secure]
	limitsDiffer      bool               // another node has another configuration of the pool
	contenders        int                // other nodes that wait for their turns, by the last step
	mustCatchUp       bool               // other nodes were let go first
	delegationIgnored bool               // nobody took what was left to others: the next time it waits for its turn
	delegated         []delegatedOutcome // that others left, for the next steps
	renewals          map[string]int64   // how often leases had been kept elsewhere, by the last look

	// The pool's beginning and end.
	retryLoad   bool          // what cannot be loaded yet is loaded later
	pastLogEnd  bool          // its steps come after those that the log holds
	initialized bool          // it is under this engine
	drained     chan struct{} // set while closing; closed when nothing runs here any more
}

// run takes messages until the pool is closed.
func (l *loop) run() {
	defer close(l.done)
	defer func() { l.abandonedRuns = len(l.runs) }()
	timer := time.NewTimer(maxTimer)
	defer timer.Stop()
	var batch []message
	for d := maxTimer; ; d = l.waitTime() {
		batch = batch[:0]
		m, ok := l.firstMessage(timer, d)
		switch {
		case !ok:
			return
		case m != nil:
			batch = l.gather(append(batch, m))
			// A node that waits for its turn without a step keeps the others waiting for nothing.
			if l.contenders > 0 && countOps(batch) > 0 {
				batch = l.gather(l.awaitTurn(batch))
			}
		}
		l.processBatch(batch)
		clear(batch)
	}
}

// pause returns how long the loop has nothing to do unless it is asked to.
func (l *loop) waitTime() time.Duration {
	d, ok := l.untilNextTimer()
	switch {
	case l.refusalDelay > 0:
		d, ok = l.refusalDelay, true
	case l.mustReload || l.stepErr.Load() != nil && len(l.retries) > 0:
		d, ok = retryInterval, true
	case len(l.retries)+len(l.delegated) > 0: // more than one step's worth
		d, ok = 0, true
	}
	// A pool that cannot be loaded, or whose step is refused, starts nothing in any case.
	if at, limited := l.limiter.nextChange(); limited && l.lot.Row().Queued > 0 && !l.mustReload && l.refusalDelay == 0 {
		if wait := max(at-l.eng.env.Mono(), 0); !ok || wait < d {
			d, ok = wait, true
		}
	}
	if !ok || l.halted != nil {
		d = time.Hour
	}
	return d
}

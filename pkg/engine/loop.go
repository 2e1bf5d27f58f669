package engine

import (
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/lot"
)

const (
	// maxOps bounds the operations of a step, so that the first does not wait long for the last.
	maxOps = 512
	// retryInterval is how long a pool waits after a failure of its store before it tries again.
	retryInterval = 200 * time.Millisecond
)

// loop owns the state of a pool. It belongs to the goroutine that runs it, and before that to the goroutine that opens
// the engine. Other goroutines reach it by messages only.
type loop struct {
	*pool
	lot      *lot.Lot
	lotNode  string // the node's name when the lot was loaded; the lot knows the node by it
	runs     map[string]*run
	specs    specCache
	prefetch *prefetch // submissions that are read while the step is stored; nil if none
	runTime  durationEWMA
	limiter  startLimiter

	// Messages and workers that wait.
	waiters       []*waiter
	retries       []message // messages that must not be lost, to be tried again
	postponed     []message // messages for a later step
	largeOutcomes []message // outcomes that were too large for the previous steps; see gather
	largeNext     bool      // the next step takes large outcomes

	// The step that is being decided.
	split           bool // a step of this batch was refused, and is committed in parts
	failed          bool // something of this batch failed
	redecided       bool // the step is decided again, because another node's step came first
	lookUpsLeft     int  // number of steps that still look up ids first, because an id may have been taken
	lookedUp        bool // this step has looked up its ids
	stepsSinceCheck int  // steps since the last full check

	// The store.
	mustReload    bool          // the lot may differ from the store: load it again
	refusalDelay  time.Duration // how long the pool waits because the store refused a step; 0 if it did not
	refusalLogged bool          // that refusal was logged
	commitTime    time.Duration // moving average of the time to store a step
	halted        error

	// Other nodes; see catchup.go and turnqueue.go.
	unsecured         bool               // changes of other nodes are known but may not be durable; see [store.Shared.AwaitDurable]
	limitsDiffer      bool               // another node has other limits for the pool in its configuration
	contenders        int                // other nodes that waited for their turns, as of the last step
	mustCatchUp       bool               // other nodes had their turns first
	delegationIgnored bool               // nobody stored the delegated outcomes: the next time this node waits for its turn
	delegated         []delegatedOutcome // outcomes of other nodes, for the next steps
	renewals          map[string]int64   // how often each lease had been renewed elsewhere, as of the last read

	// Start and end of the pool.
	retryLoad   bool          // if the pool cannot be loaded yet, it is loaded later
	pastLogEnd  bool          // the pool's revs come after those in the audit log
	initialized bool          // the step of initialOps is committed
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
			// A node whose turn comes without a step keeps the others waiting for nothing.
			if l.contenders > 0 && countOps(batch) > 0 {
				batch = l.gather(l.awaitTurn(batch))
			}
		}
		l.processBatch(batch)
		clear(batch)
	}
}

// waitTime returns how long the loop may wait for a message.
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
	// A pool that cannot be loaded, or whose step is refused, starts nothing anyway.
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

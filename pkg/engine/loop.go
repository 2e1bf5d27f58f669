package engine

import (
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/lot"
)

const (
	// maxOps bounds how many operations share a step, so that the first does not wait long for the last.
	maxOps = 512
	// troubleRest is how long a pool whose store failed rests before it tries again by itself.
	troubleRest = 200 * time.Millisecond
)

// loop owns the state of a pool. It belongs to the goroutine that runs it, and until then to the one that opens the
// engine. Others reach it by messages only.
type loop struct {
	*pool
	lot      *lot.Lot
	as       string // the node's name when the lot was loaded, which is what the lot calls the node
	runs     map[string]*run
	specs    specs
	prefetch *fetch // submissions that are read while the step is stored; nil: none
	runTime  pace
	brake    brake

	// Who waits.
	waiters   []*waiter
	retries   []message // that must not be lost, to be tried again
	putAside  []message // that came in between, and are not for the step, or too large for it
	large     []message // outcomes of runs that were too large for the steps that others went into; see gather
	largeTurn bool      // it is their turn

	// The step that is being decided.
	split     bool // a step of this turn was refused, and is done in parts
	failed    bool // something of this turn did not come about
	redecided bool // the step was decided before, and another node's came first
	lookUps   int  // steps for which ids are looked up first, because one may have been taken
	lookedUp  bool // the ids of this step were looked up
	steps     int  // since the last thorough check

	// The store.
	stale         bool          // the lot may differ from the store: load it again
	refusal       time.Duration // how long the pool rests because the store has refused a step; 0: it has not
	refusalLogged bool          // the refusal was logged
	commitTime    time.Duration // how long a step takes to be stored, on average
	halted        error

	// Other nodes; see catchup.go and turnqueue.go.
	unsure      bool             // what other nodes did is known, and may not be durable; see [store.Shared.Secure]
	differs     bool             // another node has another configuration of the pool
	contenders  int              // other nodes that wait for their turns, by the last step
	mustCatchUp bool             // other nodes were let go first
	ignored     bool             // nobody took what was left to others: the next time it waits for its turn
	delegated   []outcome        // that others left, for the next steps
	kept        map[string]int64 // how often leases had been kept elsewhere, by the last look

	// The pool's beginning and end.
	patient  bool          // what cannot be loaded yet is loaded later
	numbered bool          // its steps come after those that the log holds
	adopted  bool          // it is under this engine
	drained  chan struct{} // set while closing; closed when nothing runs here any more
}

// run takes messages until the pool is closed.
func (l *loop) run() {
	defer close(l.done)
	defer func() { l.left = len(l.runs) }()
	timer := time.NewTimer(maxTimer)
	defer timer.Stop()
	var batch []message
	for d := maxTimer; ; d = l.pause() {
		batch = batch[:0]
		m, ok := l.first(timer, d)
		switch {
		case !ok:
			return
		case m != nil:
			batch = l.gather(append(batch, m))
			// A node that waits for its turn without a step keeps the others waiting for nothing.
			if l.contenders > 0 && asked(batch) > 0 {
				batch = l.gather(l.takeTurn(batch))
			}
		}
		l.turn(batch)
		clear(batch)
	}
}

// pause returns how long the loop has nothing to do unless it is asked to.
func (l *loop) pause() time.Duration {
	d, ok := l.untilDue()
	switch {
	case l.refusal > 0:
		d, ok = l.refusal, true
	case l.stale || l.trouble.Load() != nil && len(l.retries) > 0:
		d, ok = troubleRest, true
	case len(l.retries)+len(l.delegated) > 0: // more than one step's worth
		d, ok = 0, true
	}
	// A pool that cannot be loaded, or whose step is refused, starts nothing in any case.
	if at, short := l.brake.next(); short && l.lot.Row().Queued > 0 && !l.stale && l.refusal == 0 {
		if left := max(at-l.eng.env.Mono(), 0); !ok || left < d {
			d, ok = left, true
		}
	}
	if !ok || l.halted != nil {
		d = time.Hour
	}
	return d
}

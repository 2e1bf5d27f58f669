package engine

import (
	"context"
	"strings"
	"sync/atomic"

	"github.com/parkd-dev/parkd/pkg/internal/cluster"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// pool is one pool under way, as all goroutines may use it. What only its loop touches is in [loop].
type pool struct {
	Pool
	eng        *Engine
	ctx        context.Context // of what the loop asks of the store; ends with the engine, or with cut
	cancel     context.CancelFunc
	queue      store.Queue
	localMail  bool // the mailbox is in the queue's store
	localAudit bool
	node       *cluster.Node // of the store's nodes; nil if there can be no others

	messages   chan message
	urgent     chan message  // before all others
	quit       chan struct{} // closed to end the loop
	done       chan struct{} // closed when the loop has ended
	activeRuns runSet        // the runs whose executors have not returned

	view           atomic.Pointer[park.Pool]
	oldestParked   atomic.Int64 // microseconds; see [PoolMeasures]
	runningHere    atomic.Int64 // runs whose executors are this node's
	stepErr        atomic.Pointer[error]
	rev            atomic.Int64                // that the lot is at
	firstLoaded    atomic.Pointer[ledger.Pool] // as it was first found here
	refreshPending atomic.Bool                 // a message to follow the other nodes is on its way

	loadedAt      park.Time // the time of the last step before this engine's; set before the loop begins
	abandonedRuns int       // runs that were left behind; set before the loop ends
	loopStarted   bool      // the loop has begun; for the goroutine that opens the engine
}

func (p *pool) nodeName() string {
	if p.node != nil {
		return p.node.Name()
	}
	return p.eng.node
}

// firstRow is that of a pool that was never there.
func (p *pool) initialRow() ledger.Pool {
	return ledger.Pool{
		MaxUnits: p.MaxUnits, MaxQueueDepth: p.MaxQueueDepth, State: park.Active,
		ConfiguredUnits: p.MaxUnits, ConfiguredDepth: p.MaxQueueDepth,
	}
}

func (e *Engine) pool(id string) (*pool, error) {
	if p := e.pools[id]; p != nil {
		return p, nil
	}
	return nil, park.Errorf(park.PoolNotFound, "no pool named %q; the pools are %s", id, strings.Join(e.poolIDs, ", "))
}

// ill returns why the pool cannot take tasks just now, or nil.
func (p *pool) notReady() error {
	// The store says it best: what a step was answered says only that it failed.
	if w, ok := p.queue.(store.Watched); ok {
		if err := w.Trouble(); err != nil {
			return err
		}
	}
	if err := p.stepErr.Load(); err != nil {
		return *err
	}
	if p.node != nil {
		return p.node.Trouble()
	}
	return nil
}

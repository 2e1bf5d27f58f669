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

// pool is a running pool, as all goroutines may use it. State that only its loop uses is in [loop].
type pool struct {
	Pool
	eng        *Engine
	ctx        context.Context // for the loop's calls of the store; ends with the engine, or by cancel
	cancel     context.CancelFunc
	queue      store.Queue
	localMail  bool // the mailbox is in the queue's store
	localAudit bool
	node       *cluster.Node // this node in the store's cluster; nil if the store is not shared

	messages   chan message
	urgent     chan message  // before all other messages
	quit       chan struct{} // closed to end the loop
	done       chan struct{} // closed when the loop has ended
	activeRuns runSet        // runs whose executors have not returned

	view           atomic.Pointer[park.Pool]
	oldestParked   atomic.Int64 // time of submission in microseconds; see [PoolStats]
	runningHere    atomic.Int64 // number of runs of this node
	stepErr        atomic.Pointer[error]
	rev            atomic.Int64                // of the lot
	firstLoaded    atomic.Pointer[ledger.Pool] // the pool as this engine first loaded it
	refreshPending atomic.Bool                 // a refreshRequest is on its way

	loadedAt      park.Time // the time of the last step before this engine's first; set before the loop starts
	abandonedRuns int       // runs that were left when the loop ended; set before it ends
	loopStarted   bool      // used only by the goroutine that opens the engine
}

func (p *pool) nodeName() string {
	if p.node != nil {
		return p.node.Name()
	}
	return p.eng.node
}

// initialRow is the row of a new pool.
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

// notReady returns why the pool cannot take tasks now, or nil.
func (p *pool) notReady() error {
	// The store knows the reason best: the error of a step says only that it failed.
	if w, ok := p.queue.(store.HealthChecker); ok {
		if err := w.StorageError(); err != nil {
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

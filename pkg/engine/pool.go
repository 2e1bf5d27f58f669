package engine

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/parkd-dev/parkd/pkg/internal/cluster"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// pool is one pool under way, as all goroutines may use it. What only its loop touches is in [loop].
type pool struct {
	Pool
	eng        *Engine
	ctx        context.Context // of what the loop asks of the store; ends with the engine, or with cut
	cut        context.CancelFunc
	queue      store.Queue
	localMail  bool // the mailbox is in the queue's store
	localAudit bool
	node       *cluster.Node // of the store's nodes; nil if there can be no others

	messages chan message
	urgent   chan message  // before all others
	quit     chan struct{} // closed to end the loop
	done     chan struct{} // closed when the loop has ended
	work     work          // the runs whose executors have not returned

	view      atomic.Pointer[park.Pool]
	oldest    atomic.Int64 // microseconds; see [PoolMeasures]
	here      atomic.Int64 // runs whose executors are this node's
	trouble   atomic.Pointer[error]
	rev       atomic.Int64                 // that the lot is at
	began     atomic.Pointer[park.PoolRow] // as it was first found here
	following atomic.Bool                  // a message to follow the other nodes is on its way

	loadedAt park.Time // the time of the last step before this engine's; set before the loop begins
	left     int       // runs that were left behind; set before the loop ends
	started  bool      // the loop has begun; for the goroutine that opens the engine
}

func (e *Engine) newPool(c Pool) (*pool, error) {
	p := &pool{
		Pool: c, eng: e, queue: e.stores[c.QueueBackend], node: e.nodes[c.QueueBackend],
		messages: make(chan message, 2*maxOps), urgent: make(chan message, 1), quit: make(chan struct{}), done: make(chan struct{}),
		localMail: c.MailboxBackend == c.QueueBackend, localAudit: e.cfg.Audit == c.QueueBackend,
	}
	p.ctx, p.cut = context.WithCancel(e.ctx)
	switch {
	case p.queue == nil:
		return nil, fmt.Errorf("there is no store for pool %s's queue backend %q", c.ID, c.QueueBackend)
	case e.stores[c.MailboxBackend] == nil:
		return nil, fmt.Errorf("there is no store for pool %s's mailbox backend %q", c.ID, c.MailboxBackend)
	case c.Executor == nil && !c.Runtime.Leased():
		return nil, fmt.Errorf("pool %s needs an executor, or a runtime whose tasks are leased", c.ID)
	}
	if p.node != nil {
		p.node.Add(member{p})
	}
	return p, nil
}

func (p *pool) nodeName() string {
	if p.node != nil {
		return p.node.Name()
	}
	return p.eng.node
}

// firstRow is that of a pool that was never there.
func (p *pool) firstRow() park.PoolRow {
	return park.PoolRow{
		MaxUnits: p.MaxUnits, MaxQueueDepth: p.MaxQueueDepth, State: park.Active,
		ConfiguredUnits: p.MaxUnits, ConfiguredDepth: p.MaxQueueDepth,
	}
}

package engine

import (
	"context"
	"slices"
	"sync"

	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// How a pool is loaded from its store, and what is done after that.

// load reads the pool's state from its store. A million tasks should not be in memory in two forms.
func (l *loop) load(ctx context.Context) error {
	reload, err := l.loadOnce(ctx)
	if reload && err == nil {
		_, err = l.loadOnce(ctx)
	}
	return err
}

// loadOnce is one attempt. If it had to move the pool past the end of its log, the pool must be loaded again.
func (l *loop) loadOnce(ctx context.Context) (reload bool, err error) {
	node := l.nodeName()
	fresh := l.newLot(node)
	var end logEnd
	var logErr error
	if !l.pastLogEnd && !l.localAudit {
		end, logErr = l.readLogEnd(ctx)
	}
	// Called after the store has begun to answer: a lease that was granted meanwhile must get its whole time.
	now := sync.OnceValue(l.eng.env.Instant)
	var row ledger.Pool
	var needRow []ledger.Record // tasks that can be restored only after the row
	restore := func(r *ledger.Record) {
		if lot.NeedsRow(r) {
			needRow = append(needRow, *r)
			return
		}
		fresh.Restore(r, now())
	}
	if w, ok := l.queue.(store.Walker); ok {
		row, err = w.Walk(ctx, l.ID, restore)
	} else {
		var snap store.Snapshot
		snap, err = l.queue.Load(ctx, l.ID)
		for i := range snap.Tasks {
			restore(&snap.Tasks[i])
		}
		row = snap.Row
	}
	if err != nil {
		return false, err
	}
	end, logAhead, err := l.logIsAhead(ctx, row, end, logErr)
	switch {
	case err != nil:
		return false, err
	case logAhead:
		return true, l.skipToLogEnd(ctx, row, end)
	}
	l.install(fresh, row, needRow, node)
	first := l.lot.Row()
	l.firstLoaded.CompareAndSwap(nil, &first)
	return false, nil
}

// newLot returns a lot without tasks.
func (l *loop) newLot(node string) *lot.Lot {
	return lot.New(lot.Config{Pool: l.ID, Node: node, Leased: l.Runtime.Leased()}, l.eng.env.Instant())
}

// install gives the loop a new lot, after it has added the row and the tasks that need the row. node is the node's name
// in the lot.
func (l *loop) install(fresh *lot.Lot, row ledger.Pool, needRow []ledger.Record, node string) {
	if row == (ledger.Pool{}) {
		row = l.initialRow()
	}
	fresh.Merge(row, needRow, l.eng.env.Instant())
	l.lot, l.lotNode, l.unsecured = fresh, node, l.node != nil
	if err := l.lot.Check(); err != nil {
		_ = l.halt(err)
	}
	l.publish()
}

// initialOps returns the first operations after the load: tasks of a node that is gone are requeued, and limits that
// have changed in the configuration are applied.
func (l *loop) initialOps() (ops []lot.Op) {
	if row := l.lot.Row(); row.ConfiguredUnits != l.MaxUnits || row.ConfiguredDepth != l.MaxQueueDepth {
		l.eng.log.Info("the configuration of a pool has changed", "pool", l.ID, "max_units", l.MaxUnits, "max_queue_depth", l.MaxQueueDepth,
			"before_max_units", row.ConfiguredUnits, "before_max_queue_depth", row.ConfiguredDepth)
		ops = append(ops, lot.Configure{FromFile: true, Patch: park.PoolPatch{MaxUnits: &l.MaxUnits, MaxQueueDepth: &l.MaxQueueDepth}})
	}
	if l.Runtime.Leased() || l.node != nil {
		return ops
	}
	for _, id := range slices.Backward(l.lot.RunningTasks()) {
		s, _, _ := l.lot.State(id)
		ops = append(ops, lot.Requeue{TaskID: id, Attempt: s.Attempt, Reason: park.ReasonNodeLost})
	}
	return ops
}

// compareLimits logs if another node has other limits for the pool in its configuration. The limits of the node that
// started last count.
func (l *loop) compareLimits() {
	row := l.lot.Row()
	differ := row.ConfiguredUnits != l.MaxUnits || row.ConfiguredDepth != l.MaxQueueDepth
	if differ == l.limitsDiffer {
		return
	}
	if l.limitsDiffer = differ; !differ {
		l.eng.log.Info("all nodes have the same limits for the pool again", "pool", l.ID)
		return
	}
	l.eng.log.Warn("another node has other limits for the pool, and the node that starts last decides: configure all nodes alike",
		"pool", l.ID, "max_units", l.MaxUnits, "max_queue_depth", l.MaxQueueDepth,
		"theirs_max_units", row.ConfiguredUnits, "theirs_max_queue_depth", row.ConfiguredDepth)
}

// markInitialized notes that the step of initialOps is committed. The first time it warns of parked tasks that are too
// large.
func (l *loop) markInitialized() {
	if l.initialized {
		return
	}
	l.initialized = true
	if large := l.tooLargeWarning(); large != "" {
		l.eng.log.Warn("parked tasks cost more than their pool has", "pool", l.ID, "detail", large)
	}
}

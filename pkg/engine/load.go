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

// How a pool is loaded from its store, and what is done once it is.

// load takes the pool's state from its store. A million tasks should not be in memory in more forms than one.
func (l *loop) load(ctx context.Context) error {
	reload, err := l.loadOnce(ctx)
	if reload && err == nil {
		_, err = l.loadOnce(ctx)
	}
	return err
}

// loadOnce does that, unless the pool had to be moved past the end of its log: then it is to be loaded again.
func (l *loop) loadOnce(ctx context.Context) (reload bool, err error) {
	node := l.nodeName()
	fresh := l.newLot(node)
	var end logEnd
	var logErr error
	if !l.pastLogEnd && !l.localAudit {
		end, logErr = l.readLogEnd(ctx)
	}
	// After the store has looked: what was leased while it was asked must have its whole time.
	now := sync.OnceValue(l.eng.env.Instant)
	var row ledger.Pool
	var needRow []ledger.Record // which need the row
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

// empty returns a lot without tasks, to be filled.
func (l *loop) newLot(node string) *lot.Lot {
	return lot.New(lot.Config{Pool: l.ID, Node: node, Leased: l.Runtime.Leased()}, l.eng.env.Instant())
}

// take has the pool go on with a lot that was made under a name of the node, and lacks its row and the tasks that need it.
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

// adoption returns what has to be done once with a pool that was loaded: what ran on a node that is gone is requeued,
// and limits that the configuration has changed are taken over.
func (l *loop) initialOps() (ops []lot.Op) {
	if row := l.lot.Row(); row.ConfiguredUnits != l.MaxUnits || row.ConfiguredDepth != l.MaxQueueDepth {
		l.eng.log.Info("the configuration says something new of a pool", "pool", l.ID, "max_units", l.MaxUnits, "max_queue_depth", l.MaxQueueDepth,
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

// compare tells of a node that has come with another configuration of the pool than this one's: its limits are those that
// count now, and with the next node that starts they change again.
func (l *loop) compareLimits() {
	row := l.lot.Row()
	differ := row.ConfiguredUnits != l.MaxUnits || row.ConfiguredDepth != l.MaxQueueDepth
	if differ == l.limitsDiffer {
		return
	}
	if l.limitsDiffer = differ; !differ {
		l.eng.log.Info("the nodes' configurations of a pool agree again", "pool", l.ID)
		return
	}
	l.eng.log.Warn("another node has another configuration of a pool, and the one that starts last decides: give all nodes the same",
		"pool", l.ID, "max_units", l.MaxUnits, "max_queue_depth", l.MaxQueueDepth,
		"theirs_max_units", row.ConfiguredUnits, "theirs_max_queue_depth", row.ConfiguredDepth)
}

// settled notes that the pool is under this engine, and says once what its operator may not expect of it.
func (l *loop) markInitialized() {
	if l.initialized {
		return
	}
	l.initialized = true
	if large := l.tooLargeWarning(); large != "" {
		l.eng.log.Warn("parked tasks are larger than their pool", "pool", l.ID, "detail", large)
	}
}

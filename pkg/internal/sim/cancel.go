package sim

import (
	"context"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// stopDelay is how long a healthy daemon may take to stop a run after its task was cancelled, at any node.
const stopDelay = 1500 * time.Millisecond

// noteCancel records that a run is to be stopped, from its task's state after a step. Workers learn of it themselves.
func (c *checker) noteCancel(s *store.Step, id string, state *ledger.State) {
	j := c.known[id]
	if j == nil || state.Status != park.Running || !state.Cancelled || state.Lease != "" {
		return
	}
	r := run{j.number, state.Attempt}
	if _, known := c.cancelled[r]; known {
		return
	}
	c.cancelled[r] = c.now
	if c.startRevs[r] == s.Row.Rev {
		c.count("cancel in the step of the start")
		c.cancelledAtStart[r] = true
	}
	c.after(stopDelay, nil, func() { c.checkStopped(s.PoolID, r, c.now-stopDelay) })
}

// checkStart checks that a run that starts belongs to its task and has not been cancelled.
func (c *checker) checkStart(s *shim) {
	if !c.inUse(s) || s.leased {
		return
	}
	j := c.known[s.task]
	if j == nil || j.number != s.job {
		c.fail("payload", "%s begins run %d of task %s with the payload of another", s.machine.name, s.attempt, s.task)
		return
	}
	at, cancelled := c.cancelled[s.run()]
	// A step may have cancelled the run without having returned yet; but not the step that started it.
	if cancelled && (c.cancelledAtStart[s.run()] || c.healthy(s) && c.now-max(at, c.healthySince(s)) > stopDelay) {
		c.fail("cancel", "run %d of task %s begins, which was cancelled %s before", s.attempt, s.task, c.now-at)
	}
}

// checkStopped checks that a run that was cancelled at a time has been told to stop by now. It checks again later if
// its node could not know.
func (c *checker) checkStopped(pool string, r run, at time.Duration) {
	if c.cancelled[r] != at {
		return // the database was restored
	}
	for _, s := range c.pools[pool].shims {
		switch {
		case s.run() != r || s.stopRequested || s.ended || s.excused || s.daemon.ended:
		case c.healthy(s) && c.now-max(at, c.healthySince(s)) >= stopDelay:
			c.fail("cancel", "task %s, cancelled %s ago, has not been told to stop in run %d on %s", s.task, c.now-at, s.attempt, s.machine.name)
		default:
			c.after(stopDelay/2, nil, func() { c.checkStopped(pool, r, at) })
		}
	}
}

// node returns the node of a run.
func (c *checker) node(s *shim) *node {
	for _, n := range c.nodes {
		if n.process == s.daemon {
			return n
		}
	}
	return nil
}

// healthy reports whether nothing keeps a run's node from learning of changes by others.
func (c *checker) healthy(s *shim) bool {
	n := c.node(s)
	return n != nil && c.nodeHealthy(n)
}

// nodeHealthy reports whether nothing keeps a running node from learning of changes by others.
func (c *checker) nodeHealthy(n *node) bool {
	return !n.suspended && !n.process.frozen && !n.partitioned.in && !n.partitioned.out && !c.down && c.now >= c.fullUntil &&
		c.faults.loss == 0 && c.faults.late == 0
}

// healthySince returns since when a run's node has been healthy.
func (c *checker) healthySince(s *shim) time.Duration {
	n := c.node(s)
	if n == nil {
		return c.now
	}
	return max(n.faultEnded, n.process.unfrozenAt, c.faultEnded, c.fullUntil)
}

// cancelMany cancels many tasks of a pool at one node, as an operator may.
func (h *history) cancelMany(n *node) {
	if h.chance(0.7) {
		return // it leaves little to test
	}
	pool := h.plan.pools[h.rng.IntN(len(h.plan.pools))].ID
	t := h.db.pools[pool]
	if t == nil {
		return
	}
	h.trace("sweep", "%s at %s", pool, n.name)
	h.count("sweep")
	for _, r := range t.order {
		if !r.Status.Ended() && h.chance(0.7) {
			h.count("cancel")
			h.spawn(h.outside, func() { h.cancel(h.outside, n, pool, r.TaskID) })
		}
	}
}

// cancel sends one request to cancel a task to a node.
func (h *history) cancel(f *process, n *node, pool, id string) {
	_, err := rpc(h, f, n, 3*time.Second, func(ctx context.Context, e *engine.Engine) (park.Task, error) {
		return h.cancelAt(ctx, e, pool, id)
	})
	h.unknownID(err, id)
}

// cancelNext sometimes cancels the task that will start when a run has ended, at the same node, so that both may be in
// one step.
func (h *history) cancelNext(s *shim) {
	if !h.faults.cancelStarts || s.leased || s.daemon.ended || !h.chance(0.2) {
		return
	}
	var next *ledger.Record
	for _, r := range h.db.table(s.pool).order {
		if r.Status == park.Queued && (next == nil || r.Priority > next.Priority || r.Priority == next.Priority && r.Rank < next.Rank) {
			next = r
		}
	}
	n := h.check.node(s)
	if next == nil || n == nil || n.eng == nil {
		return
	}
	h.count("cancel of the next")
	id := next.TaskID
	h.after(h.between(0, 300*time.Microsecond), n.process, func() {
		if e := n.eng; e != nil {
			h.spawn(n.process, func() { _, _ = h.cancelAt(context.Background(), e, s.pool, id) })
		}
	})
}

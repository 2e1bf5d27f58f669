package sim

import (
	"context"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// obedience is how long a daemon that is well needs to tell a run that its task was cancelled, wherever that was asked for.
const obedience = 1500 * time.Millisecond

// noteCancel takes note of a run that is to be stopped, by a task's state after a step. Leased runs hear of it from their
// workers.
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
	if c.begun[r] == s.Row.Rev {
		c.count("cancel in the step of the start")
		c.stillborn[r] = true
	}
	c.after(obedience, nil, func() { c.obeys(s.PoolID, r, c.now-obedience) })
}

// mayBegin checks that a run which begins is its task's, and has not been cancelled already.
func (c *checker) mayBegin(s *shim) {
	if !c.inUse(s) || s.leased {
		return
	}
	j := c.known[s.task]
	if j == nil || j.number != s.job {
		c.fail("payload", "%s begins run %d of task %s with the payload of another", s.machine.name, s.attempt, s.task)
		return
	}
	at, cancelled := c.cancelled[s.run()]
	// A step may have cancelled the run and not have come back yet; but not that which began it.
	if cancelled && (c.stillborn[s.run()] || c.well(s) && c.now-max(at, c.mendedOf(s)) > obedience) {
		c.fail("cancel", "run %d of task %s begins, which was cancelled %s before", s.attempt, s.task, c.now-at)
	}
}

// obeys checks that a run which was cancelled at a time has been told to stop by now, and looks again later where its node
// could not hear of it.
func (c *checker) obeys(pool string, r run, at time.Duration) {
	if c.cancelled[r] != at {
		return // the database went back
	}
	for _, s := range c.live[pool].shims {
		switch {
		case s.run() != r || s.asked || s.over || s.excused || s.life.ended:
		case c.well(s) && c.now-max(at, c.mendedOf(s)) >= obedience:
			c.fail("cancel", "task %s, cancelled %s ago, has not been told to stop in run %d on %s", s.task, c.now-at, s.attempt, s.machine.name)
		default:
			c.after(obedience/2, nil, func() { c.obeys(pool, r, at) })
		}
	}
}

// node returns the node that a run is on.
func (c *checker) node(s *shim) *node {
	for _, n := range c.nodes {
		if n.life == s.life {
			return n
		}
	}
	return nil
}

// well reports whether nothing keeps a run's node from hearing what others do.
func (c *checker) well(s *shim) bool {
	n := c.node(s)
	return n != nil && c.fine(n)
}

// fine reports whether nothing keeps a node that has a life from hearing what others do.
func (c *checker) fine(n *node) bool {
	return !n.suspended && !n.life.frozen && !n.deaf.in && !n.deaf.out && !c.down && c.now >= c.fullUntil &&
		c.faults.loss == 0 && c.faults.late == 0
}

// mendedOf returns since when that is so.
func (c *checker) mendedOf(s *shim) time.Duration {
	n := c.node(s)
	if n == nil {
		return c.now
	}
	return max(n.mended, n.life.thawed, c.mended, c.fullUntil)
}

// sweep cancels much of what a pool has, at once and at one node, as an operator does.
func (h *history) sweep(n *node) {
	if h.chance(0.7) {
		return // it leaves little to prove
	}
	pool := h.plan.pools[h.rng.IntN(len(h.plan.pools))].ID
	t := h.base.pools[pool]
	if t == nil {
		return
	}
	h.note("sweep", "%s at %s", pool, n.name)
	h.count("sweep")
	for _, r := range t.order {
		if !r.Status.Ended() && h.chance(0.7) {
			h.count("cancel")
			h.spawn(h.outside, func() { h.cancel(h.outside, n, pool, r.TaskID) })
		}
	}
}

// cancel asks a node once to cancel a task.
func (h *history) cancel(f *life, n *node, pool, id string) {
	_, err := rpc(h, f, n, 3*time.Second, func(ctx context.Context, e *engine.Engine) (park.Task, error) {
		return h.drop(ctx, e, pool, id)
	})
	h.unknown(err, id)
}

// cancelNext cancels, now and then, the task that is to start when a run has ended: at the same node, which may take both
// in one step.
func (h *history) cancelNext(s *shim) {
	if !h.faults.sudden || s.leased || s.life.ended || !h.chance(0.2) {
		return
	}
	var next *ledger.Record
	for _, r := range h.base.table(s.pool).order {
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
	h.after(h.between(0, 300*time.Microsecond), n.life, func() {
		if e := n.eng; e != nil {
			h.spawn(n.life, func() { _, _ = h.drop(context.Background(), e, s.pool, id) })
		}
	})
}

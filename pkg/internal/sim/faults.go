package sim

import (
	"time"
)

// faultLoop injects faults of the kinds that the seed has switched on, until the faults end.
func (h *history) faultLoop() {
	if h.faultsOver {
		return
	}
	h.after(h.between(0, 2*h.faults.interval), nil, func() {
		if h.faultsOver {
			return
		}
		if n := len(h.faults.kinds); n > 0 {
			h.inject(h.faults.kinds[h.rng.IntN(n)])
		}
		h.faultLoop()
	})
}

// inject injects one fault of a kind. Faults that are active all the time are in [faults].
func (h *history) inject(kind string) {
	n := h.victim()
	switch kind {
	case "crash":
		h.trace(kind, "%s", n.name)
		h.count(kind)
		away := h.between(10*time.Millisecond, 3*time.Second)
		if h.chance(0.5) {
			away = h.between(time.Millisecond, 50*time.Millisecond) // its commands may still be ending
		}
		h.crash(n, away)
	case "stop":
		h.trace(kind, "%s", n.name)
		h.count(kind)
		h.close(n)
	case "freeze":
		h.freeze(n, kind, h.between(time.Millisecond, time.Second))
	case "long freeze":
		h.freeze(n, kind, h.between(nodeTTL/2, 2*(nodeTTL+nodeGrace)))
	case "suspend":
		d := h.between(10*time.Millisecond, 2*(nodeTTL+nodeGrace))
		if h.chance(0.4) { // the daemon is frozen when the machine wakes, and its shims are alone
			d = h.between(nodeTTL/2, nodeTTL+nodeGrace)
			h.freeze(n, "long freeze", d+h.between(nodeTTL, 2*(nodeTTL+nodeGrace)))
		}
		h.suspend(&n.machine, n, d)
	case "partition":
		h.partition(n, h.between(10*time.Millisecond, 2*(nodeTTL+nodeGrace)))
	case "long partition":
		h.partition(n, h.between(nodeTTL+nodeGrace/2, 2*(nodeTTL+nodeGrace)))
	case "clock step":
		h.stepClock(n)
	case "outage":
		h.outage(h.between(5*time.Millisecond, 2*nodeTTL))
	case "long outage":
		h.outage(h.between(h.plan.patience, 3*h.plan.patience))
	case "lost replies":
		h.loseReplies(n, h.between(h.plan.patience/2, 3*h.plan.patience))
	case "unreadable":
		h.unreadable = h.now + h.between(10*time.Millisecond, 2*time.Second)
		h.trace(kind, "until %s", h.unreadable)
		h.count(kind)
		h.crash(n, h.between(time.Millisecond, 100*time.Millisecond))
	case "cancels":
		h.cancelMany(n)
	case "disk full":
		h.fullUntil = h.now + h.between(5*time.Millisecond, 3*time.Second)
	case "power cut":
		h.powerCut(n)
	case "worker crash":
		h.injectWorkerFault()
	case "shortage":
		m := &n.machine
		if len(h.workers) > 0 && h.chance(0.3) {
			m = &h.workers[h.rng.IntN(len(h.workers))].machine
		}
		h.startShortage(m, h.between(5*time.Millisecond, 3*time.Second))
	case "restore":
		if h.chance(0.15) {
			h.restore()
		}
	}
}

// victim chooses the node for a fault, often one with the most commands.
func (h *history) victim() *node {
	n := h.randomNode()
	if h.chance(0.5) {
		for _, o := range h.nodes {
			if len(o.shims) > len(n.shims) {
				n = o
			}
		}
	}
	return n
}

func (h *history) freeze(n *node, kind string, d time.Duration) {
	f := n.process
	if f == nil || f.frozen {
		return
	}
	h.trace(kind, "%s for %s", n.name, d)
	h.count(kind)
	f.setFrozen(true)
	h.after(d, nil, func() {
		h.trace("thaw", "%s", n.name)
		f.setFrozen(false)
	})
}

func (h *history) suspend(m *machine, n *node, d time.Duration) {
	if m.suspended {
		return
	}
	h.trace("suspend", "%s for %s", m.name, d)
	h.count("suspend")
	m.suspend(true)
	h.after(d, nil, func() {
		h.trace("resume", "%s", m.name)
		m.suspend(false)
		n.faultEnded = h.now
		if n.process != nil {
			n.process.releaseDelayed()
		}
	})
}

// partition cuts a node off from the database: in one direction or both.
func (h *history) partition(n *node, d time.Duration) {
	if h.singleNode {
		return
	}
	if n.partitioned.out || n.partitioned.in {
		return
	}
	way := h.rng.IntN(3)
	n.partitioned.out, n.partitioned.in = way != 0, way != 1
	h.trace("partition", "%s, out %t, in %t, for %s", n.name, n.partitioned.out, n.partitioned.in, d)
	h.count("partition")
	h.after(d, nil, func() { h.reconnect(n) })
}

// loseReplies loses the database's replies to a node.
func (h *history) loseReplies(n *node, d time.Duration) {
	if h.singleNode || n.partitioned.out || n.partitioned.in {
		return
	}
	n.partitioned.in = true
	h.trace("lost replies", "%s, for %s", n.name, d)
	h.count("lost replies")
	h.after(d, nil, func() { h.reconnect(n) })
}

func (h *history) reconnect(n *node) {
	n.partitioned.out, n.partitioned.in, n.faultEnded = false, false, h.now
}

// stepClock sets a node's wall clock wrong, or right again; or those of all nodes, as a wrong time server does.
func (h *history) stepClock(n *node) {
	off := [...]time.Duration{-time.Hour, 0, time.Hour}[h.rng.IntN(3)]
	if off == n.wallOffset {
		off += time.Hour
	}
	struck := []*node{n}
	if h.chance(0.4) {
		struck = h.nodes
	}
	for _, n := range struck {
		n.wallOffset = off
		h.trace("clock step", "%s is off by %s", n.name, n.wallOffset)
		h.count("clock step")
	}
}

// outage makes the database unavailable for a while.
func (h *history) outage(d time.Duration) {
	if h.down || h.singleNode {
		return
	}
	h.trace("outage", "for %s", d)
	h.count("outage")
	h.down = true
	h.after(d, nil, func() { h.down, h.faultEnded = false, h.now })
}

// startShortage keeps a machine from starting processes for a while.
func (h *history) startShortage(m *machine, d time.Duration) {
	if m.starved {
		return
	}
	h.trace("shortage", "%s for %s", m.name, d)
	h.count("shortage")
	m.starved = true
	h.after(d, nil, func() { m.starved = false })
}

// powerCut cuts the power of the only machine: data that was not flushed is lost.
func (h *history) powerCut(n *node) {
	if !h.singleNode || n.process == nil {
		return
	}
	h.trace("power cut", "")
	h.count("power cut")
	f := n.process
	n.process, n.eng = nil, nil
	h.record(daemonStopped{f.number, true})
	f.end()
	for len(n.shims) > 0 {
		h.kill(n.shims[0])
	}
	if s := h.flushing; s != nil && h.chance(0.5) {
		s.at = h.now
		_ = h.db.commit(*s, false)
	}
	h.flushing = nil
	h.after(h.between(100*time.Millisecond, 2*time.Second), nil, func() {
		if n.process == nil {
			h.start(n)
		}
	})
}

// restore restores the database to an older state, as an operator does with all daemons stopped. Everything accepted
// since is lost, which is no broken guarantee. Remote workers do not know of it.
func (h *history) restore() {
	if h.singleNode || len(h.db.steps) == 0 {
		return
	}
	to := len(h.db.steps) - h.rng.IntN(min(len(h.db.steps), 30))
	h.trace("restore", "to step %d of %d", to, len(h.db.steps))
	h.count("restore")
	for _, n := range h.nodes {
		if f := n.process; f != nil {
			n.process, n.eng, n.listener = nil, nil, nil
			h.record(daemonStopped{f.number, true})
			f.end()
			h.killOrphans(f)
		}
		h.after(h.between(300*time.Millisecond, time.Second), nil, func() {
			if n.process == nil {
				h.start(n)
			}
		})
	}
	h.db.restore(to)
	h.check.databaseRestored()
}

// injectWorkerFault kills or freezes a worker.
func (h *history) injectWorkerFault() {
	if len(h.workers) == 0 {
		return
	}
	w := h.workers[h.rng.IntN(len(h.workers))]
	f := w.process
	if f.frozen || f.ended {
		return
	}
	h.count("worker crash")
	if h.chance(0.5) {
		h.trace("worker crash", "%s", w.name)
		f.end()
		h.killOrphans(f)
		h.after(h.between(10*time.Millisecond, 2*time.Second), nil, func() { h.startWorker(w) })
		return
	}
	d := h.between(time.Millisecond, 2*leaseTTL)
	h.trace("worker freeze", "%s for %s", w.name, d)
	f.setFrozen(true)
	h.after(d, nil, func() { f.setFrozen(false) })
}

// heal ends all faults.
func (h *history) heal() {
	h.trace("heal", "the faults are over")
	h.faultsOver = true
	h.faults = faults{}
	h.down, h.fullUntil, h.unreadable, h.faultEnded = false, 0, 0, h.now
	for _, n := range h.nodes {
		n.partitioned.in, n.partitioned.out, n.wallOffset, n.starved = false, false, 0, false
		if n.suspended {
			n.suspend(false)
		}
		if n.process != nil {
			if n.process.frozen {
				n.process.setFrozen(false) // it needs some time to notice what it missed
			}
			n.process.slow = false
			n.process.releaseDelayed()
		}
		if n.process == nil {
			h.start(n)
		}
	}
	for _, w := range h.workers {
		w.starved = false
		if w.process.ended {
			h.startWorker(w)
		}
		w.process.setFrozen(false)
	}
}

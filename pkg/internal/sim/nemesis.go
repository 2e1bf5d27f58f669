package sim

import (
	"time"
)

// nemesis strikes again and again, with the faults that the seed has switched on, until the faults are over.
func (h *history) nemesis() {
	if h.calm {
		return
	}
	h.after(h.between(0, 2*h.faults.rest), nil, func() {
		if h.calm {
			return
		}
		if n := len(h.faults.kinds); n > 0 {
			h.strike(h.faults.kinds[h.rng.IntN(n)])
		}
		h.nemesis()
	})
}

// strike does one thing of a kind. The kinds that go on all the time are in [faults].
func (h *history) strike(kind string) {
	n := h.victim()
	switch kind {
	case "crash":
		h.note(kind, "%s", n.name)
		h.count(kind)
		away := h.between(10*time.Millisecond, 3*time.Second)
		if h.chance(0.5) {
			away = h.between(time.Millisecond, 50*time.Millisecond) // what ran may still be ending
		}
		h.crash(n, away)
	case "stop":
		h.note(kind, "%s", n.name)
		h.count(kind)
		h.close(n)
	case "freeze":
		h.freeze(n, kind, h.between(time.Millisecond, time.Second))
	case "long freeze":
		h.freeze(n, kind, h.between(nodeTTL/2, 2*(nodeTTL+nodeGrace)))
	case "suspend":
		d := h.between(10*time.Millisecond, 2*(nodeTTL+nodeGrace))
		if h.chance(0.4) { // the daemon is stopped when the machine wakes, and its shims are alone
			d = h.between(nodeTTL/2, nodeTTL+nodeGrace)
			h.freeze(n, "long freeze", d+h.between(nodeTTL, 2*(nodeTTL+nodeGrace)))
		}
		h.suspend(&n.machine, n, d)
	case "partition":
		h.cut(n, h.between(10*time.Millisecond, 2*(nodeTTL+nodeGrace)))
	case "long partition":
		h.cut(n, h.between(nodeTTL+nodeGrace/2, 2*(nodeTTL+nodeGrace)))
	case "clock step":
		h.step(n)
	case "outage":
		h.outage(h.between(5*time.Millisecond, 2*nodeTTL))
	case "long outage":
		h.outage(h.between(h.plan.patience, 3*h.plan.patience))
	case "lost replies":
		h.mute(n, h.between(h.plan.patience/2, 3*h.plan.patience))
	case "unreadable":
		h.unreadable = h.now + h.between(10*time.Millisecond, 2*time.Second)
		h.note(kind, "until %s", h.unreadable)
		h.count(kind)
		h.crash(n, h.between(time.Millisecond, 100*time.Millisecond))
	case "cancels":
		h.sweep(n)
	case "disk full":
		h.fullUntil = h.now + h.between(5*time.Millisecond, 3*time.Second)
	case "power cut":
		h.powerCut(n)
	case "worker crash":
		h.strikeHand()
	case "shortage":
		m := &n.machine
		if len(h.hands) > 0 && h.chance(0.3) {
			m = &h.hands[h.rng.IntN(len(h.hands))].machine
		}
		h.starve(m, h.between(5*time.Millisecond, 3*time.Second))
	case "restore":
		if h.chance(0.15) {
			h.restore()
		}
	}
}

// victim chooses whom to strike: often one that has something to lose.
func (h *history) victim() *node {
	n := h.any()
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
	f := n.life
	if f == nil || f.frozen {
		return
	}
	h.note(kind, "%s for %s", n.name, d)
	h.count(kind)
	f.freeze(true)
	h.after(d, nil, func() {
		h.note("thaw", "%s", n.name)
		f.freeze(false)
	})
}

func (h *history) suspend(m *machine, n *node, d time.Duration) {
	if m.suspended {
		return
	}
	h.note("suspend", "%s for %s", m.name, d)
	h.count("suspend")
	m.suspend(true)
	h.after(d, nil, func() {
		h.note("resume", "%s", m.name)
		m.suspend(false)
		n.mended = h.now
		if n.life != nil {
			n.life.thaw()
		}
	})
}

// cut cuts a node off from the database: towards it, from it, or both.
func (h *history) cut(n *node, d time.Duration) {
	if h.alone {
		return
	}
	if n.deaf.out || n.deaf.in {
		return
	}
	way := h.rng.IntN(3)
	n.deaf.out, n.deaf.in = way != 0, way != 1
	h.note("partition", "%s, out %t, in %t, for %s", n.name, n.deaf.out, n.deaf.in, d)
	h.count("partition")
	h.after(d, nil, func() { h.join(n) })
}

// mute has the database hear a node that hears nothing of it.
func (h *history) mute(n *node, d time.Duration) {
	if h.alone || n.deaf.out || n.deaf.in {
		return
	}
	n.deaf.in = true
	h.note("lost replies", "%s, for %s", n.name, d)
	h.count("lost replies")
	h.after(d, nil, func() { h.join(n) })
}

func (h *history) join(n *node) {
	n.deaf.out, n.deaf.in, n.mended = false, false, h.now
}

// step sets a node's wall clock wrong, or right again; or those of all nodes, as a time server does that is wrong itself.
func (h *history) step(n *node) {
	off := [...]time.Duration{-time.Hour, 0, time.Hour}[h.rng.IntN(3)]
	if off == n.off {
		off += time.Hour
	}
	struck := []*node{n}
	if h.chance(0.4) {
		struck = h.nodes
	}
	for _, n := range struck {
		n.off = off
		h.note("clock step", "%s is off by %s", n.name, n.off)
		h.count("clock step")
	}
}

// outage makes the database go away for a while.
func (h *history) outage(d time.Duration) {
	if h.down || h.alone {
		return
	}
	h.note("outage", "for %s", d)
	h.count("outage")
	h.down = true
	h.after(d, nil, func() { h.down, h.mended = false, h.now })
}

// starve has a machine start no process for a while.
func (h *history) starve(m *machine, d time.Duration) {
	if m.short {
		return
	}
	h.note("shortage", "%s for %s", m.name, d)
	h.count("shortage")
	m.short = true
	h.after(d, nil, func() { m.short = false })
}

// powerCut takes the power from the only machine: what was not flushed is lost.
func (h *history) powerCut(n *node) {
	if !h.alone || n.life == nil {
		return
	}
	h.note("power cut", "")
	h.count("power cut")
	f := n.life
	n.life, n.eng = nil, nil
	h.see(stops{f.number, true})
	f.end()
	for len(n.shims) > 0 {
		h.kill(n.shims[0])
	}
	if s := h.flushing; s != nil && h.chance(0.5) {
		s.at = h.now
		_ = h.base.commit(*s, false)
	}
	h.flushing = nil
	h.after(h.between(100*time.Millisecond, 2*time.Second), nil, func() {
		if n.life == nil {
			h.start(n)
		}
	})
}

// restore puts the database back to an older state, as an operator does who stops all daemons for that. What was accepted
// since is lost, and nobody can promise otherwise. Workers elsewhere know nothing of it.
func (h *history) restore() {
	if h.alone || len(h.base.steps) == 0 {
		return
	}
	to := len(h.base.steps) - h.rng.IntN(min(len(h.base.steps), 30))
	h.note("restore", "to step %d of %d", to, len(h.base.steps))
	h.count("restore")
	for _, n := range h.nodes {
		if f := n.life; f != nil {
			n.life, n.eng, n.listener = nil, nil, nil
			h.see(stops{f.number, true})
			f.end()
			h.orphan(f)
		}
		h.after(h.between(300*time.Millisecond, time.Second), nil, func() {
			if n.life == nil {
				h.start(n)
			}
		})
	}
	h.base.back(to)
	h.check.forgive()
}

// strikeHand kills, freezes or suspends a worker.
func (h *history) strikeHand() {
	if len(h.hands) == 0 {
		return
	}
	w := h.hands[h.rng.IntN(len(h.hands))]
	f := w.life
	if f.frozen || f.ended {
		return
	}
	h.count("worker crash")
	if h.chance(0.5) {
		h.note("worker crash", "%s", w.name)
		f.end()
		h.orphan(f)
		h.after(h.between(10*time.Millisecond, 2*time.Second), nil, func() { h.employ(w) })
		return
	}
	d := h.between(time.Millisecond, 2*leaseTTL)
	h.note("worker freeze", "%s for %s", w.name, d)
	f.freeze(true)
	h.after(d, nil, func() { f.freeze(false) })
}

// heal ends all faults.
func (h *history) heal() {
	h.note("heal", "the faults are over")
	h.calm = true
	h.faults = faults{}
	h.down, h.fullUntil, h.unreadable, h.mended = false, 0, 0, h.now
	for _, n := range h.nodes {
		n.deaf.in, n.deaf.out, n.off, n.short = false, false, 0, false
		if n.suspended {
			n.suspend(false)
		}
		if n.life != nil {
			if n.life.frozen {
				n.life.freeze(false) // it has some time to look around
			}
			n.life.slow = false
			n.life.thaw()
		}
		if n.life == nil {
			h.start(n)
		}
	}
	for _, w := range h.hands {
		w.short = false
		if w.life.ended {
			h.employ(w)
		}
		w.life.freeze(false)
	}
}

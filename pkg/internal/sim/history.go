package sim

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// history is one simulated run of a whole deployment.
type history struct {
	*loop
	plan   plan
	base   *base
	nodes  []*node
	hands  []*hand // remote workers
	jobs   []*job
	check  *checker
	counts map[string]int // injected faults by kind
	lives  uint64
	alone  bool // one node, on a file; else nodes share a database
	// flushing is the step that is on its way to the disk of the only node.
	flushing *done
	down     bool          // the database does not answer
	mended   time.Duration // true time of the end of its last fault
	faults   faults
	// unreadable is until when no pool can be loaded.
	unreadable time.Duration
	// fullUntil is when the disk has room again.
	fullUntil time.Duration
	calm      bool  // the faults are over
	outside   *life // the clients
	waiting   int   // clients that still want something
	opt       options
	alive     []*life // all that were ever begun and may not have ended
	lines     []string
}

// node is a machine with a daemon.
type node struct {
	machine
	life     *life          // the daemon; nil while there is none
	eng      *engine.Engine // nil until it is open
	deaf     struct{ in, out bool }
	mended   time.Duration // true time of the end of its last fault
	listener *listener
}

func (h *history) newLife(m *machine) *life {
	h.lives++
	f := &life{loop: h.loop, machine: m, number: h.lives, slow: h.faults.slow}
	h.alive = append(h.alive, f)
	return f
}

// start starts a node's daemon, as the service manager does.
func (h *history) start(n *node) {
	f := h.newLife(&n.machine)
	n.life, n.eng, n.listener = f, nil, nil
	h.note("start", "%s begins life %d", n.name, f.number)
	h.spawn(f, func() {
		for settled := false; !settled; f.sleep(5 * time.Millisecond) {
			settled = true
			for _, s := range n.shims {
				settled = settled && s.life == f
			}
		}
		e, err := engine.Open(context.Background(), h.config(n, f))
		if err != nil {
			h.note("start", "%s does not start: %v", n.name, err)
			h.crash(n, 500*time.Millisecond)
			return
		}
		n.eng = e
	})
}

func (h *history) config(n *node, f *life) engine.Config {
	c := engine.Config{
		Machine: f, Stores: map[park.Backend]store.Store{park.Postgres: &link{history: h, life: f, node: n}},
		NodeTTL: h.terms(nodeTTL), NodeGrace: h.terms(nodeGrace), Patience: h.plan.patience, Retention: h.plan.retention, Quiet: h.plan.quiet, Log: slog.New(logs{h, n.name}),
	}
	x := &executor{history: h, life: f}
	if !h.alone {
		c.Shared = []park.Backend{park.Postgres}
	}
	if !h.alone && !h.plan.inner {
		x.fence = fenceOf(c.NodeTTL)
	}
	for _, spec := range h.plan.pools {
		p := engine.Pool{PoolSpec: h.configured(spec)}
		if !spec.Runtime.Leased() {
			p.Executor = x
		}
		c.Pools = append(c.Pools, p)
	}
	return c
}

// terms returns a time that a node lives by, which may be another at each start.
func (h *history) terms(t time.Duration) time.Duration {
	if f := h.rng.IntN(6); h.faults.has("terms") && f < 3 {
		h.count("terms")
		return t + t*time.Duration(f)/4
	}
	return t
}

// configured returns a pool as a node's file has it, which may say something else at each start.
func (h *history) configured(s park.PoolSpec) park.PoolSpec {
	units, depth, other := s.MaxUnits+h.plan.unit*(h.rng.Int64N(5)-2), s.MaxQueueDepth+h.rng.IntN(5)-2, h.chance(0.3)
	if other && h.faults.has("files") && units > 0 && depth >= 0 {
		h.count("files")
		s.MaxUnits, s.MaxQueueDepth = units, depth
	}
	h.see(patched{s.ID, park.PoolPatch{MaxUnits: &s.MaxUnits, MaxQueueDepth: &s.MaxQueueDepth}})
	return s
}

// crash kills a node's daemon, and has it started again.
func (h *history) crash(n *node, rest time.Duration) {
	f := n.life
	if f == nil {
		return
	}
	n.life, n.eng, n.listener = nil, nil, nil
	h.see(stops{f.number, true})
	// A coroutine cannot end its own life.
	h.after(0, nil, func() {
		f.end()
		h.orphan(f)
	})
	h.after(rest, nil, func() {
		if n.life == nil {
			h.start(n)
		}
	})
}

// close has a daemon stop as it does on SIGTERM, and then start again.
func (h *history) close(n *node) {
	f, e := n.life, n.eng
	if e == nil {
		return
	}
	n.eng = nil
	h.see(stops{f.number, false})
	h.spawn(f, func() {
		ctx, stop := context.WithCancel(context.Background())
		defer stop()
		f.AfterFunc(h.between(0, time.Second), stop)
		_ = e.Close(ctx)
		if n.life == f {
			h.crash(n, h.between(10*time.Millisecond, time.Second))
		}
	})
}

var (
	errLost    = errors.New("no answer came")
	errRefused = errors.New("nobody listens there")
)

// rpc calls a node over the network and waits for its answer for so long. The request may be lost, or come twice, and
// so may the reply.
func rpc[T any](h *history, from *life, n *node, patience time.Duration, f func(context.Context, *engine.Engine) (T, error)) (v T, err error) {
	answered := false
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel() // who asked hangs up
	serve := func() {
		to, e := n.life, n.eng
		if e == nil {
			h.after(h.latency(), from, func() {
				if !answered {
					err, answered = errRefused, true
				}
			})
			return
		}
		h.after(0, to, func() {
			h.spawn(to, func() {
				got, failed := f(ctx, e)
				for range h.copies("reply") {
					h.after(h.latency(), from, func() {
						if !answered {
							v, err, answered = got, failed, true
						}
					})
				}
			})
		})
	}
	for range h.copies("request") {
		h.after(h.latency(), nil, serve)
	}
	from.pause(patience, func() bool { return answered })
	if !answered {
		return v, errLost
	}
	return v, err
}

// any returns a node that a balancer would choose.
func (h *history) any() *node { return h.nodes[h.rng.IntN(len(h.nodes))] }

// latency is how long a message is on its way.
func (h *history) latency() time.Duration {
	if h.chance(h.faults.late) {
		h.count("late message")
		return h.between(0, h.faults.latest)
	}
	return time.Duration(50_000 + h.rng.Uint32()&(1<<20-1))
}

// copies is how often a message arrives.
func (h *history) copies(what string) int {
	switch {
	case h.chance(h.faults.loss):
		h.count("lost " + what)
		return 0
	case h.chance(h.faults.repeat):
		h.count("repeated " + what)
		return 2
	}
	return 1
}

func (h *history) count(kind string) {
	if !h.calm {
		h.counts[kind]++
	}
}

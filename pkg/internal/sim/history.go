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
	plan       plan
	db         *database
	nodes      []*node
	workers    []*worker // remote workers
	jobs       []*job
	check      *checker
	counts     map[string]int // injected faults by kind
	processes  uint64
	singleNode bool // one node on a file; else several nodes share a database
	// flushing is the step that the only node is writing to disk.
	flushing   *committedStep
	down       bool          // the database does not answer
	faultEnded time.Duration // true time of the end of its last fault
	faults     faults
	// unreadable is until when no pool can be loaded.
	unreadable time.Duration
	// fullUntil is when the disk has free space again.
	fullUntil  time.Duration
	faultsOver bool     // the faults are over
	outside    *process // the clients
	waiting    int      // clients that are not finished
	opt        options
	started    []*process // processes that may not have ended
	lines      []string
}

// node is a machine with a daemon.
type node struct {
	machine
	process     *process       // the daemon; nil while there is none
	eng         *engine.Engine // nil until it is open
	partitioned struct{ in, out bool }
	faultEnded  time.Duration // true time of the end of its last fault
	listener    *listener
}

func (h *history) newProcess(m *machine) *process {
	h.processes++
	f := &process{loop: h.loop, machine: m, number: h.processes, slow: h.faults.slow}
	h.started = append(h.started, f)
	return f
}

// start starts a node's daemon, as a service manager does.
func (h *history) start(n *node) {
	f := h.newProcess(&n.machine)
	n.process, n.eng, n.listener = f, nil, nil
	h.trace("start", "%s begins life %d", n.name, f.number)
	h.spawn(f, func() {
		for settled := false; !settled; f.sleep(5 * time.Millisecond) {
			settled = true
			for _, s := range n.shims {
				settled = settled && s.daemon == f
			}
		}
		e, err := engine.Open(context.Background(), h.config(n, f))
		if err != nil {
			h.trace("start", "%s does not start: %v", n.name, err)
			h.crash(n, 500*time.Millisecond)
			return
		}
		n.eng = e
	})
}

func (h *history) config(n *node, f *process) engine.Config {
	c := engine.Config{
		Machine: f, Stores: map[park.Backend]store.Store{park.Postgres: &link{history: h, process: f, node: n}},
		NodeTTL: h.terms(nodeTTL), NodeGrace: h.terms(nodeGrace), Patience: h.plan.patience, Retention: h.plan.retention, Quiet: h.plan.quiet, Log: slog.New(logs{h, n.name}),
	}
	x := &executor{history: h, process: f}
	if !h.singleNode {
		c.Shared = []park.Backend{park.Postgres}
	}
	if !h.singleNode && !h.plan.inProcess {
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

// terms returns a node's TTL or grace, which may differ at each start.
func (h *history) terms(t time.Duration) time.Duration {
	if f := h.rng.IntN(6); h.faults.has("terms") && f < 3 {
		h.count("terms")
		return t + t*time.Duration(f)/4
	}
	return t
}

// configured returns a pool as in the node's configuration file, which may differ at each start.
func (h *history) configured(s park.PoolSpec) park.PoolSpec {
	units, depth, other := s.MaxUnits+h.plan.unit*(h.rng.Int64N(5)-2), s.MaxQueueDepth+h.rng.IntN(5)-2, h.chance(0.3)
	if other && h.faults.has("files") && units > 0 && depth >= 0 {
		h.count("files")
		s.MaxUnits, s.MaxQueueDepth = units, depth
	}
	h.record(poolPatch{s.ID, park.PoolPatch{MaxUnits: &s.MaxUnits, MaxQueueDepth: &s.MaxQueueDepth}})
	return s
}

// crash kills a node's daemon, and starts it again later.
func (h *history) crash(n *node, rest time.Duration) {
	f := n.process
	if f == nil {
		return
	}
	n.process, n.eng, n.listener = nil, nil, nil
	h.record(daemonStopped{f.number, true})
	// A coroutine cannot end its own process.
	h.after(0, nil, func() {
		f.end()
		h.killOrphans(f)
	})
	h.after(rest, nil, func() {
		if n.process == nil {
			h.start(n)
		}
	})
}

// close stops a daemon as SIGTERM does, and starts it again later.
func (h *history) close(n *node) {
	f, e := n.process, n.eng
	if e == nil {
		return
	}
	n.eng = nil
	h.record(daemonStopped{f.number, false})
	h.spawn(f, func() {
		ctx, stop := context.WithCancel(context.Background())
		defer stop()
		f.AfterFunc(h.between(0, time.Second), stop)
		_ = e.Close(ctx)
		if n.process == f {
			h.crash(n, h.between(10*time.Millisecond, time.Second))
		}
	})
}

var (
	errLost    = errors.New("no answer came")
	errRefused = errors.New("nobody listens there")
)

// rpc calls a node over the network and waits for its answer for up to timeout. Request and reply may each be lost or
// repeated.
func rpc[T any](h *history, from *process, n *node, patience time.Duration, f func(context.Context, *engine.Engine) (T, error)) (v T, err error) {
	answered := false
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel() // when the caller gives up
	serve := func() {
		to, e := n.process, n.eng
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
				for range h.deliveries("reply") {
					h.after(h.latency(), from, func() {
						if !answered {
							v, err, answered = got, failed, true
						}
					})
				}
			})
		})
	}
	for range h.deliveries("request") {
		h.after(h.latency(), nil, serve)
	}
	from.wait(patience, func() bool { return answered })
	if !answered {
		return v, errLost
	}
	return v, err
}

// randomNode returns a node as a load balancer would.
func (h *history) randomNode() *node { return h.nodes[h.rng.IntN(len(h.nodes))] }

// latency is how long a message takes.
func (h *history) latency() time.Duration {
	if h.chance(h.faults.late) {
		h.count("late message")
		return h.between(0, h.faults.maxDelay)
	}
	return time.Duration(50_000 + h.rng.Uint32()&(1<<20-1))
}

// deliveries returns how often a message arrives.
func (h *history) deliveries(what string) int {
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
	if !h.faultsOver {
		h.counts[kind]++
	}
}

// Package sim tests parkd by simulation: whole deployments of one to five nodes over one database, with clients, remote
// workers and operators, in one thread and from one seed. The lot and the engine are the real ones. The database, the
// network, the machines with their clocks, and the commands under their shims are models; they behave as parkd may
// expect, and fail in every way that parkd must survive.
//
// Each seed draws a deployment, a load, and a subset of the faults with rates of its own (swarm testing). While faults
// occur, every step of the database and every process that starts is checked against the guarantees: capacity by a
// replay of the log and by the live processes, order, deadlines, fences, durability. Then the faults end, and every
// task must end in time. The same seed gives the same run, bit for bit.
//
// docs/design.md says what is guaranteed under which faults. The models stay within it: commands die with their shim's
// daemon, monotonic clocks drift by at most 1 %, and the database loses nothing that it has acknowledged.
package sim

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/park"
)

// Options select a history to run.
type Options struct {
	Seed uint64
	// Without leaves out kinds of faults; see [Kinds].
	Without []string
	// Timeline adds a timeline to the result.
	Timeline bool
}

// Result is the result of a history.
type Result struct {
	Seed   uint64
	Err    error // a *[Violation], or nil
	Hash   uint64
	Events int
	Steps  int
	Tasks  int           // accepted
	Lasted time.Duration // in simulated time
	Faults map[string]int
	// Operations counts everything but faults; Settings lists the settings of the deployment.
	Operations map[string]int
	Settings   map[string]int
	Timeline   []string
}

// Run runs one history.
func Run(o Options) Result {
	r, _ := runHistory(o, nil)
	return r
}

// runHistory runs a history, and passes everything the judge gets to keep as well, if it is given.
func runHistory(o Options, keep func(evidence)) (Result, *judge) {
	h := &history{loop: newLoop(o.Seed), counts: make(map[string]int), opt: options{timeline: o.Timeline, record: keep}}
	h.drawPlan(o.Without)
	h.build()
	h.loop.run(h.plan.activeTime, nil)
	if h.broken == nil {
		h.finish()
	}
	h.end()
	r := Result{
		Seed: o.Seed, Err: h.broken, Hash: h.hash, Events: h.events, Steps: len(h.db.steps), Lasted: h.now,
		Faults: h.counts, Operations: make(map[string]int), Settings: h.countSettings(), Timeline: h.lines,
	}
	for _, k := range operations() {
		if n := h.counts[k]; n > 0 {
			r.Operations[k] = n
			delete(h.counts, k)
		}
	}
	for _, j := range h.jobs {
		if j.acked {
			r.Tasks++
		}
	}
	return r, h.check.judge
}

type options struct {
	timeline bool
	record   func(evidence) // gets everything that the judge gets
}

// build creates the deployment.
func (h *history) build() {
	h.db = newBase()
	rated := h.faults.has("clock rate")
	rate := func() float64 {
		r := 1 + (h.rng.Float64()*2-1)*0.01
		if !rated {
			return 1
		}
		h.count("clock rate")
		return r
	}
	for i := range 15 + h.rng.IntN(50) {
		h.newJob(i)
	}
	h.check = newChecker(h)
	h.db.entered, h.db.logged, h.db.posted = h.check.entered, h.check.logged, h.check.posted
	h.db.committed, h.db.removed, h.db.returned = h.check.committed, h.check.removed, h.check.reset
	h.db.trimmed = func(t trimmed) { h.record(t) }
	for i := range h.plan.nodes {
		n := &node{machine: machine{loop: h.loop, name: fmt.Sprintf("node%d", i), rate: rate()}}
		h.nodes = append(h.nodes, n)
		h.start(n)
	}
	for i := range h.plan.workers {
		w := &worker{machine: machine{loop: h.loop, name: fmt.Sprintf("worker%d", i), rate: rate()}}
		h.workers = append(h.workers, w)
		h.startWorker(w)
	}
	h.clients()
	h.faultLoop()
}

// finish ends the faults and waits until all tasks have ended, or for the time in which they must.
func (h *history) finish() {
	h.heal()
	h.resetPools()
	work := time.Duration(0)
	for _, j := range h.jobs {
		runs := time.Duration(1 + j.work.Fails)
		work += runs*(j.work.Lasts+50*time.Millisecond) + 4*time.Duration(j.sub.Retry.Backoff)
	}
	bound := h.now + max(longestTTL+longestGrace, leaseTTL) + 2*time.Second + clientTimeout + work
	done := false
	h.loop.run(h.now+h.faults.maxDelay, nil) // requests of clients may still arrive, whether or not the clients wait
	h.loop.run(bound, func() bool {
		done = h.events%64 == 0 && h.allOpen() && h.check.allEnded()
		return done
	})
	if h.broken == nil && !done {
		h.fail("liveness", "%s after the faults ended: %s", (h.now - h.plan.activeTime).Round(time.Millisecond), h.describeUnfinished())
	}
	if h.broken == nil {
		// A node that did not answer before the faults ended is asked again only after a while.
		h.loop.run(max(h.now, h.plan.activeTime+callTimeout)+propagationDelay, nil)
		h.check.checkEnd()
	}
}

// clientTimeout is how long clients may still send requests after the faults have ended.
const clientTimeout = 10 * time.Second

// propagationDelay is how long a healthy node may not know of a change by another.
const propagationDelay = 600 * time.Millisecond

// end ends all processes.
func (h *history) end() {
	for _, f := range h.started {
		f.end()
	}
}

func (f *faults) has(kind string) bool { return slices.Contains(f.kinds, kind) }

// trace adds a line to the timeline.
func (h *history) trace(kind, format string, args ...any) {
	if h.opt.timeline {
		h.lines = append(h.lines, fmt.Sprintf("%12.6f  %-12s %s", h.now.Seconds(), kind, fmt.Sprintf(format, args...)))
	}
}

// resetPools has an operator set the pools back to their original limits.
func (h *history) resetPools() {
	f := h.newProcess(&machine{loop: h.loop, name: "operator", rate: 1})
	for _, spec := range h.plan.pools {
		h.spawn(f, func() {
			active, units := park.Active, spec.MaxUnits
			// An earlier change may still be on its way.
			for ; ; f.sleep(200 * time.Millisecond) {
				if t := h.db.table(spec.ID); t.row.State == active && t.row.MaxUnits == units {
					continue
				}
				_, _ = rpc(h, f, h.randomNode(), 2*time.Second, func(ctx context.Context, e *engine.Engine) (park.Pool, error) {
					return h.patchPool(ctx, e, spec.ID, park.PoolPatch{State: &active, MaxUnits: &units})
				})
			}
		})
	}
}

// allOpen reports whether every node is open.
func (h *history) allOpen() bool {
	for _, n := range h.nodes {
		if n.eng == nil {
			return false
		}
	}
	return true
}

// describeUnfinished describes the tasks that have not ended.
func (h *history) describeUnfinished() string {
	var text strings.Builder
	for _, j := range h.jobs {
		if r := h.db.row(j); j.isLive() && r == nil {
			fmt.Fprintf(&text, "task %s of pool %s has gone, and no end was logged; ", j.sub.TaskID, j.pool)
		} else if j.isLive() {
			fmt.Fprintf(&text, "task %s of pool %s is %s in run %d; ", r.TaskID, r.PoolID, r.Status, r.Attempt)
		} else if j.acked && j.state.lives == 0 {
			fmt.Fprintf(&text, "task %s is lost; ", j.sub.TaskID)
		}
	}
	if !h.allOpen() {
		text.WriteString("a node is not up; ")
	}
	return strings.TrimSuffix(text.String(), "; ")
}

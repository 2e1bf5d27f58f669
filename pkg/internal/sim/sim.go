// Package sim proves parkd by simulation: whole deployments, of one to five nodes over one database, with clients,
// remote workers and operators, in one thread and from one seed. The lot and the engine are the real ones; the database,
// the network, the machines with their clocks, and the commands under their shims are models of what parkd is promised
// by them, and of all that may go wrong with them.
//
// Each seed draws a deployment, a load, and a subset of the faults with rates of its own (swarm testing). While faults
// come and go, every step that the database takes and every process that begins is held against the promises: capacity
// by a replay of the log and by the processes that are alive, order, deadlines, fences, durability. Then the faults end,
// and everything has to come to its end in time. The same seed gives the same run, bit for bit.
//
// What is promised, and under which faults, is said in docs/design.md. The models are this side of it: commands die
// with their shim's daemon, monotonic clocks drift by at most 1 %, a database loses nothing that it has acknowledged.
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

// Options says which history to run.
type Options struct {
	Seed uint64
	// Without leaves out kinds of faults; see [Kinds].
	Without []string
	// Timeline has the result tell what happened.
	Timeline bool
}

// Result is what became of a history.
type Result struct {
	Seed   uint64
	Err    error // a *[Violation], or nil
	Hash   uint64
	Events int
	Steps  int
	Tasks  int           // accepted
	Lasted time.Duration // in simulated time
	Faults map[string]int
	// Operations is what was done beside the faults, and Settings what the deployment had.
	Operations map[string]int
	Settings   map[string]int
	Timeline   []string
}

// Run runs one history.
func Run(o Options) Result {
	r, _ := observe(o, nil)
	return r
}

// observe runs a history and keeps what the judge sees of it, if keep is given.
func observe(o Options, keep func(evidence)) (Result, *judge) {
	h := &history{loop: newLoop(o.Seed), counts: make(map[string]int), opt: options{timeline: o.Timeline, keep: keep}}
	h.draw(o.Without)
	h.build()
	h.loop.run(h.plan.busy, nil)
	if h.broken == nil {
		h.finish()
	}
	h.end()
	r := Result{
		Seed: o.Seed, Err: h.broken, Hash: h.hash, Events: h.events, Steps: len(h.base.steps), Lasted: h.now,
		Faults: h.counts, Operations: make(map[string]int), Settings: h.census(), Timeline: h.lines,
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
	keep     func(evidence) // what the judge sees, for who wants to show it to another
}

// build sets the scene.
func (h *history) build() {
	h.base = newBase()
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
	h.base.entered, h.base.logged, h.base.posted = h.check.entered, h.check.logged, h.check.posted
	h.base.committed, h.base.removed, h.base.returned = h.check.committed, h.check.removed, h.check.forget
	h.base.trimmed = func(t trimmed) { h.see(t) }
	for i := range h.plan.nodes {
		n := &node{machine: machine{loop: h.loop, name: fmt.Sprintf("node%d", i), rate: rate()}}
		h.nodes = append(h.nodes, n)
		h.start(n)
	}
	for i := range h.plan.hands {
		w := &hand{machine: machine{loop: h.loop, name: fmt.Sprintf("worker%d", i), rate: rate()}}
		h.hands = append(h.hands, w)
		h.employ(w)
	}
	h.clients()
	h.nemesis()
}

// finish ends the faults and waits until all tasks have come to their end, or the time for that is over.
func (h *history) finish() {
	h.heal()
	h.reopen()
	work := time.Duration(0)
	for _, j := range h.jobs {
		runs := time.Duration(1 + j.work.Fails)
		work += runs*(j.work.Lasts+50*time.Millisecond) + 4*time.Duration(j.sub.Retry.Backoff)
	}
	bound := h.now + max(longestTTL+longestGrace, leaseTTL) + 2*time.Second + patience + work
	done := false
	h.loop.run(h.now+h.faults.latest, nil) // what clients said may still be on its way, whether or not they wait
	h.loop.run(bound, func() bool {
		done = h.events%64 == 0 && h.opened() && h.check.settled()
		return done
	})
	if h.broken == nil && !done {
		h.fail("liveness", "%s after the faults ended: %s", (h.now - h.plan.busy).Round(time.Millisecond), h.unsettled())
	}
	if h.broken == nil {
		// Who was asked before the faults ended, and did not answer, is asked again only after a while.
		h.loop.run(max(h.now, h.plan.busy+callTimeout)+hearing, nil)
		h.check.last()
	}
}

// patience is how long clients may still have something to say after the faults have ended.
const patience = 10 * time.Second

// hearing is how long a node that is well may know nothing of what another did.
const hearing = 600 * time.Millisecond

// end lets go of everything.
func (h *history) end() {
	for _, f := range h.alive {
		f.end()
	}
}

func (f *faults) has(kind string) bool { return slices.Contains(f.kinds, kind) }

// note adds a line to the timeline.
func (h *history) note(kind, format string, args ...any) {
	if h.opt.timeline {
		h.lines = append(h.lines, fmt.Sprintf("%12.6f  %-12s %s", h.now.Seconds(), kind, fmt.Sprintf(format, args...)))
	}
}

// reopen has an operator set the pools to what they were.
func (h *history) reopen() {
	f := h.newLife(&machine{loop: h.loop, name: "operator", rate: 1})
	for _, spec := range h.plan.pools {
		h.spawn(f, func() {
			active, units := park.Active, spec.MaxUnits
			// A change that somebody asked for before may still be on its way.
			for ; ; f.sleep(200 * time.Millisecond) {
				if t := h.base.table(spec.ID); t.row.State == active && t.row.MaxUnits == units {
					continue
				}
				_, _ = rpc(h, f, h.any(), 2*time.Second, func(ctx context.Context, e *engine.Engine) (park.Pool, error) {
					return h.set(ctx, e, spec.ID, park.PoolPatch{State: &active, MaxUnits: &units})
				})
			}
		})
	}
}

// opened reports whether every node is up.
func (h *history) opened() bool {
	for _, n := range h.nodes {
		if n.eng == nil {
			return false
		}
	}
	return true
}

// unsettled tells of the tasks that have not ended.
func (h *history) unsettled() string {
	var text strings.Builder
	for _, j := range h.jobs {
		if r := h.base.row(j); j.lives() && r == nil {
			fmt.Fprintf(&text, "task %s of pool %s has gone, and no end was logged; ", j.sub.TaskID, j.pool)
		} else if j.lives() {
			fmt.Fprintf(&text, "task %s of pool %s is %s in run %d; ", r.TaskID, r.PoolID, r.Status, r.Attempt)
		} else if j.acked && j.fate.born == 0 {
			fmt.Fprintf(&text, "task %s is lost; ", j.sub.TaskID)
		}
	}
	if !h.opened() {
		text.WriteString("a node is not up; ")
	}
	return strings.TrimSuffix(text.String(), "; ")
}

package sim

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// Violation is a promise that was broken.
type Violation struct {
	Promise string
	At      time.Duration // since the beginning of the history
	Detail  string
}

// Error implements error.
func (v *Violation) Error() string {
	return fmt.Sprintf("promise %q broken after %s: %s", v.Promise, v.At.Round(time.Microsecond), v.Detail)
}

// checker holds every step of the database and every process against the promises. It shares no code with the
// scheduler: what it knows of tasks is what their clients sent, what it knows of pools is their logs.
type checker struct {
	*history
	judge *judge
	known map[string]*job   // by task, whose it is in its present life
	live  map[string]*crowd // processes, by pool

	begun     map[run]int64         // the revs of the steps that began runs
	cancelled map[run]time.Duration // when runs were cancelled
	stillborn map[run]bool          // those that were cancelled by the step that began them
	granted   map[run]time.Duration // when runs were given their units
	revoked   map[run]bool          // those that were ended while their worker could not know

	restored int // how often the database was put back
}

// run is one attempt at a job's task.
type run struct {
	job     int
	attempt int
}

// crowd is the processes that are alive for a pool.
type crowd struct {
	shims []*shim
	units int64
	// limits are the capacities of late: what began under a larger one runs on under a smaller.
	limits []limit
}

type limit struct {
	from  time.Duration
	units int64
}

func newChecker(h *history) *checker {
	c := &checker{history: h, live: make(map[string]*crowd), judge: newJudge(scene{
		pools: h.plan.pools, alone: h.alone, steps: h.faults.has("clock step"), rated: h.faults.has("clock rate"),
	})}
	for _, s := range h.plan.pools {
		c.live[s.ID] = &crowd{limits: []limit{{0, s.MaxUnits}}}
	}
	c.clear()
	return c
}

// forget begins anew, for a database that went back.
func (c *checker) forget() {
	c.see(putBack{})
	c.clear()
}

func (c *checker) clear() {
	c.granted, c.revoked = make(map[run]time.Duration), make(map[run]bool)
	c.begun, c.cancelled, c.stillborn = make(map[run]int64), make(map[run]time.Duration), make(map[run]bool)
	c.known = make(map[string]*job)
	for _, j := range c.jobs {
		j.fate = fate{}
	}
}

// logged plays events.
func (c *checker) logged(events []park.Event) {
	for i := range events {
		e := &events[i]
		j := c.known[e.TaskID]
		if c.opt.timeline {
			c.note("event", "%s rev %d %s %s run %d node %s %s", e.PoolID, e.Rev, e.Action, e.TaskID, e.Attempt, e.Node, e.Detail)
		}
		if j != nil {
			c.follow(e, j)
		}
		c.excuse(e)
		c.mixText(e.EventID)
		c.mixText(string(e.Action))
		c.mixText(e.TaskID)
	}
}

// excuse lets the process of a leased task be that was cancelled or timed out: its worker hears of it when it next keeps
// the lease, and the units are given away at once.
func (c *checker) excuse(e *park.Event) {
	switch {
	case e.Action == park.ActCancel, e.Action == park.ActFail:
	case e.Action == park.ActRequeue && strings.Contains(string(e.Detail), park.ReasonTimeout):
	default:
		return
	}
	j := c.known[e.TaskID]
	if j == nil {
		return
	}
	r := run{j.number, e.Attempt}
	c.revoked[r] = true
	for _, s := range c.live[e.PoolID].shims {
		s.excused = s.excused || s.leased && r == s.run()
	}
}

// forgive takes note that what the database had since its last backup is gone.
func (c *checker) forgive() {
	for _, j := range c.jobs {
		j.acked = j.acked && j.fate.born > 0
	}
	for _, w := range c.live {
		for _, s := range w.shims {
			s.excused = true
		}
	}
	c.restored++
}

// committed takes note of a step, and shows it to the judge.
func (c *checker) committed(s done) {
	crowd := c.live[s.PoolID]
	if last := &crowd.limits[len(crowd.limits)-1]; last.units != s.Row.MaxUnits {
		crowd.limits = append(crowd.limits, limit{c.now, s.Row.MaxUnits})
	}
	for i := range s.Inserts {
		c.noteCancel(s.Step, s.Inserts[i].TaskID, &s.Inserts[i].State)
	}
	for i := range s.Updates {
		c.noteCancel(s.Step, s.Updates[i].TaskID, &s.Updates[i].State)
	}
	c.seeAt(s.at, s.step)
}

// began checks the processes that are alive with a new one.
func (c *checker) began(s *shim) {
	if c.opt.timeline {
		c.note("process", "%s begins %s run %d, %d units", s.machine.name, s.task, s.attempt, s.units)
	}
	r := s.run()
	// A worker may have been given what a restored database never gave.
	_, known := c.granted[r]
	s.granted, s.excused = c.granted[r], s.leased && (c.revoked[r] || !known && c.restored > 0)
	c.mayBegin(s)
	w := c.live[s.pool]
	for _, o := range w.shims {
		if o.task == s.task && c.inUse(o) && c.inUse(s) {
			c.fail("one run", "task %s runs on %s (run %d) and on %s (run %d) at once", s.task, o.machine.name, o.attempt, s.machine.name, s.attempt)
		}
	}
	w.shims = append(w.shims, s)
	w.units += s.units
	c.measure(s.pool)
	c.limits(s)
}

// measure compares what runs with the most that was allowed since the oldest of it was given its units.
func (c *checker) measure(pool string) {
	w := c.live[pool]
	var used int64
	oldest := c.now
	for _, o := range w.shims {
		if c.inUse(o) {
			used += o.units
			oldest = min(oldest, o.granted)
		}
	}
	var most int64
	for i, l := range w.limits {
		if i+1 == len(w.limits) || w.limits[i+1].from >= oldest {
			most = max(most, l.units)
		}
	}
	if used > most {
		c.fail("capacity", "processes of pool %s use %d units of %d", pool, used, most)
	}
}

// lookAround is how long a daemon needs after it was stopped to find out that others took its tasks over, and to end them.
const lookAround = longestTTL/10 + callTimeout/2 + killGrace + 50*time.Millisecond

// inUse reports whether a process uses its units, by the fault model: one on a machine that is suspended does not, and
// one on a machine that woke has the time until its daemon has looked around.
func (c *checker) inUse(s *shim) bool {
	m := s.machine
	if s.inner && (s.life.frozen || s.life.thawed != 0 && c.now-s.life.thawed < lookAround) {
		return false
	}
	return !s.excused && !m.suspended && (m.woke == 0 || m.boot()-m.woke > lookAround)
}

func (c *checker) ended(s *shim) {
	w := c.live[s.pool]
	for i, o := range w.shims {
		if o == s {
			w.shims = append(w.shims[:i], w.shims[i+1:]...)
			w.units -= s.units
			break
		}
	}
	if c.opt.timeline {
		c.note("process", "%s ends %s run %d, by itself %t", s.machine.name, s.task, s.attempt, s.done)
	}
}

// settled reports whether every accepted task has ended.
func (c *checker) settled() bool {
	if c.waiting > 0 {
		return false
	}
	for _, j := range c.jobs {
		if j.lives() || j.acked && j.fate.born == 0 {
			return false
		}
	}
	return true
}

// last checks what must hold when all is over.
func (c *checker) last() {
	for _, s := range c.plan.pools {
		t := c.base.table(s.ID)
		w := shown{pool: s.ID, row: t.row}
		for _, r := range t.order {
			w.tasks = append(w.tasks, *r)
		}
		c.see(w)
	}
	c.judge.finish(c.now)
	c.heed()
	for _, j := range c.jobs {
		c.lastOf(j)
	}
	for _, n := range c.nodes {
		if n.eng == nil {
			c.fail("liveness", "%s is not open", n.name)
			continue
		}
		pools, _ := n.eng.Pools(context.Background())
		for _, p := range pools {
			row := c.base.table(p.PoolID).row
			switch {
			case p.Halted != "":
				c.fail("halted", "%s, pool %s: %s", n.name, p.PoolID, p.Halted)
			case row.Rev > 0 && (p.UsedUnits != row.Used || p.QueueDepth != row.Queued || p.MaxUnits != row.MaxUnits || p.State != row.State):
				c.fail("hearing", "%s says pool %s has %d of %d units in use, %d parked, and is %s; the database says %d of %d, %d, %s",
					n.name, p.PoolID, p.UsedUnits, p.MaxUnits, p.QueueDepth, p.State, row.Used, row.MaxUnits, row.Queued, row.State)
			}
		}
	}
}

// lastOf checks that a task that was accepted has an end.
func (c *checker) lastOf(j *job) {
	id, f := j.sub.TaskID, &j.fate
	if j.acked && f.end == "" {
		c.fail("durable", "task %s was accepted and has no end", id)
	}
}

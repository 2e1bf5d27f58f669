package sim

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// Violation is a broken guarantee.
type Violation struct {
	Promise string
	At      time.Duration // since the beginning of the history
	Detail  string
}

// Error implements error.
func (v *Violation) Error() string {
	return fmt.Sprintf("promise %q broken after %s: %s", v.Promise, v.At.Round(time.Microsecond), v.Detail)
}

// checker checks every step of the database and every process against the guarantees. It shares no code with the
// scheduler: it knows tasks from their clients' submissions, and pools from their logs.
type checker struct {
	*history
	judge *judge
	known map[string]*job       // by the id of their current task
	pools map[string]*poolShims // processes, by pool

	startRevs        map[run]int64         // revs of the steps that started runs
	cancelled        map[run]time.Duration // when runs were cancelled
	cancelledAtStart map[run]bool          // runs cancelled by the step that started them
	granted          map[run]time.Duration // when runs got their units
	revoked          map[run]bool          // runs that were ended before their worker could know

	restored int // how often the database was restored
}

// run is one attempt of a job's task.
type run struct {
	job     int
	attempt int
}

// poolShims are the live processes of a pool.
type poolShims struct {
	shims []*shim
	units int64
	// limits are the recent capacities: a process that started under a larger one goes on under a smaller one.
	limits []limit
}

type limit struct {
	from  time.Duration
	units int64
}

func newChecker(h *history) *checker {
	c := &checker{history: h, pools: make(map[string]*poolShims), judge: newJudge(setup{
		pools: h.plan.pools, singleNode: h.singleNode, clockSteps: h.faults.has("clock step"), clockRates: h.faults.has("clock rate"),
	})}
	for _, s := range h.plan.pools {
		c.pools[s.ID] = &poolShims{limits: []limit{{0, s.MaxUnits}}}
	}
	c.clear()
	return c
}

// reset starts anew after the database was restored.
func (c *checker) reset() {
	c.record(restored{})
	c.clear()
}

func (c *checker) clear() {
	c.granted, c.revoked = make(map[run]time.Duration), make(map[run]bool)
	c.startRevs, c.cancelled, c.cancelledAtStart = make(map[run]int64), make(map[run]time.Duration), make(map[run]bool)
	c.known = make(map[string]*job)
	for _, j := range c.jobs {
		j.state = taskState{}
	}
}

// logged handles events.
func (c *checker) logged(events []park.Event) {
	for i := range events {
		e := &events[i]
		j := c.known[e.TaskID]
		if c.opt.timeline {
			c.trace("event", "%s rev %d %s %s run %d node %s %s", e.PoolID, e.Rev, e.Action, e.TaskID, e.Attempt, e.Node, e.Detail)
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

// excuse excuses the process of a leased task that was cancelled or timed out: its units are reused at once, and its
// worker learns of it at the next renewal.
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
	for _, s := range c.pools[e.PoolID].shims {
		s.excused = s.excused || s.leased && r == s.run()
	}
}

// databaseRestored accounts for a restore: data since the backup is lost.
func (c *checker) databaseRestored() {
	for _, j := range c.jobs {
		j.acked = j.acked && j.state.lives > 0
	}
	for _, w := range c.pools {
		for _, s := range w.shims {
			s.excused = true
		}
	}
	c.restored++
}

// committed handles a step, and passes it to the judge.
func (c *checker) committed(s committedStep) {
	crowd := c.pools[s.PoolID]
	if last := &crowd.limits[len(crowd.limits)-1]; last.units != s.Row.MaxUnits {
		crowd.limits = append(crowd.limits, limit{c.now, s.Row.MaxUnits})
	}
	for i := range s.Inserts {
		c.noteCancel(s.Step, s.Inserts[i].TaskID, &s.Inserts[i].State)
	}
	for i := range s.Updates {
		c.noteCancel(s.Step, s.Updates[i].TaskID, &s.Updates[i].State)
	}
	c.recordAt(s.at, s.step)
}

// began checks the live processes together with a new one.
func (c *checker) began(s *shim) {
	if c.opt.timeline {
		c.trace("process", "%s begins %s run %d, %d units", s.machine.name, s.task, s.attempt, s.units)
	}
	r := s.run()
	// A worker may have a lease that the restored database never granted.
	_, known := c.granted[r]
	s.granted, s.excused = c.granted[r], s.leased && (c.revoked[r] || !known && c.restored > 0)
	c.checkStart(s)
	w := c.pools[s.pool]
	for _, o := range w.shims {
		if o.task == s.task && c.inUse(o) && c.inUse(s) {
			c.fail("one run", "task %s runs on %s (run %d) and on %s (run %d) at once", s.task, o.machine.name, o.attempt, s.machine.name, s.attempt)
		}
	}
	w.shims = append(w.shims, s)
	w.units += s.units
	c.checkCapacity(s.pool)
	c.watchTimeout(s)
}

// checkCapacity compares the units of live processes with the largest capacity since the oldest of them got its units.
func (c *checker) checkCapacity(pool string) {
	w := c.pools[pool]
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

// takeoverDelay is how long a daemon that was frozen needs to find out that others took its tasks over, and to end
// them.
const takeoverDelay = longestTTL/10 + callTimeout/2 + killGrace + 50*time.Millisecond

// inUse reports whether a process uses its units, by the fault model: not if its machine is suspended, nor for
// takeoverDelay after it woke up.
func (c *checker) inUse(s *shim) bool {
	m := s.machine
	if s.inProcess && (s.daemon.frozen || s.daemon.unfrozenAt != 0 && c.now-s.daemon.unfrozenAt < takeoverDelay) {
		return false
	}
	return !s.excused && !m.suspended && (m.resumedAt == 0 || m.boot()-m.resumedAt > takeoverDelay)
}

func (c *checker) ended(s *shim) {
	w := c.pools[s.pool]
	for i, o := range w.shims {
		if o == s {
			w.shims = append(w.shims[:i], w.shims[i+1:]...)
			w.units -= s.units
			break
		}
	}
	if c.opt.timeline {
		c.trace("process", "%s ends %s run %d, by itself %t", s.machine.name, s.task, s.attempt, s.endedItself)
	}
}

// allEnded reports whether every accepted task has ended.
func (c *checker) allEnded() bool {
	if c.waiting > 0 {
		return false
	}
	for _, j := range c.jobs {
		if j.isLive() || j.acked && j.state.lives == 0 {
			return false
		}
	}
	return true
}

// checkEnd checks the final state.
func (c *checker) checkEnd() {
	for _, s := range c.plan.pools {
		t := c.db.table(s.ID)
		w := finalPool{pool: s.ID, row: t.row}
		for _, r := range t.order {
			w.tasks = append(w.tasks, *r)
		}
		c.record(w)
	}
	c.judge.finish(c.now)
	c.checkVerdict()
	for _, j := range c.jobs {
		c.checkJob(j)
	}
	for _, n := range c.nodes {
		if n.eng == nil {
			c.fail("liveness", "%s is not open", n.name)
			continue
		}
		pools, _ := n.eng.Pools(context.Background())
		for _, p := range pools {
			row := c.db.table(p.PoolID).row
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

// checkJob checks that an accepted task has ended.
func (c *checker) checkJob(j *job) {
	id, f := j.sub.TaskID, &j.state
	if j.acked && f.end == "" {
		c.fail("durable", "task %s was accepted and has no end", id)
	}
}

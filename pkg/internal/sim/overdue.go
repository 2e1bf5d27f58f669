package sim

import (
	"slices"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// timeLimit is how long a job's runs may take; 0: for ever.
func (j *job) timeLimit() time.Duration { return time.Duration(j.sub.TimeoutSecs) * time.Second }

// limits sees to it that a run which has begun is told to stop when its time is over.
func (c *checker) limits(s *shim) {
	if j := c.known[s.task]; j != nil && !s.leased && j.timeLimit() > 0 {
		slept := s.machine.slept // a timer sleeps with its machine, as the run does
		due := c.now + j.timeLimit()
		c.after(j.timeLimit()+obedience, nil, func() { c.stops(s, due, slept) })
	}
}

// stops checks that a run which was to end at a time has been told to, and looks again later where its daemon was frozen.
func (c *checker) stops(s *shim, due, slept time.Duration) {
	m := s.machine
	switch {
	case s.asked || s.over || s.excused || s.life.ended || m.suspended || m.slept != slept:
	case !s.life.frozen && c.now-max(due, s.life.thawed) >= obedience:
		c.fail("timeout", "run %d of task %s was to end %s ago, and has not been told to stop on %s", s.attempt, s.task, c.now-due, m.name)
	default:
		c.after(obedience/2, nil, func() { c.stops(s, due, slept) })
	}
}

// looks is how often in a row, and lookRest apart, a node has to be well that must have seen what became due.
const (
	looks    = 8
	lookRest = 400 * time.Millisecond
)

// limitsLease sees to it that a leased run which has started is ended when its time is over. Where clocks are set nobody
// can say when that is: a pool that is loaded again goes by the date of the start.
func (c *checker) limitsLease(e *park.Event, j *job) {
	leased := slices.ContainsFunc(c.plan.pools, func(s park.PoolSpec) bool { return s.ID == e.PoolID && s.Runtime.Leased() })
	if j.timeLimit() == 0 || !leased || c.faults.has("clock step") {
		return
	}
	r := run{j.number, e.Attempt}
	began := c.now
	c.after(j.timeLimit(), nil, func() { c.takenBack(j, r, began, make(map[*life]int)) })
}

// takenBack looks again and again whether a run is over, until that is so or some node has been well for long enough.
func (c *checker) takenBack(j *job, r run, began time.Duration, well map[*life]int) {
	if row := c.base.row(j); row == nil || row.Status != park.Running || row.Attempt != r.attempt || c.granted[r] != began {
		return
	}
	for _, n := range c.nodes {
		if n.eng == nil || !c.fine(n) {
			delete(well, n.life)
			continue
		}
		if well[n.life]++; well[n.life] > looks {
			c.fail("timeout", "run %d of task %s was to end after %s, and its worker has the lease after %s", r.attempt, j.sub.TaskID, j.timeLimit(), c.now-began)
			return
		}
	}
	c.after(lookRest, nil, func() { c.takenBack(j, r, began, well) })
}

package sim

import (
	"slices"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// timeLimit is how long a run of the job may take; 0: for ever.
func (j *job) timeLimit() time.Duration { return time.Duration(j.sub.TimeoutSecs) * time.Second }

// watchTimeout checks later that a run was told to stop at its timeout.
func (c *checker) watchTimeout(s *shim) {
	if j := c.known[s.task]; j != nil && !s.leased && j.timeLimit() > 0 {
		slept := s.machine.suspendedFor // timers stand still while the machine is suspended
		due := c.now + j.timeLimit()
		c.after(j.timeLimit()+stopDelay, nil, func() { c.checkTimeout(s, due, slept) })
	}
}

// checkTimeout checks that a run that was to end at a time has been told so. It checks again later if its daemon was
// frozen.
func (c *checker) checkTimeout(s *shim, due, slept time.Duration) {
	m := s.machine
	switch {
	case s.stopRequested || s.ended || s.excused || s.daemon.ended || m.suspended || m.suspendedFor != slept:
	case !s.daemon.frozen && c.now-max(due, s.daemon.unfrozenAt) >= stopDelay:
		c.fail("timeout", "run %d of task %s was to end %s ago, and has not been told to stop on %s", s.attempt, s.task, c.now-due, m.name)
	default:
		c.after(stopDelay/2, nil, func() { c.checkTimeout(s, due, slept) })
	}
}

// minHealthyChecks is how often in a row, checkInterval apart, a node must be healthy before it must have seen an
// expired time limit.
const (
	minHealthyChecks = 8
	checkInterval    = 400 * time.Millisecond
)

// watchLeaseTimeout checks later that a leased run was ended at its timeout. If clocks are stepped, that time is
// unknown: a pool that is loaded again goes by the date of the start.
func (c *checker) watchLeaseTimeout(e *park.Event, j *job) {
	leased := slices.ContainsFunc(c.plan.pools, func(s park.PoolSpec) bool { return s.ID == e.PoolID && s.Runtime.Leased() })
	if j.timeLimit() == 0 || !leased || c.faults.has("clock step") {
		return
	}
	r := run{j.number, e.Attempt}
	began := c.now
	c.after(j.timeLimit(), nil, func() { c.checkLeaseTimeout(j, r, began, make(map[*process]int)) })
}

// checkLeaseTimeout checks repeatedly whether a run has ended, until it has or a node has been healthy for long enough.
func (c *checker) checkLeaseTimeout(j *job, r run, began time.Duration, well map[*process]int) {
	if row := c.db.row(j); row == nil || row.Status != park.Running || row.Attempt != r.attempt || c.granted[r] != began {
		return
	}
	for _, n := range c.nodes {
		if n.eng == nil || !c.nodeHealthy(n) {
			delete(well, n.process)
			continue
		}
		if well[n.process]++; well[n.process] > minHealthyChecks {
			c.fail("timeout", "run %d of task %s was to end after %s, and its worker has the lease after %s", r.attempt, j.sub.TaskID, j.timeLimit(), c.now-began)
			return
		}
	}
	c.after(checkInterval, nil, func() { c.checkLeaseTimeout(j, r, began, well) })
}

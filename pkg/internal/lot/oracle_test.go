package lot_test

import (
	"slices"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

// oracle is the scheduler in the plainest way there is: lists that are searched from one end to the other. It
// shares no code with the lot and knows nothing of ranks, heaps, journals or steps.
type oracle struct {
	leased bool
	held   bool
	units  int64
	depth  int
	state  park.PoolState
	now    lot.Instant

	parked [4][]*oracleTask // by class, the lowest first; in order
	tasks  map[string]*oracleTask
	starts []string        // of the current step
	taken  map[int][]int   // by demand, the sizes of what it took in the current step
	over   map[string]bool // what ended before the current step
	fronts []*oracleTask   // what came back to the front in the current step
}

type oracleTask struct {
	spec      ledger.Spec
	status    park.Status
	attempt   int
	strikes   int
	notBefore time.Time     // by the wall clock, for who takes the task over
	rested    time.Duration // by the monotonic one, which decides
	cancelled bool
	ttl       time.Duration
	due       time.Duration
}

func newOracle(units int64, depth int, leased bool) *oracle {
	return &oracle{leased: leased, units: units, depth: depth, state: park.Active, tasks: map[string]*oracleTask{}}
}

func (o *oracle) class(t *oracleTask) *[]*oracleTask { return &o.parked[t.spec.Priority-park.Low] }

func (o *oracle) used() (n int64) {
	for _, t := range o.tasks {
		if t.status == park.Running {
			n += t.spec.Units
		}
	}
	return n
}

func (o *oracle) queued() (n int) {
	for _, c := range o.parked {
		n += len(c)
	}
	return n
}

func (o *oracle) rests(t *oracleTask) bool { return t.rested > o.now.Mono }

// next is the first parked task of the highest class that is not resting and does not cost more than the pool has.
func (o *oracle) next() *oracleTask {
	for _, c := range slices.Backward(o.parked[:]) {
		for _, t := range c {
			if !o.rests(t) && t.spec.Units <= o.units {
				return t
			}
		}
	}
	return nil
}

// taker returns which demand takes a task: the first that takes any more and has nothing yet, or room for it.
func (o *oracle) taker(s *ledger.Spec, demand []lot.Demand) int {
	for i, d := range demand {
		bytes := s.Size() + 512
		for _, n := range o.taken[i] {
			bytes += n
		}
		if d.Max > 0 && (d.MaxBytes == 0 || len(o.taken[i]) == 0 || bytes <= d.MaxBytes) {
			return i
		}
	}
	return -1
}

func (o *oracle) fits(s *ledger.Spec, demand []lot.Demand) bool {
	served := !o.leased || o.taker(s, demand) >= 0
	return served && !o.held && o.state != park.Paused && o.used()+s.Units <= o.units
}

func (o *oracle) unpark(t *oracleTask) {
	c := o.class(t)
	*c = slices.DeleteFunc(*c, func(x *oracleTask) bool { return x == t })
}

func (o *oracle) startReady(demand []lot.Demand) {
	for t := o.next(); t != nil && o.fits(&t.spec, demand); t = o.next() {
		o.unpark(t)
		t.status = park.Running
		t.attempt++
		o.starts = append(o.starts, t.spec.TaskID)
		if !o.leased {
			continue
		}
		i := o.taker(&t.spec, demand)
		demand[i].Max--
		o.taken[i] = append(o.taken[i], t.spec.Size()+512)
		t.ttl = demand[i].TTL
		t.due = o.now.Mono + t.ttl
	}
}

// step does what time has brought, then the ops.
func (o *oracle) step(now lot.Instant, ops []lot.Op, demand []lot.Demand) []park.Code {
	o.now, o.starts, o.over, o.fronts, o.taken = now, nil, map[string]bool{}, nil, map[int][]int{}
	for id, t := range o.tasks {
		o.over[id] = t.status.Ended()
	}
	for _, t := range o.tasks {
		if t.status == park.Queued && t.attempt == 0 && !t.spec.Deadline.IsZero() && !t.spec.Deadline.After(now.Wall.Time) {
			o.unpark(t)
			t.status = park.Expired
		}
	}
	for t := o.overdue(); t != nil; t = o.overdue() {
		if t.spec.Retry.MaxAttempts > 0 {
			o.strike(t, 0, 0)
		} else {
			o.front(t)
		}
	}
	for _, op := range ops {
		if c, ok := op.(lot.Configure); ok {
			o.configure(c.Patch)
		}
	}
	o.startReady(demand)
	codes := make([]park.Code, len(ops))
	for i, op := range ops {
		codes[i] = o.do(op, demand)
		o.startReady(demand)
	}
	return codes
}

// overdue is the running task whose lease ran out first.
func (o *oracle) overdue() (first *oracleTask) {
	for _, t := range o.tasks {
		if o.leased && t.status == park.Running && t.due <= o.now.Mono && (first == nil || t.due < first.due) {
			first = t
		}
	}
	return first
}

func (o *oracle) front(t *oracleTask) {
	t.status, t.notBefore, t.rested = park.Queued, time.Time{}, 0
	c := o.class(t)
	// Ahead of all that wait; those that rest keep the places that they had.
	i := slices.IndexFunc(*c, func(x *oracleTask) bool { return !o.rests(x) })
	if i < 0 {
		i = len(*c)
	}
	*c = slices.Insert(*c, i, t)
	o.fronts = append(o.fronts, t)
}

// yield lets tasks that came back to the front in the last step pass those that rest right before them, where the lot has
// given them a lower rank. Of these two orders none is promised: the lot takes the nearest rank that is free.
func (o *oracle) yield(rank func(id string) int64) {
	for _, c := range o.parked {
		for swapped := true; swapped; {
			swapped = false
			for i := 1; i < len(c); i++ {
				x, t := c[i-1], c[i]
				if o.rests(x) && slices.Contains(o.fronts, t) && rank(t.spec.TaskID) < rank(x.spec.TaskID) {
					c[i-1], c[i], swapped = t, x, true
				}
			}
		}
	}
}

func (o *oracle) back(t *oracleTask) {
	t.status = park.Queued
	c := o.class(t)
	*c = append(*c, t)
}

func (o *oracle) strike(t *oracleTask, unset int, asked time.Duration) {
	t.strikes++
	most := t.spec.Retry.MaxAttempts
	if most == 0 {
		most = unset
	}
	if most > 0 && t.strikes >= most {
		t.status = park.Failed
		return
	}
	rest := max(t.backoff(), min(asked, time.Hour))
	t.notBefore, t.rested = o.now.Wall.Add(rest), o.now.Mono+rest
	o.back(t)
}

func (t *oracleTask) backoff() time.Duration {
	rest := time.Duration(t.spec.Retry.Backoff)
	for range t.strikes - 1 {
		rest = min(2*rest, time.Hour)
	}
	return rest
}

// reload has the rests end by the clocks of who has just loaded the pool, whose last step was at a time.
func (o *oracle) reload(now lot.Instant, last park.Time) {
	for _, t := range o.tasks {
		if t.status == park.Queued && t.strikes > 0 {
			t.rested = t.restsUntil(now, last)
		}
	}
}

// restsUntil returns until when a parked task rests for who loads it now, and the pool, whose last step was at a time: to the
// date that was noted, but no longer than its backoff or than that step leaves.
func (t *oracleTask) restsUntil(now lot.Instant, last park.Time) time.Duration {
	return now.Mono + min(t.notBefore.Sub(now.Wall.Time), max(t.backoff(), t.notBefore.Sub(last.Time)))
}

func (o *oracle) do(op lot.Op, demand []lot.Demand) park.Code {
	switch op := op.(type) {
	case lot.Submit:
		return o.submit(op.Spec, demand)
	case lot.Finish:
		o.finish(op)
	case lot.Requeue:
		t := o.tasks[op.TaskID]
		switch {
		case t == nil || t.status != park.Running || t.attempt != op.Attempt:
		case t.cancelled:
			t.status = park.Dropped
		default:
			o.front(t)
		}
	case lot.Cancel:
		t := o.tasks[op.TaskID]
		switch {
		case t == nil || t.status.Ended():
		case t.status == park.Running && !o.leased:
			t.cancelled = true
		default:
			o.unpark(t)
			t.status = park.Dropped
		}
	case lot.Keep:
		if t := o.tasks[op.TaskID]; t != nil && t.status == park.Running && op.Lease == leaseOf(t) {
			if op.TTL > 0 {
				t.ttl = op.TTL
			}
			t.due = o.now.Mono + t.ttl
		}
	}
	return ""
}

func leaseOf(t *oracleTask) string { return lot.LeaseID("p", t.attempt, "s", t.spec.TaskID) }

func (o *oracle) submit(s *ledger.Spec, demand []lot.Demand) park.Code {
	if old := o.tasks[s.TaskID]; old != nil && !o.over[s.TaskID] {
		if old.spec.Digest == s.Digest {
			return ""
		}
		return park.TaskExists
	}
	t := &oracleTask{spec: *s, status: park.Queued}
	barred := false
	for p := s.Priority; p <= park.Critical; p++ {
		for _, x := range o.parked[p-park.Low] {
			barred = barred || !o.rests(x) && x.spec.Units <= o.units
		}
	}
	switch {
	case o.state == park.Draining:
		return park.PoolDraining
	case o.units == 0:
		return park.CapacityZero
	case s.Units > o.units:
		return park.CostExceedsPool
	case !s.Deadline.IsZero() && !s.Deadline.After(o.now.Wall.Time):
		return park.DeadlinePast
	case o.queued() >= o.depth && (barred || !o.fits(s, demand)):
		return park.QueueFull
	}
	o.tasks[s.TaskID] = t
	o.back(t)
	return ""
}

func (o *oracle) finish(op lot.Finish) {
	t := o.tasks[op.TaskID]
	if t == nil || t.status != park.Running || t.attempt != op.Attempt || o.leased && op.Lease != leaseOf(t) {
		return
	}
	switch {
	case t.cancelled:
		t.status = park.Dropped
	case op.Outcome.Status == park.Completed:
		t.status = park.Completed
	default:
		o.strike(t, 1, op.Outcome.RetryAfter)
	}
}

func (o *oracle) configure(p park.PoolPatch) {
	if p.MaxUnits != nil {
		o.units = *p.MaxUnits
	}
	if p.MaxQueueDepth != nil {
		o.depth = *p.MaxQueueDepth
	}
	if p.State != nil {
		o.state = *p.State
	}
}

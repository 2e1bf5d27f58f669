package lot_test

import (
	"slices"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

// oracle is the scheduler in the simplest form: lists with linear searches. It shares no code with the lot and has no
// ranks, heaps, undo logs or steps.
type oracle struct {
	leased bool
	held   bool
	units  int64
	depth  int
	state  park.PoolState
	now    lot.Instant

	parked      [4][]*oracleTask // by class, the lowest first; in order
	tasks       map[string]*oracleTask
	started     []string        // of the current step
	assigned    map[int][]int   // by request: the sizes of what it took in the current step
	endedBefore map[string]bool // what ended before the current step
	requeued    []*oracleTask   // what came back to the front in the current step
}

type oracleTask struct {
	spec      ledger.Spec
	status    park.Status
	attempt   int
	failures  int
	notBefore time.Time     // by the wall clock, for who takes the task over
	readyAt   time.Duration // by the monotonic one, which decides
	cancelled bool
	ttl       time.Duration
	leaseEnd  time.Duration
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

func (o *oracle) backingOff(t *oracleTask) bool { return t.readyAt > o.now.Mono }

// next returns the first parked task of the highest class that is not in a backoff and does not cost more than the
// pool has.
func (o *oracle) next() *oracleTask {
	for _, c := range slices.Backward(o.parked[:]) {
		for _, t := range c {
			if !o.backingOff(t) && t.spec.Units <= o.units {
				return t
			}
		}
	}
	return nil
}

// requestFor returns the index of the request that takes a task: the first that takes more tasks and is still empty or
// has room for it.
func (o *oracle) requestFor(s *ledger.Spec, requests []lot.LeaseRequest) int {
	for i, d := range requests {
		bytes := s.Size() + 512
		for _, n := range o.assigned[i] {
			bytes += n
		}
		if d.Max > 0 && (d.MaxBytes == 0 || len(o.assigned[i]) == 0 || bytes <= d.MaxBytes) {
			return i
		}
	}
	return -1
}

func (o *oracle) fits(s *ledger.Spec, requests []lot.LeaseRequest) bool {
	served := !o.leased || o.requestFor(s, requests) >= 0
	return served && !o.held && o.state != park.Paused && o.used()+s.Units <= o.units
}

func (o *oracle) dequeue(t *oracleTask) {
	c := o.class(t)
	*c = slices.DeleteFunc(*c, func(x *oracleTask) bool { return x == t })
}

func (o *oracle) startReady(requests []lot.LeaseRequest) {
	for t := o.next(); t != nil && o.fits(&t.spec, requests); t = o.next() {
		o.dequeue(t)
		t.status = park.Running
		t.attempt++
		o.started = append(o.started, t.spec.TaskID)
		if !o.leased {
			continue
		}
		i := o.requestFor(&t.spec, requests)
		requests[i].Max--
		o.assigned[i] = append(o.assigned[i], t.spec.Size()+512)
		t.ttl = requests[i].TTL
		t.leaseEnd = o.now.Mono + t.ttl
	}
}

// step handles timers that are due, then the ops.
func (o *oracle) step(now lot.Instant, ops []lot.Op, requests []lot.LeaseRequest) []park.Code {
	o.now, o.started, o.endedBefore, o.requeued, o.assigned = now, nil, map[string]bool{}, nil, map[int][]int{}
	for id, t := range o.tasks {
		o.endedBefore[id] = t.status.Ended()
	}
	for _, t := range o.tasks {
		if t.status == park.Queued && t.attempt == 0 && !t.spec.Deadline.IsZero() && !t.spec.Deadline.After(now.Wall.Time) {
			o.dequeue(t)
			t.status = park.Expired
		}
	}
	for t := o.firstExpiredLease(); t != nil; t = o.firstExpiredLease() {
		if t.spec.Retry.MaxAttempts > 0 {
			o.recordFailure(t, 0, 0)
		} else {
			o.pushFront(t)
		}
	}
	for _, op := range ops {
		if c, ok := op.(lot.Configure); ok {
			o.configure(c.Patch)
		}
	}
	o.startReady(requests)
	codes := make([]park.Code, len(ops))
	for i, op := range ops {
		codes[i] = o.do(op, requests)
		o.startReady(requests)
	}
	return codes
}

// firstExpiredLease returns the running task whose lease has expired first.
func (o *oracle) firstExpiredLease() (first *oracleTask) {
	for _, t := range o.tasks {
		if o.leased && t.status == park.Running && t.leaseEnd <= o.now.Mono && (first == nil || t.leaseEnd < first.leaseEnd) {
			first = t
		}
	}
	return first
}

func (o *oracle) pushFront(t *oracleTask) {
	t.status, t.notBefore, t.readyAt = park.Queued, time.Time{}, 0
	c := o.class(t)
	// It goes ahead of all that wait. Tasks in a backoff keep their places.
	i := slices.IndexFunc(*c, func(x *oracleTask) bool { return !o.backingOff(x) })
	if i < 0 {
		i = len(*c)
	}
	*c = slices.Insert(*c, i, t)
	o.requeued = append(o.requeued, t)
}

// reorderRequeued moves tasks that the last step requeued at the front before the tasks in a backoff right before
// them, if the lot has given them a lower rank. The order of these two is not specified: the lot takes the nearest
// free rank.
func (o *oracle) reorderRequeued(rank func(id string) int64) {
	for _, c := range o.parked {
		for swapped := true; swapped; {
			swapped = false
			for i := 1; i < len(c); i++ {
				x, t := c[i-1], c[i]
				if o.backingOff(x) && slices.Contains(o.requeued, t) && rank(t.spec.TaskID) < rank(x.spec.TaskID) {
					c[i-1], c[i], swapped = t, x, true
				}
			}
		}
	}
}

func (o *oracle) pushBack(t *oracleTask) {
	t.status = park.Queued
	c := o.class(t)
	*c = append(*c, t)
}

func (o *oracle) recordFailure(t *oracleTask, byDefault int, requested time.Duration) {
	t.failures++
	maxFailures := t.spec.Retry.MaxAttempts
	if maxFailures == 0 {
		maxFailures = byDefault
	}
	if maxFailures > 0 && t.failures >= maxFailures {
		t.status = park.Failed
		return
	}
	backoff := max(t.backoff(), min(requested, time.Hour))
	t.notBefore, t.readyAt = o.now.Wall.Add(backoff), o.now.Mono+backoff
	o.pushBack(t)
}

func (t *oracleTask) backoff() time.Duration {
	backoff := time.Duration(t.spec.Retry.Backoff)
	for range t.failures - 1 {
		backoff = min(2*backoff, time.Hour)
	}
	return backoff
}

// reload computes the backoffs again as a node does that has just loaded the pool. last is the time of the pool's last
// step.
func (o *oracle) reload(now lot.Instant, last park.Time) {
	for _, t := range o.tasks {
		if t.status == park.Queued && t.failures > 0 {
			t.readyAt = t.backoffUntil(now, last)
		}
	}
}

// backoffUntil returns until when a parked task backs off on a node that loads it now. last is the time of the pool's
// last step. The backoff ends at the stored time, but lasts no longer than the task's own backoff or than the pool's
// time leaves.
func (t *oracleTask) backoffUntil(now lot.Instant, last park.Time) time.Duration {
	return now.Mono + min(t.notBefore.Sub(now.Wall.Time), max(t.backoff(), t.notBefore.Sub(last.Time)))
}

func (o *oracle) do(op lot.Op, requests []lot.LeaseRequest) park.Code {
	switch op := op.(type) {
	case lot.Submit:
		return o.submit(op.Spec, requests)
	case lot.Finish:
		o.finish(op)
	case lot.Requeue:
		t := o.tasks[op.TaskID]
		switch {
		case t == nil || t.status != park.Running || t.attempt != op.Attempt:
		case t.cancelled:
			t.status = park.Dropped
		default:
			o.pushFront(t)
		}
	case lot.Cancel:
		t := o.tasks[op.TaskID]
		switch {
		case t == nil || t.status.Ended():
		case t.status == park.Running && !o.leased:
			t.cancelled = true
		default:
			o.dequeue(t)
			t.status = park.Dropped
		}
	case lot.RenewLease:
		if t := o.tasks[op.TaskID]; t != nil && t.status == park.Running && op.Lease == leaseIDOf(t) {
			if op.TTL > 0 {
				t.ttl = op.TTL
			}
			t.leaseEnd = o.now.Mono + t.ttl
		}
	}
	return ""
}

func leaseIDOf(t *oracleTask) string { return lot.LeaseID("p", t.attempt, "s", t.spec.TaskID) }

func (o *oracle) submit(s *ledger.Spec, requests []lot.LeaseRequest) park.Code {
	if old := o.tasks[s.TaskID]; old != nil && !o.endedBefore[s.TaskID] {
		if old.spec.Digest == s.Digest {
			return ""
		}
		return park.TaskExists
	}
	t := &oracleTask{spec: *s, status: park.Queued}
	blocked := false
	for p := s.Priority; p <= park.Critical; p++ {
		for _, x := range o.parked[p-park.Low] {
			blocked = blocked || !o.backingOff(x) && x.spec.Units <= o.units
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
	case o.queued() >= o.depth && (blocked || !o.fits(s, requests)):
		return park.QueueFull
	}
	o.tasks[s.TaskID] = t
	o.pushBack(t)
	return ""
}

func (o *oracle) finish(op lot.Finish) {
	t := o.tasks[op.TaskID]
	if t == nil || t.status != park.Running || t.attempt != op.Attempt || o.leased && op.Lease != leaseIDOf(t) {
		return
	}
	switch {
	case t.cancelled:
		t.status = park.Dropped
	case op.Outcome.Status == park.Completed:
		t.status = park.Completed
	default:
		o.recordFailure(t, 1, op.Outcome.RetryAfter)
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

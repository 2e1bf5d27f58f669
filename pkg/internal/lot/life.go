package lot

import (
	"slices"
	"strconv"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// maxBackoff bounds the backoff before a retry.
const maxBackoff = time.Hour

// defaultLeaseTTL is the lifetime of a lease if the request names none.
const defaultLeaseTTL = 30 * time.Second

// start begins a run of e, which now holds its units.
func (l *Lot) start(e *entry) {
	r := l.newRun()
	r.node, r.started = l.node, l.now.Wall
	started := appendZero(&l.step.Started)
	started.TaskID, started.Attempt = e.id, int(e.attempt)+1
	var d details
	if l.startsLeft > 0 {
		l.startsLeft--
	}
	if l.leased {
		started.Request = l.requestFor(e.size)
		l.grantLease(e, r, &l.requests[started.Request])
		d.text("worker", l.requests[started.Request].Worker)
	}
	if early := l.earlyBy(e); early > 0 {
		d.text("early", early.String())
	}
	l.detach(e)
	started.Spec = l.undoLog[e.undoIndex-1].spec
	e.attempt++
	e.run = r
	l.attach(e, running)
	if len(d) > 0 {
		d = d.json()
	}
	l.addEvent(park.ActStart, e.id, e.owner.Value().tenant, e.units, int(e.attempt), d)
}

func (l *Lot) grantLease(e *entry, r *run, request *LeaseRequest) {
	request.assign(e.size)
	r.ttl = request.TTL
	if r.ttl <= 0 {
		r.ttl = defaultLeaseTTL
	}
	r.leaseEnd = l.now.Mono + r.ttl
	if e.timeout > 0 {
		r.timeoutEnd = l.now.Mono + time.Duration(e.timeout)*time.Second
	}
	r.lease = LeaseID(l.pool, int(e.attempt)+1, request.Secret, e.id)
}

// endRun ends a run with its outcome.
func (l *Lot) endRun(e *entry, o park.Outcome) {
	switch {
	case e.run.cancelled:
		l.endTask(e, park.Dropped, park.Outcome{Reason: park.ReasonCancelled, Result: o.Result})
	case o.Status == park.Completed:
		l.endTask(e, park.Completed, o)
	default:
		l.recordFailure(e, o)
	}
}

// recordFailure counts a failed run. The task fails, or is retried and parked behind all others of its class. A task
// without a maximum of its own fails with its first failed run.
func (l *Lot) recordFailure(e *entry, o park.Outcome) {
	maxFailures := 1
	var backoff time.Duration
	if e.retry != nil {
		maxFailures = max(maxFailures, e.retry.MaxAttempts)
		backoff = time.Duration(e.retry.Backoff)
	}
	failures := int(e.failures) + 1
	if failures >= maxFailures {
		l.recordUndo(e)
		e.failures = int16(failures)
		l.endTask(e, park.Failed, o)
		return
	}
	l.recordUndo(e)
	e.failures = int16(min(failures, 30_000))
	l.requeue(e, o.Reason, l.class(e.priority).nextRank, failures, max(backoffAfter(backoff, failures), min(o.RetryAfter, maxBackoff)))
}

// backoffAfter returns the backoff after this many failures.
func backoffAfter(backoff time.Duration, failures int) time.Duration {
	for range min(failures-1, 32) {
		backoff = min(2*backoff, maxBackoff)
	}
	return min(backoff, maxBackoff)
}

// requeue takes the units of e back and parks it again. failures is the number of failed runs if this run is one of them,
// else 0.
func (l *Lot) requeue(e *entry, reason string, rank int64, failures int, backoff time.Duration) {
	var until park.Time
	if backoff > 0 {
		until = park.At(l.now.Wall.Add(backoff))
	}
	l.addEvent(park.ActRequeue, e.id, e.owner.Value().tenant, e.units, int(e.attempt), requeueDetail(reason, failures, until))
	to := waiting
	if backoff > 0 {
		to = backingOff
	}
	l.detach(e)
	e.run, e.rank = nil, rank
	if e.retry != nil { // without a retry policy there is no backoff
		r := retry{Retry: e.retry.Retry}
		if backoff > 0 {
			r.notBefore = until.Micro()
			r.backoffEnd = l.now.Mono + backoff
		}
		e.retry = &r
	}
	l.attach(e, to)
}

// endTask ends e and removes it from the lot.
func (l *Lot) endTask(e *entry, s park.Status, o park.Outcome) {
	var d []byte
	if o.Reason != "" {
		d = detail("reason", o.Reason)
	}
	l.addEvent(actionOf(s), e.id, e.owner.Value().tenant, e.units, int(e.attempt), d)
	if key := e.owner.Value().mailbox; key != "" {
		m := appendZero(&l.step.Messages)
		m.TaskID, m.PoolID, m.Status, m.Reason, m.Message, m.Payload = e.id, l.pool, s, o.Reason, o.Message, o.Result
		m.Attempt, m.CreatedAt, m.Tenant, m.Key = int(e.attempt), l.now.Wall, e.owner.Value().tenant, key
	}
	l.detach(e)
	o.Status = s
	l.undoLog[e.undoIndex-1].outcome = o
}

func actionOf(s park.Status) park.Action {
	switch s {
	case park.Completed:
		return park.ActComplete
	case park.Failed:
		return park.ActFail
	case park.Expired:
		return park.ActExpire
	default:
		return park.ActCancel
	}
}

// expireTimers handles all timers that are due.
func (l *Lot) expireTimers() {
	now := l.now.Wall.Micro()
	for len(l.deadlines.heap) > 0 && l.deadlines.heap[0].key <= now {
		e := l.deadlines.first()
		l.endTask(e, park.Expired, park.Outcome{Reason: park.ReasonDeadlinePassed, Message: "not started by " + park.FromMicro(e.deadline).String()})
	}
	for len(l.backoffs.heap) > 0 && l.backoffs.heap[0].key <= int64(l.now.Mono) {
		// The end of a backoff does not change the task's state, so it needs neither an undo record nor an event.
		e := l.backoffs.first()
		l.remove(e)
		e.phase = waiting
		l.add(e)
	}
	l.expireLeases()
}

// expireLeases ends leased runs whose lease has expired or whose task has reached its time limit. Tasks of a lost worker
// are requeued in their old order.
func (l *Lot) expireLeases() {
	var expired []*entry
	for len(l.leases.heap) > 0 && l.leases.heap[0].key <= int64(l.now.Mono) {
		e := l.leases.first()
		expired = append(expired, e)
		l.leases.remove(e)
	}
	if len(expired) == 0 {
		return
	}
	sortEntries(expired)
	requeued := expired[:0]
	for _, e := range expired {
		switch o := park.Failure(park.ReasonWorkerLost, "the worker did not keep its lease"); {
		case e.run.leaseEnd > l.now.Mono:
			l.endRun(e, park.Failure(park.ReasonTimeout, "ran longer than "+(time.Duration(e.timeout)*time.Second).String()))
		case e.retry != nil && e.retry.MaxAttempts > 0:
			l.recordFailure(e, o)
		default:
			requeued = append(requeued, e)
		}
	}
	for _, e := range slices.Backward(requeued) {
		l.requeue(e, park.ReasonWorkerLost, l.class(e.priority).frontRank(), 0, 0)
	}
}

// LeaseID returns the id of a lease: "pool.attempt.secret.task". A pool's id has no dot, so the parts can be separated.
func LeaseID(pool string, attempt int, secret, task string) string {
	return pool + "." + strconv.Itoa(attempt) + "." + secret + "." + task
}

// addEvent adds an event to the current step. Readers derive its id from its place.
func (l *Lot) addEvent(a park.Action, task, tenant string, units int64, attempt int, d []byte) {
	e := appendZero(&l.step.Events)
	e.At, e.Rev, e.Ord, e.Action, e.PoolID = l.now.Wall, l.row.Rev+1, len(l.step.Events)-1, a, l.pool
	e.TaskID, e.Tenant, e.Units, e.Attempt, e.Detail = task, tenant, units, attempt, d
	if attempt > 0 {
		e.Node = l.node
	}
}

package lot

import (
	"slices"
	"strconv"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// maxBackoff bounds the rest before a retry.
const maxBackoff = time.Hour

// defaultTTL is the life of a lease that names none.
const defaultTTL = 30 * time.Second

// start gives e its units.
func (l *Lot) start(e *entry) {
	r := l.newRun()
	r.node, r.started = l.node, l.now.Wall
	started := extend(&l.step.Started)
	started.TaskID, started.Attempt = e.id, int(e.attempt)+1
	var d details
	if l.quota > 0 {
		l.quota--
	}
	if l.leased {
		started.Demand = l.taker(e.size)
		l.grant(e, r, &l.demand[started.Demand])
		d.text("worker", l.demand[started.Demand].Worker)
	}
	if early := l.early(e); early > 0 {
		d.text("early", early.String())
	}
	l.lift(e)
	started.Spec = l.journal[e.touched-1].spec
	e.attempt++
	e.run = r
	l.put(e, running)
	if len(d) > 0 {
		d = d.json()
	}
	l.event(park.ActStart, e.id, e.owner.Value().tenant, e.units, int(e.attempt), d)
}

func (l *Lot) grant(e *entry, r *run, to *Demand) {
	to.take(e.size)
	r.ttl = to.TTL
	if r.ttl <= 0 {
		r.ttl = defaultTTL
	}
	r.due = l.now.Mono + r.ttl
	if e.timeout > 0 {
		r.limit = l.now.Mono + time.Duration(e.timeout)*time.Second
	}
	r.lease = LeaseID(l.pool, int(e.attempt)+1, to.Secret, e.id)
}

// conclude ends a run as its outcome says.
func (l *Lot) conclude(e *entry, o park.Outcome) {
	switch {
	case e.run.cancelled:
		l.end(e, park.Dropped, park.Outcome{Reason: park.ReasonCancelled, Result: o.Result})
	case o.Status == park.Completed:
		l.end(e, park.Completed, o)
	default:
		l.strike(e, o)
	}
}

// strike counts a run that went wrong and lets the task try again, behind those that wait, or fail. One such run ends a
// task that has no bound of its own.
func (l *Lot) strike(e *entry, o park.Outcome) {
	most := 1
	var backoff time.Duration
	if e.retry != nil {
		most = max(most, e.retry.MaxAttempts)
		backoff = time.Duration(e.retry.Backoff)
	}
	strikes := int(e.strikes) + 1
	if strikes >= most {
		l.touch(e)
		e.strikes = int16(strikes)
		l.end(e, park.Failed, o)
		return
	}
	l.touch(e)
	e.strikes = int16(min(strikes, 30_000))
	l.park(e, o.Reason, l.class(e.priority).next, strikes, max(grown(backoff, strikes), min(o.RetryAfter, maxBackoff)))
}

// grown returns the rest after so many strikes.
func grown(backoff time.Duration, strikes int) time.Duration {
	for range min(strikes-1, 32) {
		backoff = min(2*backoff, maxBackoff)
	}
	return min(backoff, maxBackoff)
}

// park takes e's units back and puts it into the queue again. strike counts the runs that went wrong where this is one.
func (l *Lot) park(e *entry, reason string, rank int64, strike int, backoff time.Duration) {
	var until park.Time
	if backoff > 0 {
		until = park.At(l.now.Wall.Add(backoff))
	}
	l.event(park.ActRequeue, e.id, e.owner.Value().tenant, e.units, int(e.attempt), requeued(reason, strike, until))
	to := waiting
	if backoff > 0 {
		to = resting
	}
	l.lift(e)
	e.run, e.rank = nil, rank
	if e.retry != nil { // without it there is no second run to rest before
		r := retry{Retry: e.retry.Retry}
		if backoff > 0 {
			r.notBefore = until.Micro()
			r.due = l.now.Mono + backoff
		}
		e.retry = &r
	}
	l.put(e, to)
}

// end takes e out of the lot for good.
func (l *Lot) end(e *entry, s park.Status, o park.Outcome) {
	var d []byte
	if o.Reason != "" {
		d = detail("reason", o.Reason)
	}
	l.event(actionOf(s), e.id, e.owner.Value().tenant, e.units, int(e.attempt), d)
	if key := e.owner.Value().mailbox; key != "" {
		m := extend(&l.step.Messages)
		m.TaskID, m.PoolID, m.Status, m.Reason, m.Message, m.Payload = e.id, l.pool, s, o.Reason, o.Message, o.Result
		m.Attempt, m.CreatedAt, m.Tenant, m.Key = int(e.attempt), l.now.Wall, e.owner.Value().tenant, key
	}
	l.lift(e)
	o.Status = s
	l.journal[e.touched-1].outcome = o
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

// fire does what time has brought.
func (l *Lot) fire() {
	now := l.now.Wall.Micro()
	for len(l.parked.heap) > 0 && l.parked.heap[0].key <= now {
		e := l.parked.first()
		l.end(e, park.Expired, park.Outcome{Reason: park.ReasonDeadlinePassed, Message: "not started by " + park.FromMicro(e.deadline).String()})
	}
	for len(l.rests.heap) > 0 && l.rests.heap[0].key <= int64(l.now.Mono) {
		// The end of a backoff is no change of the task's state, so it is neither journalled nor told.
		e := l.rests.first()
		l.remove(e)
		e.where = waiting
		l.add(e)
	}
	l.loseLeases()
}

// loseLeases ends the runs of leases that ran out, or into their task's time limit. Those of a worker that is
// gone come back in their old order.
func (l *Lot) loseLeases() {
	var lost []*entry
	for len(l.leases.heap) > 0 && l.leases.heap[0].key <= int64(l.now.Mono) {
		e := l.leases.first()
		lost = append(lost, e)
		l.leases.remove(e)
	}
	if len(lost) == 0 {
		return
	}
	sortEntries(lost)
	back := lost[:0]
	for _, e := range lost {
		switch o := park.Failure(park.ReasonWorkerLost, "the worker did not keep its lease"); {
		case e.run.due > l.now.Mono:
			l.conclude(e, park.Failure(park.ReasonTimeout, "ran longer than "+(time.Duration(e.timeout)*time.Second).String()))
		case e.retry != nil && e.retry.MaxAttempts > 0:
			l.strike(e, o)
		default:
			back = append(back, e)
		}
	}
	for _, e := range slices.Backward(back) {
		l.park(e, park.ReasonWorkerLost, l.class(e.priority).front(), 0, 0)
	}
}

// LeaseID returns the id of a lease: "pool.attempt.secret.task". A pool's id holds no dot, so it can be told apart.
func LeaseID(pool string, attempt int, secret, task string) string {
	return pool + "." + strconv.Itoa(attempt) + "." + secret + "." + task
}

// event adds an event to the current step. Its id follows from its place, and is made where it is read.
func (l *Lot) event(a park.Action, task, tenant string, units int64, attempt int, d []byte) {
	e := extend(&l.step.Events)
	e.At, e.Rev, e.Ord, e.Action, e.PoolID = l.now.Wall, l.row.Rev+1, len(l.step.Events)-1, a, l.pool
	e.TaskID, e.Tenant, e.Units, e.Attempt, e.Detail = task, tenant, units, attempt, d
	if attempt > 0 {
		e.Node = l.node
	}
}

package sim

import (
	"bytes"
	"encoding/json"
	"slices"
	"time"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

// What may be said of the end of a run.

// mostBackoff is the longest rest before a task is tried again.
const mostBackoff = time.Hour

// requeue judges that a run is taken back, and takes that into the life.
func (j *judge) requeue(l *account, e *park.Event, t *tale, row *ledger.State) {
	s := &t.state
	reason := reasonOf(e)
	counted := true
	switch reason {
	case park.ReasonNodeLost, park.ReasonShutdown, park.ReasonStartDeferred:
		counted = false
	case park.ReasonWorkerLost:
		// One that a worker never got was not lost by it.
		counted = row.Strikes > s.Strikes
		if counted && t.spec.Retry.MaxAttempts == 0 {
			j.fail("attempts", "task %s has no bound of attempts, and the loss of a worker counts", t.id)
		}
	}
	j.because(l, t, reason, park.ActRequeue)
	if s.Cancelled {
		j.fail("cancel", "task %s was cancelled in run %d, and is parked again", t.id, s.Attempt)
	}
	s.Status, s.Node, s.Lease, s.LeaseTTL, s.StartedAt = park.Queued, "", "", 0, park.Time{}
	s.NotBefore, t.rested = park.Time{}, park.Time{}
	d := toldBy(e)
	if !counted {
		if d.Strike != 0 || !d.NotBefore.IsZero() {
			j.fail("event", "the requeue of task %s tells of %s, and is not its fault", t.id, e.Detail)
		}
		return
	}
	s.Strikes++
	if most := max(t.spec.Retry.MaxAttempts, 1); s.Strikes >= most {
		j.fail("attempts", "task %s is tried again after %d failures of at most %d", t.id, s.Strikes, most)
	}
	rest := time.Duration(t.spec.Retry.Backoff)
	for range s.Strikes - 1 {
		rest = min(2*rest, mostBackoff)
	}
	if rest = max(min(rest, mostBackoff), j.asksToRest(t, reason)); rest > 0 {
		s.NotBefore = park.At(e.At.Add(rest))
	}
	t.rested = s.NotBefore
	if d.Strike != s.Strikes || !d.NotBefore.Equal(s.NotBefore.Time) {
		j.fail("event", "the requeue of task %s tells of %s, and is the %d. that counts, to rest until %s", t.id, e.Detail, s.Strikes, s.NotBefore)
	}
}

// asksToRest returns for how long a failed run has asked its task to rest.
func (j *judge) asksToRest(t *tale, reason string) (rest time.Duration) {
	for _, o := range j.outcomes[t.run()] {
		if o.Reason == reason || reason == park.ReasonTimeout {
			rest = max(rest, min(o.RetryAfter, mostBackoff))
		}
	}
	return rest
}

func (t *tale) run() run { return run{t.job, t.state.Attempt} }

// ended judges an end.
func (j *judge) ended(l *account, e *park.Event, t *tale) {
	s := &t.state
	if e.Action == park.ActFail {
		s.Strikes++
		if most := t.spec.Retry.MaxAttempts; s.Strikes < most {
			j.fail("attempts", "task %s failed for good after %d failures of %d", t.id, s.Strikes, most)
		}
	}
	switch e.Action {
	case park.ActComplete:
		j.completed(l, t)
	case park.ActFail:
		j.because(l, t, s.Reason, park.ActFail)
		j.failure(t)
	case park.ActExpire:
		j.expired(e, t)
	case park.ActCancel:
		j.dropped(l, e, t)
	default: // no end
	}
	if s.Cancelled && e.Action != park.ActCancel {
		j.fail("cancel", "task %s was cancelled in run %d, and its end is %s", t.id, s.Attempt, e.Action)
	}
	if s.Attempt == 0 && e.Attempt != 0 || s.Attempt > 0 && e.Attempt != s.Attempt {
		j.fail("event", "%s of attempt %d at task %s, which is in attempt %d", e.Action, e.Attempt, t.id, s.Attempt)
	}
}

// completed judges that a task is said to have done its work.
func (j *judge) completed(l *account, t *tale) {
	s := &t.state
	for _, o := range j.outcomes[t.run()] {
		if o.Status == park.Completed && string(o.Result) == string(s.Result) && o.Message == s.Message && s.Reason == o.Reason && len(s.Result) <= l.mostResult() && !poisoned(s.Result) {
			return
		}
	}
	j.fail("result", "task %s completed in run %d with the result %.200s; what its runs came to is %+v", t.id, s.Attempt, s.Result, j.outcomes[t.run()])
}

// poisoned reports whether the database refuses a result.
func poisoned(r []byte) bool { return bytes.Contains(r, []byte(`"poison"`)) }

func (l *account) mostResult() int {
	if l.spec.MaxResultBytes > 0 {
		return int(l.spec.MaxResultBytes)
	}
	return park.DefaultMaxResult
}

// failure judges what is kept of a run that failed for good: its text and its result are its own, unless parkd has ended it.
func (j *judge) failure(t *tale) {
	s := &t.state
	if len(s.Result) == 0 && (s.Reason == park.ReasonTimeout || s.Reason == park.ReasonWorkerLost || s.Reason == park.ReasonResultTooLarge) {
		return
	}
	for _, o := range j.outcomes[t.run()] {
		if o.mended && (s.Reason == park.ReasonTimeout || len(s.Result) == 0) || o.Message == s.Message && string(o.Result) == string(s.Result) {
			return
		}
	}
	j.fail("reason", "task %s failed in run %d with the message %q and the result %q, which no run has left", t.id, s.Attempt, s.Message, s.Result)
}

// expired judges that a task was not started in time.
func (j *judge) expired(e *park.Event, t *tale) {
	s := &t.state
	d := t.spec.Deadline
	if d.IsZero() || e.At.Before(d.Time) || s.Attempt > 0 || s.Reason != park.ReasonDeadlinePassed || len(s.Result) > 0 {
		j.fail("deadline", "task %s expired at %s (%s) after %d runs; its deadline is %s", t.id, e.At, s.Reason, s.Attempt, d)
	}
}

// dropped judges that a task was cancelled.
func (j *judge) dropped(l *account, e *park.Event, t *tale) {
	s := &t.state
	j.wished(l, t)
	if s.Reason != park.ReasonCancelled {
		j.fail("reason", "task %s was cancelled for the reason %q", t.id, s.Reason)
	}
	was := s.Attempt > 0 && s.Node != "" // it ran
	if was && !l.spec.Runtime.Leased() && !s.Cancelled {
		j.fail("cancel", "run %d of task %s was dropped, and had not been asked to stop", s.Attempt, t.id)
	}
	if len(s.Result) > 0 && !slices.ContainsFunc(j.outcomes[t.run()], func(o outcome) bool { return string(o.Result) == string(s.Result) }) {
		j.fail("result", "task %s was dropped with the result %s, which is not its own", t.id, s.Result)
	}
	_ = e
}

// wished judges that somebody wanted the end of a task.
func (j *judge) wished(l *account, t *tale) {
	if len(j.wanted[place{l.spec.ID, t.id, 0}]) == 0 {
		j.fail("cancel", "task %s was cancelled, and nobody has asked for it", t.id)
	}
}

// because judges the reason for which a run failed or was taken back: it has to be what happened.
func (j *judge) because(l *account, t *tale, reason string, what park.Action) {
	s := &t.state
	leased, took := l.spec.Runtime.Leased(), j.now-t.started
	ok := false
	switch reason {
	case park.ReasonNodeLost:
		ok = what == park.ActRequeue && !leased && j.lost(t)
	case park.ReasonShutdown:
		_, told := j.stopped[lifeOf(s.Node)]
		ok = what == park.ActRequeue && !leased && told
	case park.ReasonStartDeferred:
		back := j.returns[place{l.spec.ID, t.id, s.Attempt}]
		ok = what == park.ActRequeue && (leased && back || !leased && j.came(t, func(o outcome) bool { return o.Shortage != nil }))
	case park.ReasonWorkerLost:
		ok = leased && j.unkept(l, t)
	case park.ReasonTimeout:
		most := t.spec.Timeout
		if leased {
			took += j.drift() // for which other nodes go by the date
		}
		ok = most > 0 && (took >= j.short(most) || t.started < 0 || leased && j.steps) && !(!leased && j.back < 0 && t.tales == 1 && j.came(t, func(o outcome) bool { return o.Status == park.Completed }))
	case park.ReasonResultTooLarge:
		ok = j.came(t, func(o outcome) bool {
			return o.Status == park.Completed && (len(o.Result) > l.mostResult() || poisoned(o.Result))
		})
	default:
		ok = reason != "" && j.came(t, func(o outcome) bool { return o.Status == park.Failed && o.Shortage == nil && o.Reason == reason })
	}
	if !ok {
		j.fail("reason", "%s of run %d of task %s for the reason %q, which did not happen: it ran %s on %s and came to %+v",
			what, s.Attempt, t.id, reason, took, s.Node, j.outcomes[t.run()])
	}
}

// came reports whether the present run of a task has come to such an outcome.
func (j *judge) came(t *tale, such func(outcome) bool) bool {
	return slices.ContainsFunc(j.outcomes[t.run()], such)
}

// lost reports whether the node of a run is gone, or could not show that it was not.
func (j *judge) lost(t *tale) bool {
	node := t.state.Node
	if j.alone {
		_, gone := j.stopped[lifeOf(node)]
		return gone
	}
	return j.silent(node, t.started)
}

// unkept reports whether nobody has kept a run's lease for its time, as far as the node that decided the step had to know.
func (j *judge) unkept(l *account, t *tale) bool {
	heard := l.before.at
	if j.alone {
		heard = l.sent
	}
	return t.kept.answered == 0 || t.kept.answered > heard || j.now-t.kept.asked >= j.short(t.state.LeaseTTL)
}

// refusal is a submission that was refused.
type refusal struct {
	at   time.Duration
	id   string
	code park.Code
}

// refusedFor is what the log says of why a submission was refused.
func refusedFor(e *park.Event) (d struct {
	Code   park.Code
	TaskID string
},
) {
	_ = json.Unmarshal(e.Detail, &d)
	return d
}

// reject judges that a submission was refused, by what the pool was like: the first reason that there was is the one given.
func (j *judge) reject(l *account, e *park.Event) {
	d := refusedFor(e)
	if d.Code == park.TaskExists {
		own := park.TenantTaskID(d.TaskID, e.Tenant)
		if e.TaskID != "" || len(l.past[d.TaskID])+len(l.past[own]) == 0 { // it may have been pruned just now
			j.fail("refusal", "a submission was refused because task %s exists, which does not", d.TaskID)
		}
		l.refused = append(l.refused, refusal{j.now, d.TaskID, d.Code})
		return
	}
	if t := l.tales[e.TaskID]; t != nil && len(t.statuses) > 0 || e.Attempt != 0 {
		j.fail("refusal", "task %s was refused as %s, and is there", e.TaskID, d.Code)
	}
	l.refused = append(l.refused, refusal{j.now, e.TaskID, d.Code})
	if asks := l.asked[e.TaskID]; len(asks) > 0 {
		of := slices.IndexFunc(asks, func(a *ask) bool {
			return e.Tenant == tenantOf(&a.sub) && e.Units == max(1, int64(a.sub.ResourceCost.Units))
		})
		if of < 0 {
			j.fail("event", "the refusal of task %s is of %d units of %s", e.TaskID, e.Units, e.Tenant)
		}
		if slices.ContainsFunc(asks, func(a *ask) bool { return d.Code == whyNot(l, e, a.sub.Deadline) }) {
			return
		}
	} else if d.Code == whyNot(l, e, park.Time{}) || d.Code == park.DeadlinePast {
		return // the daemon made its id
	}
	s := l.log.State()
	j.fail("refusal", "task %s was refused as %s, which is not what its pool was like: %d of %d parked, %d of %d units, %s", e.TaskID, d.Code,
		s.Queued, s.Limits.MaxQueueDepth, s.Used, s.Limits.MaxUnits, s.Limits.State)
}

// whyNot returns why a pool as it is refuses a task, "" where it does not unless the task can start at once.
func whyNot(l *account, e *park.Event, deadline park.Time) park.Code {
	switch s := l.log.State(); {
	case s.Limits.State == park.Draining:
		return park.PoolDraining
	case s.Limits.MaxUnits == 0:
		return park.CapacityZero
	case e.Units > s.Limits.MaxUnits:
		return park.CostExceedsPool
	case !deadline.IsZero() && !deadline.After(e.At.Time):
		return park.DeadlinePast
	case s.Queued >= s.Limits.MaxQueueDepth:
		return park.QueueFull
	}
	return ""
}

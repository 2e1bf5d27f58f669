package sim

import (
	"bytes"
	"encoding/json"
	"slices"
	"time"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

// Checks of the outcomes of runs.

// maxBackoff is the longest wait before a retry.
const maxBackoff = time.Hour

// checkRequeue judges the requeue of a task, and updates its state.
func (j *judge) checkRequeue(l *poolRecord, e *park.Event, t *taskLife, row *ledger.State) {
	s := &t.state
	reason := reasonOf(e)
	counted := true
	switch reason {
	case park.ReasonNodeLost, park.ReasonShutdown, park.ReasonStartDeferred:
		counted = false
	case park.ReasonWorkerLost:
		// A lease that no worker got is not lost by a worker.
		counted = row.Failures > s.Failures
		if counted && t.spec.Retry.MaxAttempts == 0 {
			j.fail("attempts", "task %s has no bound of attempts, and the loss of a worker counts", t.id)
		}
	}
	j.checkReason(l, t, reason, park.ActRequeue)
	if s.Cancelled {
		j.fail("cancel", "task %s was cancelled in run %d, and is parked again", t.id, s.Attempt)
	}
	s.Status, s.Node, s.Lease, s.LeaseTTL, s.StartedAt = park.Queued, "", "", 0, park.Time{}
	s.NotBefore, t.notBefore = park.Time{}, park.Time{}
	d := detailOf(e)
	if !counted {
		if d.Strike != 0 || !d.NotBefore.IsZero() {
			j.fail("event", "the requeue of task %s tells of %s, and is not its fault", t.id, e.Detail)
		}
		return
	}
	s.Failures++
	if most := max(t.spec.Retry.MaxAttempts, 1); s.Failures >= most {
		j.fail("attempts", "task %s is tried again after %d failures of at most %d", t.id, s.Failures, most)
	}
	rest := time.Duration(t.spec.Retry.Backoff)
	for range s.Failures - 1 {
		rest = min(2*rest, maxBackoff)
	}
	if rest = max(min(rest, maxBackoff), j.asksToRest(t, reason)); rest > 0 {
		s.NotBefore = park.At(e.At.Add(rest))
	}
	t.notBefore = s.NotBefore
	if d.Strike != s.Failures || !d.NotBefore.Equal(s.NotBefore.Time) {
		j.fail("event", "the requeue of task %s tells of %s, and is the %d. that counts, to rest until %s", t.id, e.Detail, s.Failures, s.NotBefore)
	}
}

// asksToRest returns the wait that a failed run has asked for.
func (j *judge) asksToRest(t *taskLife, reason string) (rest time.Duration) {
	for _, o := range j.outcomes[t.run()] {
		if o.Reason == reason || reason == park.ReasonTimeout {
			rest = max(rest, min(o.RetryAfter, maxBackoff))
		}
	}
	return rest
}

func (t *taskLife) run() run { return run{t.job, t.state.Attempt} }

// checkEnding judges the end of a task.
func (j *judge) checkEnding(l *poolRecord, e *park.Event, t *taskLife) {
	s := &t.state
	if e.Action == park.ActFail {
		s.Failures++
		if most := t.spec.Retry.MaxAttempts; s.Failures < most {
			j.fail("attempts", "task %s failed for good after %d failures of %d", t.id, s.Failures, most)
		}
	}
	switch e.Action {
	case park.ActComplete:
		j.checkCompleted(l, t)
	case park.ActFail:
		j.checkReason(l, t, s.Reason, park.ActFail)
		j.checkFailure(t)
	case park.ActExpire:
		j.checkExpired(e, t)
	case park.ActCancel:
		j.checkDropped(l, e, t)
	default: // no end
	}
	if s.Cancelled && e.Action != park.ActCancel {
		j.fail("cancel", "task %s was cancelled in run %d, and its end is %s", t.id, s.Attempt, e.Action)
	}
	if s.Attempt == 0 && e.Attempt != 0 || s.Attempt > 0 && e.Attempt != s.Attempt {
		j.fail("event", "%s of attempt %d at task %s, which is in attempt %d", e.Action, e.Attempt, t.id, s.Attempt)
	}
}

// checkCompleted judges a completed task.
func (j *judge) checkCompleted(l *poolRecord, t *taskLife) {
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

func (l *poolRecord) mostResult() int {
	if l.spec.MaxResultBytes > 0 {
		return int(l.spec.MaxResultBytes)
	}
	return park.DefaultMaxResult
}

// checkFailure judges a failed task: its message and result are those of the run, unless parkd has ended it.
func (j *judge) checkFailure(t *taskLife) {
	s := &t.state
	if len(s.Result) == 0 && (s.Reason == park.ReasonTimeout || s.Reason == park.ReasonWorkerLost || s.Reason == park.ReasonResultTooLarge) {
		return
	}
	for _, o := range j.outcomes[t.run()] {
		if o.normalized && (s.Reason == park.ReasonTimeout || len(s.Result) == 0) || o.Message == s.Message && string(o.Result) == string(s.Result) {
			return
		}
	}
	j.fail("reason", "task %s failed in run %d with the message %q and the result %q, which no run has left", t.id, s.Attempt, s.Message, s.Result)
}

// checkExpired judges an expired task.
func (j *judge) checkExpired(e *park.Event, t *taskLife) {
	s := &t.state
	d := t.spec.Deadline
	if d.IsZero() || e.At.Before(d.Time) || s.Attempt > 0 || s.Reason != park.ReasonDeadlinePassed || len(s.Result) > 0 {
		j.fail("deadline", "task %s expired at %s (%s) after %d runs; its deadline is %s", t.id, e.At, s.Reason, s.Attempt, d)
	}
}

// checkDropped judges a cancelled task.
func (j *judge) checkDropped(l *poolRecord, e *park.Event, t *taskLife) {
	s := &t.state
	j.checkCancelWanted(l, t)
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

// checkCancelWanted judges whether anybody has asked to cancel a task.
func (j *judge) checkCancelWanted(l *poolRecord, t *taskLife) {
	if len(j.cancelRequests[attemptKey{l.spec.ID, t.id, 0}]) == 0 {
		j.fail("cancel", "task %s was cancelled, and nobody has asked for it", t.id)
	}
}

// checkReason judges the reason of a failure or requeue: it must have happened.
func (j *judge) checkReason(l *poolRecord, t *taskLife, reason string, what park.Action) {
	s := &t.state
	leased, took := l.spec.Runtime.Leased(), j.now-t.started
	ok := false
	switch reason {
	case park.ReasonNodeLost:
		ok = what == park.ActRequeue && !leased && j.nodeLost(t)
	case park.ReasonShutdown:
		_, told := j.stoppedDaemons[lifeOf(s.Node)]
		ok = what == park.ActRequeue && !leased && told
	case park.ReasonStartDeferred:
		back := j.releases[attemptKey{l.spec.ID, t.id, s.Attempt}]
		ok = what == park.ActRequeue && (leased && back || !leased && j.hadOutcome(t, func(o outcome) bool { return o.Shortage != nil }))
	case park.ReasonWorkerLost:
		ok = leased && j.leaseExpired(l, t)
	case park.ReasonTimeout:
		most := t.spec.Timeout
		if leased {
			took += j.drift() // other nodes go by the date
		}
		ok = most > 0 && (took >= j.shortest(most) || t.started < 0 || leased && j.clockSteps) && !(!leased && j.restoredAt < 0 && t.lives == 1 && j.hadOutcome(t, func(o outcome) bool { return o.Status == park.Completed }))
	case park.ReasonResultTooLarge:
		ok = j.hadOutcome(t, func(o outcome) bool {
			return o.Status == park.Completed && (len(o.Result) > l.mostResult() || poisoned(o.Result))
		})
	default:
		ok = reason != "" && j.hadOutcome(t, func(o outcome) bool { return o.Status == park.Failed && o.Shortage == nil && o.Reason == reason })
	}
	if !ok {
		j.fail("reason", "%s of run %d of task %s for the reason %q, which did not happen: it ran %s on %s and came to %+v",
			what, s.Attempt, t.id, reason, took, s.Node, j.outcomes[t.run()])
	}
}

// hadOutcome reports whether the task's current run has an outcome that matches.
func (j *judge) hadOutcome(t *taskLife, such func(outcome) bool) bool {
	return slices.ContainsFunc(j.outcomes[t.run()], such)
}

// nodeLost reports whether a run's node is gone, or may have seemed so.
func (j *judge) nodeLost(t *taskLife) bool {
	node := t.state.Node
	if j.singleNode {
		_, gone := j.stoppedDaemons[lifeOf(node)]
		return gone
	}
	return j.wasSilent(node, t.started)
}

// leaseExpired reports whether a run's lease was not renewed in time, as far as the deciding node had to know.
func (j *judge) leaseExpired(l *poolRecord, t *taskLife) bool {
	heard := l.before.at
	if j.singleNode {
		heard = l.sent
	}
	return t.renewed.answered == 0 || t.renewed.answered > heard || j.now-t.renewed.requested >= j.shortest(t.state.LeaseTTL)
}

// refusal is a refused submission.
type refusal struct {
	at   time.Duration
	id   string
	code park.Code
}

// refusedFor returns the reason of a refusal in the log.
func refusedFor(e *park.Event) (d struct {
	Code   park.Code
	TaskID string
},
) {
	_ = json.Unmarshal(e.Detail, &d)
	return d
}

// checkReject judges a refusal by the state of the pool: the first applicable reason must be given.
func (j *judge) checkReject(l *poolRecord, e *park.Event) {
	d := refusedFor(e)
	if d.Code == park.TaskExists {
		own := park.TenantTaskID(d.TaskID, e.Tenant)
		if e.TaskID != "" || len(l.past[d.TaskID])+len(l.past[own]) == 0 { // it may have been pruned just now
			j.fail("refusal", "a submission was refused because task %s exists, which does not", d.TaskID)
		}
		l.refused = append(l.refused, refusal{j.now, d.TaskID, d.Code})
		return
	}
	if t := l.tasks[e.TaskID]; t != nil && len(t.statuses) > 0 || e.Attempt != 0 {
		j.fail("refusal", "task %s was refused as %s, and is there", e.TaskID, d.Code)
	}
	l.refused = append(l.refused, refusal{j.now, e.TaskID, d.Code})
	if asks := l.jobs[e.TaskID]; len(asks) > 0 {
		of := slices.IndexFunc(asks, func(a *jobRecord) bool {
			return e.Tenant == tenantOf(&a.sub) && e.Units == max(1, int64(a.sub.ResourceCost.Units))
		})
		if of < 0 {
			j.fail("event", "the refusal of task %s is of %d units of %s", e.TaskID, e.Units, e.Tenant)
		}
		if slices.ContainsFunc(asks, func(a *jobRecord) bool { return d.Code == refusalCode(l, e, a.sub.Deadline) }) {
			return
		}
	} else if d.Code == refusalCode(l, e, park.Time{}) || d.Code == park.DeadlinePast {
		return // the daemon made its id
	}
	s := l.log.State()
	j.fail("refusal", "task %s was refused as %s, which is not what its pool was like: %d of %d parked, %d of %d units, %s", e.TaskID, d.Code,
		s.Queued, s.Limits.MaxQueueDepth, s.Used, s.Limits.MaxUnits, s.Limits.State)
}

// refusalCode returns why a pool refuses a task; "" if it does not, or only if the task cannot start at once.
func refusalCode(l *poolRecord, e *park.Event, deadline park.Time) park.Code {
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

package loadtest

// Checks of a task's events against the requests and answers.

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// Tolerances for times in the log, because the machine may be busy.
const (
	expiryLatency = time.Second      // of an expiry; other steps may come first
	stopLatency   = 5 * time.Second  // until a run ends that was asked to stop
	overrunLimit  = 10 * time.Second // of a run beyond its work
	grain         = 2 * time.Millisecond
	minWorkShare  = 0.9 // a run must take this share of its work by the log, whose clock may be set meanwhile
)

// eventDetail is the part of an event's detail that the load test reads.
type eventDetail struct {
	Reason string    `json:"reason"`
	Code   park.Code `json:"code"`
	TaskID string    `json:"taskId"`
	Cancel string    `json:"cancel"`

	Priority string    `json:"priority"`
	Mailbox  string    `json:"mailbox"`
	Deadline park.Time `json:"deadline"`
}

func detailOf(e *park.Event) (d eventDetail) {
	if len(e.Detail) > 0 {
		_ = json.Unmarshal(e.Detail, &d) // what cannot be read says nothing
	}
	return d
}

func reasonOf(e *park.Event) string { return detailOf(e).Reason }

// lostRun reports whether a requeue with the reason is due to a lost daemon or worker, and not to a failure.
func lostRun(reason string) bool {
	return slices.Contains([]string{park.ReasonNodeLost, park.ReasonWorkerLost, park.ReasonShutdown, park.ReasonStartDeferred}, reason)
}

// applyOther applies an event that names its task only in the detail, if any.
func (j *judge) applyOther(e *park.Event) {
	d := detailOf(e)
	if i, own := j.ledger.number(d.TaskID); own && e.Action == park.ActReject {
		j.findings.note(wrongAnswer, "task %s%d was refused with %s, although nobody else has its id", j.ledger.run, i, d.Code)
	}
	if i, own := j.ledger.number(d.Cancel); own && e.Action == park.ActUpdate {
		j.stops[i] = e.At.Micro()
		if !j.ledger.entries[i].is(cancelAsked) {
			j.findings.note(wrongEnd, "task %s was told to stop, and nobody had asked for it", d.Cancel)
		}
	}
}

// checkEvent checks an event of a task against the request, after the ideal pool and the replay have it.
func (j *judge) checkEvent(e *park.Event, i int) {
	t := &j.ledger.entries[i]
	if t.events < maxCount {
		t.events++
	}
	if tenant := j.ledger.mailboxes[t.mailbox].tenant; e.Units != t.units || e.Tenant != tenant || e.PoolID != j.facts.pool {
		j.findings.note(wrongEvent, "%s of task %s says %d units, tenant %q, pool %q; asked for were %d, %q, %q",
			e.Action, e.TaskID, e.Units, e.Tenant, e.PoolID, t.units, tenant, j.facts.pool)
	}
	switch e.Action {
	case park.ActSubmit:
		j.submitted(e, i, t)
	case park.ActEnqueue:
		j.enqueued(e, t)
	case park.ActStart:
		if !t.is(parkedFirst) && e.Attempt == 1 && t.answer == accepted && !t.is(resent|running) {
			j.findings.note(wrongAnswer, "task %s was answered to be parked, and started in rev %d", e.TaskID, e.Rev)
		}
		t.startedAt, t.attempt = e.At.Micro(), uint16(min(max(e.Attempt, 0), maxAttempt))
	case park.ActReject:
		j.checkRefused(e, t)
	case park.ActRequeue:
		j.checkRequeue(e, t)
		delete(j.stops, i)
	case park.ActComplete, park.ActFail, park.ActExpire, park.ActCancel:
		j.checkEnd(e, i)
	case park.ActUpdate:
	}
}

const maxAttempt = 1<<16 - 1

func (j *judge) submitted(e *park.Event, i int, t *entry) {
	t.mark(logHasSubmission)
	at := e.At.Micro()
	if t.answer == accepted && t.submitted != at {
		j.findings.note(wrongAnswer, "task %s was answered to be submitted at %s, the log says %s", e.TaskID, park.FromMicro(t.submitted), e.At)
	}
	t.submitted = at
	if turned := j.ledger.denied[i]; turned > at && !t.is(mayBeAccepted) && !j.facts.shared { // a daemon elsewhere has a clock of its own
		j.findings.note(wrongAnswer, "task %s was taken in rev %d, and the answer was that nothing was", e.TaskID, e.Rev)
	}
	key := j.ledger.mailboxes[t.mailbox].key
	if d := detailOf(e); d.Priority != t.priority.String() || d.Mailbox != key || d.Deadline.Micro() != t.deadline {
		j.findings.note(wrongEvent, "the submission of task %s says priority %q, mailbox %q, deadline %s; asked for were %s, %q, %s",
			e.TaskID, d.Priority, d.Mailbox, d.Deadline, t.priority, key, park.FromMicro(t.deadline))
	}
}

func (j *judge) enqueued(e *park.Event, t *entry) {
	t.mark(parkedFirst)
	if t.answer != accepted || t.is(resent) {
		return
	}
	if t.is(running) {
		j.findings.note(wrongAnswer, "task %s was answered to be running, and was parked in rev %d", e.TaskID, e.Rev)
		return
	}
	if last := j.ideal.last(t.priority); j.exact() && int64(t.position) != last {
		j.findings.note(wrongAnswer, "task %s was answered to be parked in position %d, by the log it was %d", e.TaskID, t.position, last)
	}
}

// checkRefused checks a refusal against the state of the pool and the answer.
func (j *judge) checkRefused(e *park.Event, t *entry) {
	t.mark(logHasRefusal)
	code, s := detailOf(e).Code, j.pool.State()
	legal := false
	switch code {
	case park.QueueFull:
		legal = s.Queued >= s.Limits.MaxQueueDepth || !j.exact()
	case park.CapacityZero:
		legal = s.Limits.MaxUnits == 0
	case park.CostExceedsPool:
		legal = t.units > s.Limits.MaxUnits
	case park.PoolDraining:
		legal = s.Limits.State == park.Draining
	case park.DeadlinePast:
		legal = t.deadline != 0 && t.deadline <= e.At.Micro()
	default:
	}
	if !legal {
		j.findings.note(wrongAnswer, "task %s was refused with %s in rev %d, with %d tasks parked of %d, %d units, state %q",
			e.TaskID, code, e.Rev, s.Queued, s.Limits.MaxQueueDepth, s.Limits.MaxUnits, s.Limits.State)
	}
	switch {
	case t.is(resent):
	case t.answer == accepted:
		j.findings.note(wrongAnswer, "task %s was accepted, but the log has a refusal of it (%s)", e.TaskID, code)
	case t.answer == rejected && t.code.of() != code:
		j.findings.note(wrongAnswer, "task %s was refused with %s, the log says %s", e.TaskID, t.code.of(), code)
	}
}

// checkRequeue judges a requeue.
func (j *judge) checkRequeue(e *park.Event, t *entry) {
	reason := reasonOf(e)
	switch {
	case lostRun(reason) && j.facts.losses:
	case j.facts.shared && reason == reasonRequested && t.is(toFail): // the pool lets tasks try again
	case j.facts.shared && reason == park.ReasonTimeout:
	default:
		j.findings.note(strayRequeue, "task %s lost its run %d in rev %d (%q)", e.TaskID, e.Attempt, e.Rev, reason)
	}
}

// checkTask judges the events of a task as a whole.
func (j *judge) checkTask(i int) {
	t := &j.ledger.entries[i]
	switch {
	case t.answer == accepted && t.end != notEnded && !t.is(logHasSubmission):
		j.findings.note(wrongEvent, "the log has no submission of task %s%d", j.ledger.run, i)
	case t.answer == rejected && !t.is(logHasRefusal):
		j.findings.note(wrongAnswer, "task %s%d was refused with %s, of which the log says nothing", j.ledger.run, i, t.code.of())
	case t.is(cancelled) && t.end == notEnded:
		j.findings.note(wrongEnd, "task %s%d was cancelled, but has not ended", j.ledger.run, i)
	}
}

// refusal is the code of a refusal, in one byte.
type refusal uint8

// refusals are the codes with which a load's task may be refused for good.
func refusals() []park.Code {
	return []park.Code{park.QueueFull, park.CapacityZero, park.PoolDraining, park.DeadlinePast, park.CostExceedsPool}
}

// refusalOf returns the refusal with a code; 0 if it cannot be one.
func refusalOf(c park.Code) refusal { return refusal(slices.Index(refusals(), c) + 1) }

func (r refusal) of() park.Code {
	if r == 0 {
		return "another code"
	}
	return refusals()[r-1]
}

package loadtest

// A task's life in the log, held against what was asked for and answered.

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// What is allowed for where the log's own times are judged: a daemon is not to be blamed for a busy machine.
const (
	lateBy    = time.Second      // an expiry, with steps of the pool in between
	stopBy    = 5 * time.Second  // the end of a run that was asked to stop
	outlasts  = 10 * time.Second // a run that should have come to its end
	grain     = 2 * time.Millisecond
	leastWork = 0.9 // of its work a run must have taken by the log, whose clock may be set meanwhile
)

// told is what the load test reads of an event's detail.
type told struct {
	Reason string    `json:"reason"`
	Code   park.Code `json:"code"`
	TaskID string    `json:"taskId"`
	Cancel string    `json:"cancel"`

	Priority string    `json:"priority"`
	Mailbox  string    `json:"mailbox"`
	Deadline park.Time `json:"deadline"`
}

func toldBy(e *park.Event) (d told) {
	if len(e.Detail) > 0 {
		_ = json.Unmarshal(e.Detail, &d) // what cannot be read says nothing
	}
	return d
}

func reasonOf(e *park.Event) string { return toldBy(e).Reason }

// lostRun reports whether a requeue with the reason is for the loss of who did the work, and not for a failure of the task.
func lostRun(reason string) bool {
	return slices.Contains([]string{park.ReasonNodeLost, park.ReasonWorkerLost, park.ReasonShutdown, park.ReasonStartDeferred}, reason)
}

// aside plays an event that names its task in the detail alone, if any.
func (j *judge) aside(e *park.Event) {
	d := toldBy(e)
	if i, own := j.ledger.number(d.TaskID); own && e.Action == park.ActReject {
		j.found.note(wrongAnswer, "task %s%d was refused with %s, although nobody else has its id", j.ledger.run, i, d.Code)
	}
	if i, own := j.ledger.number(d.Cancel); own && e.Action == park.ActUpdate {
		j.stops[i] = e.At.Micro()
		if !j.ledger.entries[i].is(cancelAsked) {
			j.found.note(wrongEnd, "task %s was told to stop, and nobody had asked for it", d.Cancel)
		}
	}
}

// life holds an event of a task against what was asked for, after the line and the pool have heard of it.
func (j *judge) life(e *park.Event, i int) {
	t := &j.ledger.entries[i]
	if t.events < mostCounted {
		t.events++
	}
	if tenant := j.ledger.boxes[t.box].tenant; e.Units != t.units || e.Tenant != tenant || e.PoolID != j.terms.pool {
		j.found.note(wrongEvent, "%s of task %s says %d units, tenant %q, pool %q; asked for were %d, %q, %q",
			e.Action, e.TaskID, e.Units, e.Tenant, e.PoolID, t.units, tenant, j.terms.pool)
	}
	switch e.Action {
	case park.ActSubmit:
		j.submitted(e, i, t)
	case park.ActEnqueue:
		j.enqueued(e, t)
	case park.ActStart:
		if !t.is(parkedFirst) && e.Attempt == 1 && t.answer == accepted && !t.is(sentAgain|running) {
			j.found.note(wrongAnswer, "task %s was answered to be parked, and started in rev %d", e.TaskID, e.Rev)
		}
		t.began, t.attempt = e.At.Micro(), uint16(min(max(e.Attempt, 0), maxAttempt))
	case park.ActReject:
		j.refused(e, t)
	case park.ActRequeue:
		j.begunAgain(e, t)
		delete(j.stops, i)
	case park.ActComplete, park.ActFail, park.ActExpire, park.ActCancel:
		j.over(e, i)
	case park.ActUpdate:
	}
}

const maxAttempt = 1<<16 - 1

func (j *judge) submitted(e *park.Event, i int, t *entry) {
	t.mark(taken)
	at := e.At.Micro()
	if t.answer == accepted && t.submitted != at {
		j.found.note(wrongAnswer, "task %s was answered to be submitted at %s, the log says %s", e.TaskID, park.FromMicro(t.submitted), e.At)
	}
	t.submitted = at
	if turned := j.ledger.turned[i]; turned > at && !t.is(maybe) && !j.terms.shared { // a daemon elsewhere has a clock of its own
		j.found.note(wrongAnswer, "task %s was taken in rev %d, and the answer was that nothing was", e.TaskID, e.Rev)
	}
	key := j.ledger.boxes[t.box].key
	if d := toldBy(e); d.Priority != t.priority.String() || d.Mailbox != key || d.Deadline.Micro() != t.deadline {
		j.found.note(wrongEvent, "the submission of task %s says priority %q, mailbox %q, deadline %s; asked for were %s, %q, %s",
			e.TaskID, d.Priority, d.Mailbox, d.Deadline, t.priority, key, park.FromMicro(t.deadline))
	}
}

func (j *judge) enqueued(e *park.Event, t *entry) {
	t.mark(parkedFirst)
	if t.answer != accepted || t.is(sentAgain) {
		return
	}
	if t.is(running) {
		j.found.note(wrongAnswer, "task %s was answered to be running, and was parked in rev %d", e.TaskID, e.Rev)
		return
	}
	if last := j.lineup.last(t.priority); j.exact() && int64(t.position) != last {
		j.found.note(wrongAnswer, "task %s was answered to be parked in position %d, by the log it was %d", e.TaskID, t.position, last)
	}
}

// refused holds a refusal against the pool as it was, and against the answer.
func (j *judge) refused(e *park.Event, t *entry) {
	t.mark(turnedAway)
	code, s := toldBy(e).Code, j.pool.State()
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
		j.found.note(wrongAnswer, "task %s was refused with %s in rev %d, with %d tasks parked of %d, %d units, state %q",
			e.TaskID, code, e.Rev, s.Queued, s.Limits.MaxQueueDepth, s.Limits.MaxUnits, s.Limits.State)
	}
	switch {
	case t.is(sentAgain):
	case t.answer == accepted:
		j.found.note(wrongAnswer, "task %s was accepted, but the log has a refusal of it (%s)", e.TaskID, code)
	case t.answer == rejected && t.code.of() != code:
		j.found.note(wrongAnswer, "task %s was refused with %s, the log says %s", e.TaskID, t.code.of(), code)
	}
}

// begunAgain judges the loss of a run.
func (j *judge) begunAgain(e *park.Event, t *entry) {
	reason := reasonOf(e)
	switch {
	case lostRun(reason) && j.terms.losses:
	case j.terms.shared && reason == reasonTold && t.is(toFail): // the pool lets tasks try again
	case j.terms.shared && reason == park.ReasonTimeout:
	default:
		j.found.note(strayRequeue, "task %s lost its run %d in rev %d (%q)", e.TaskID, e.Attempt, e.Rev, reason)
	}
}

// settled judges what the whole log says of a task.
func (j *judge) settled(i int) {
	t := &j.ledger.entries[i]
	switch {
	case t.answer == accepted && t.end != notEnded && !t.is(taken):
		j.found.note(wrongEvent, "the log has no submission of task %s%d", j.ledger.run, i)
	case t.answer == rejected && !t.is(turnedAway):
		j.found.note(wrongAnswer, "task %s%d was refused with %s, of which the log says nothing", j.ledger.run, i, t.code.of())
	case t.is(cancelled) && t.end == notEnded:
		j.found.note(wrongEnd, "task %s%d was cancelled, but has not ended", j.ledger.run, i)
	}
}

// refusal is the code of a refusal, kept small.
type refusal uint8

// refusals are the codes with which a load's task may be refused for good.
func refusals() []park.Code {
	return []park.Code{park.QueueFull, park.CapacityZero, park.PoolDraining, park.DeadlinePast, park.CostExceedsPool}
}

// refusalOf returns the refusal with a code; 0 where that cannot be one.
func refusalOf(c park.Code) refusal { return refusal(slices.Index(refusals(), c) + 1) }

func (r refusal) of() park.Code {
	if r == 0 {
		return "another code"
	}
	return refusals()[r-1]
}

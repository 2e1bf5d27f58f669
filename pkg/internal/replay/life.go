package replay

import (
	"strings"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// taskPhase is the phase of a live task.
type taskPhase uint8

const (
	arrived taskPhase = iota + 1 // submitted in this step
	queued
	running
	forgotten // submitted, then missing in the log: an offence that was already reported
)

func (s taskPhase) String() string {
	return [...]string{"unknown", "just submitted", "queued", "running", "neither parked nor started"}[s]
}

type task struct {
	Life
	turn
	phase       taskPhase
	leased      bool  // its run is a worker's
	hasBackoff  bool  // before it runs again
	requeuedRev int64 // when it was requeued
}

// applyTaskEvent applies an event of a task.
func (p *Pool) applyTaskEvent(e *park.Event) {
	t := p.tasks[e.TaskID]
	switch {
	case e.TaskID == "":
		p.offend(e, RuleLife, "%s without a task", e.Action)
		return
	case t == nil && p.isEnded(e.TaskID):
		p.offend(e, RuleEnded, "%s after the task's end", e.Action)
		return
	case e.Action == park.ActSubmit:
		p.submit(e, t != nil)
		return
	case t == nil:
		if t = p.adopt(e); t == nil {
			return
		}
	}
	p.checkUnits(e, t)
	if e.Attempt == 0 && e.Node != "" {
		p.offend(e, RuleAttempt, "%s on node %q of a task that has not run", e.Action, e.Node)
	}
	if e.Tenant != t.Tenant {
		p.offend(e, RuleTenant, "%s for tenant %q, submitted for %q", e.Action, e.Tenant, t.Tenant)
	}
	t.Rev = e.Rev
	switch e.Action {
	case park.ActEnqueue:
		p.enqueue(e, t)
	case park.ActStart:
		p.start(e, t)
	case park.ActRequeue:
		p.requeue(e, t)
	case park.ActComplete, park.ActFail:
		p.checkPhase(e, t, running)
		p.end(e, t)
	case park.ActExpire:
		p.checkPhase(e, t, queued)
		p.end(e, t)
	case park.ActCancel:
		if t.phase != queued {
			p.checkPhase(e, t, running)
		}
		p.end(e, t)
	default:
		p.offend(e, RuleLife, "unknown action %q", e.Action)
	}
}

// submit adds a submitted task.
func (p *Pool) submit(e *park.Event, known bool) {
	if known {
		p.offend(e, RuleLife, "submitted a second time")
		return
	}
	if p.limits.State == park.Draining {
		p.offend(e, RuleState, "accepted while the pool was draining")
	}
	if e.Units < 1 {
		p.offend(e, RuleUnits, "submitted with %d units", e.Units)
	}
	if e.Units > p.limits.MaxUnits {
		p.offend(e, RuleCapacity, "accepted with %d units, which is more than the pool's %d", e.Units, p.limits.MaxUnits)
	}
	if e.Attempt != 0 || e.Node != "" {
		p.offend(e, RuleAttempt, "submitted as attempt %d on node %q", e.Attempt, e.Node)
	}
	p.sum.Submitted++
	t := p.begin(e)
	t.Submitted, t.Since, t.phase, t.Status = e.At.Micro(), e.Rev, arrived, park.Queued
	switch d := p.details.parse(e.Detail); {
	case d.Priority != nil:
		p.detailed = true
		t.Told, t.Priority, t.Deadline, t.Mailbox, t.MaxAttempts = true, *d.Priority, d.Deadline.Micro(), d.Mailbox, d.MaxAttempts
		if t.Deadline != 0 && t.Deadline <= t.Submitted {
			p.offend(e, RuleDeadline, "accepted with a deadline of %s", d.Deadline)
		}
	case p.detailed && e.At.Micro() >= p.older:
		p.offend(e, RuleLife, "submitted without a word on its priority")
	}
	p.arrived[e.TaskID] = struct{}{}
}

// begin adds a task. Its strings are copied, so that they do not keep the whole page of the event in memory.
func (p *Pool) begin(e *park.Event) *task {
	t := &task{}
	t.TaskID, t.Tenant, t.Units, t.Rev = strings.Clone(e.TaskID), p.names.of(e.Tenant), e.Units, e.Rev
	p.tasks[t.TaskID] = t
	return t
}

// adopt adds a task whose submission is not in the log. A log that begins at rev 1 has no such task.
func (p *Pool) adopt(e *park.Event) *task {
	if !p.partial {
		p.offend(e, RuleLife, "%s of a task that was never submitted", e.Action)
		return nil
	}
	p.sum.Adopted++
	t := p.begin(e)
	t.Adopted, t.Blind, t.Attempt, t.Strikes = true, true, e.Attempt, -1
	switch e.Action {
	case park.ActEnqueue:
		t.phase = arrived
		p.arrived[t.TaskID] = struct{}{}
	case park.ActStart:
		t.Attempt--
		t.phase = queued
		p.state.Queued++
	case park.ActExpire, park.ActCancel:
		t.phase = queued
		p.state.Queued++
	default:
		t.phase = running
		p.state.Running++
		p.state.Used += t.Units
	}
	return t
}

func (p *Pool) enqueue(e *park.Event, t *task) {
	p.checkPhase(e, t, arrived)
	p.checkRun(e, t)
	p.leave(t)
	p.enter(t, queued)
	p.order.join(t, false, p.limits.MaxUnits)
	p.sum.Enqueued++
	if p.state.Queued > p.limits.MaxQueueDepth {
		p.offend(e, RuleDepth, "%d tasks are parked of at most %d", p.state.Queued, p.limits.MaxQueueDepth)
	}
}

func (p *Pool) start(e *park.Event, t *task) {
	if t.phase != arrived {
		p.checkPhase(e, t, queued)
	}
	if e.Attempt != t.Attempt+1 {
		p.offend(e, RuleAttempt, "started as attempt %d after attempt %d", e.Attempt, t.Attempt)
	}
	if p.limits.State == park.Paused {
		p.offend(e, RuleState, "started while the pool was paused")
	}
	d := p.details.parse(e.Detail)
	p.checkStart(e, t, d)
	p.leave(t)
	t.Attempt, t.Node, t.Started, t.Blind = e.Attempt, p.names.of(e.Node), e.At.Micro(), false
	t.Asked, t.hasBackoff, t.leased = false, false, d.Worker != nil
	p.enter(t, running)
	p.sum.Started++
	if p.state.Used > p.limits.MaxUnits {
		p.sum.StartsOverCapacity++
		p.offend(e, RuleCapacity, "%d units are in use of %d", p.state.Used, p.limits.MaxUnits)
	}
	p.sum.MaxUsed = max(p.sum.MaxUsed, p.state.Used)
}

// checkStart checks a start against the clock and the parked tasks.
func (p *Pool) checkStart(e *park.Event, t *task, d *eventDetail) {
	at := e.At.Micro()
	if t.Deadline != 0 && e.Attempt == 1 && at >= t.Deadline {
		p.offend(e, RuleDeadline, "started at %s, but not to start from %s on", e.At, park.FromMicro(t.Deadline))
	}
	if t.hasBackoff && at < t.NotBefore && d.Early == "" && at >= p.older {
		p.offend(e, RuleRetry, "started at %s, before its rest was over at %s", e.At, park.FromMicro(t.NotBefore))
	}
	if told := !t.Blind && t.NotBefore >= 0; told && d.Early != "" && d.Early != time.Duration(1000*(t.NotBefore-at)).String() {
		p.offend(e, RuleRetry, "started %s early at %s, with its rest over at %s", d.Early, e.At, park.FromMicro(t.NotBefore))
	}
	if other := p.order.before(t); other != nil {
		p.offend(e, RuleTurn, "started before task %s, which waits and is to start earlier", other.TaskID)
	}
}

// requeue parks a task again. That may exceed the queue's depth: nothing accepted is ever turned away.
func (p *Pool) requeue(e *park.Event, t *task) {
	p.checkPhase(e, t, running)
	p.checkRun(e, t)
	d := p.details.parse(e.Detail)
	strike, rests := d.Strike, !d.NotBefore.IsZero()
	switch untold := strike == 0 && e.At.Micro() < p.older; {
	case untold && !isLoss(d.Reason):
		strike, rests = t.Strikes+1, true // how long is not known
	case untold && d.Reason == park.ReasonWorkerLost && t.MaxAttempts > 1:
		// It counts where the lease ran out, and does not where the worker was gone before it heard of the task.
		t.Strikes, rests = -1, true
	}
	p.checkRequeue(e, t, d, strike)
	p.leave(t)
	t.Node, t.Started, t.Blind, t.leased = "", 0, false, false
	t.NotBefore, t.requeuedRev, t.hasBackoff = d.NotBefore.Micro(), e.At.Micro(), rests
	if rests && t.NotBefore == 0 {
		t.NotBefore = -1
	}
	p.enter(t, queued)
	p.order.join(t, strike == 0, p.limits.MaxUnits)
	p.sum.Requeued++
}

func (p *Pool) checkRequeue(e *park.Event, t *task, d *eventDetail, strike int) {
	if t.Asked {
		p.offend(e, RuleLife, "requeued though it was asked to stop")
	}
	if !t.Told {
		return
	}
	switch {
	case strike == 0 && !isLoss(d.Reason) && e.At.Micro() >= p.older:
		p.offend(e, RuleRetry, "requeued for %q, which is no loss of its run", d.Reason)
	case strike == 0 && !d.NotBefore.IsZero():
		p.offend(e, RuleRetry, "requeued for %q, and to rest until %s though its run was lost", d.Reason, d.NotBefore)
	case !d.NotBefore.IsZero() && (d.NotBefore.Before(e.At.Time) || d.NotBefore.Sub(e.At.Time) > maxBackoff):
		p.offend(e, RuleRetry, "requeued at %s, and to rest until %s", e.At, d.NotBefore)
	case strike == 0:
	case t.Strikes >= 0 && strike != t.Strikes+1:
		p.offend(e, RuleRetry, "requeued after %d runs that count, but had %d before", strike, t.Strikes)
	case strike >= t.MaxAttempts:
		p.offend(e, RuleRetry, "requeued after %d runs that count, but may have %d", strike, max(t.MaxAttempts, 1))
	}
	if strike > 0 {
		t.Strikes = strike
	}
}

// maxBackoff is the longest backoff of a task.
const maxBackoff = time.Hour

func (p *Pool) end(e *park.Event, t *task) {
	p.checkRun(e, t)
	d := p.details.parse(e.Detail)
	p.checkEnd(e, t)
	if e.Action == park.ActFail && t.Strikes >= 0 {
		t.Strikes++
	}
	if only := onlyReason(e.Action); only != "" && d.Reason != only {
		p.offend(e, RuleLife, "%s for %q", e.Action, d.Reason)
	}
	t.Status, t.Reason, t.Ended = StatusOf(e.Action), p.names.of(d.Reason), e.At.Micro()
	p.leave(t)
	delete(p.tasks, t.TaskID)
	p.setEnded(t.TaskID)
	p.sum.Ends[e.Action]++
	if p.ends != nil {
		p.ends[t.TaskID] = End{Action: e.Action, At: e.At, Rev: e.Rev, Attempt: e.Attempt}
	}
	if p.onEnd != nil {
		p.onEnd(&t.Life)
	}
}

// onlyReason returns the only reason that an end may have; "" if it may have others.
func onlyReason(a park.Action) string {
	switch a {
	case park.ActExpire:
		return park.ReasonDeadlinePassed
	case park.ActCancel:
		return park.ReasonCancelled
	default:
		return ""
	}
}

func (p *Pool) checkEnd(e *park.Event, t *task) {
	switch e.Action {
	case park.ActExpire:
		switch {
		case t.Attempt > 0:
			p.offend(e, RuleDeadline, "expired after it had started in time")
		case t.Told && t.Deadline == 0:
			p.offend(e, RuleDeadline, "expired without a deadline")
		case t.Told && e.At.Micro() < t.Deadline:
			p.offend(e, RuleDeadline, "expired at %s, before its deadline %s", e.At, park.FromMicro(t.Deadline))
		}
	case park.ActCancel:
		if t.phase == running && !t.Asked && !t.leased && !t.Blind {
			p.offend(e, RuleLife, "cancelled while it ran, but was not asked to stop")
		}
	case park.ActFail:
		if t.Told && t.Strikes >= 0 && t.Strikes+1 < t.MaxAttempts {
			p.offend(e, RuleRetry, "failed after %d runs that count, but may have %d", t.Strikes+1, t.MaxAttempts)
		}
		fallthrough
	default:
		if t.Asked {
			p.offend(e, RuleLife, "%s of a task that was asked to stop", e.Action)
		}
	}
}

// StatusOf returns the status that an end leads to.
func StatusOf(a park.Action) park.Status {
	switch a {
	case park.ActComplete:
		return park.Completed
	case park.ActFail:
		return park.Failed
	case park.ActExpire:
		return park.Expired
	default:
		return park.Dropped
	}
}

// checkPhase checks that a task is in the phase that an event requires.
func (p *Pool) checkPhase(e *park.Event, t *task, want taskPhase) {
	if t.phase != want {
		p.offend(e, RuleLife, "%s of a task that is %s, not %s", e.Action, t.phase, want)
	}
}

// checkRun checks that an event that ends a run has its attempt.
func (p *Pool) checkRun(e *park.Event, t *task) {
	if e.Attempt != t.Attempt {
		p.offend(e, RuleAttempt, "%s of attempt %d in attempt %d", e.Action, e.Attempt, t.Attempt)
	}
}

func (p *Pool) checkUnits(e *park.Event, t *task) {
	if e.Units == t.Units {
		return
	}
	p.offend(e, RuleUnits, "%s with %d units, submitted with %d", e.Action, e.Units, t.Units)
	if e.Action == park.ActStart && t.phase != running {
		t.Units = e.Units // what it takes is what counts against the capacity
	}
}

// leave removes a task from the totals of its phase, enter adds it to those of another.
func (p *Pool) leave(t *task) {
	switch t.phase {
	case arrived:
		delete(p.arrived, t.TaskID)
	case queued:
		p.state.Queued--
		p.order.leave(t)
	case running:
		p.state.Running--
		p.state.Used -= t.Units
	case forgotten:
	}
}

func (p *Pool) enter(t *task, to taskPhase) {
	t.phase = to
	if to == queued {
		t.Status = park.Queued
		p.state.Queued++
		return
	}
	t.Status = park.Running
	p.state.Running++
	p.state.Used += t.Units
}

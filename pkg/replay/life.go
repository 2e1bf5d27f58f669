package replay

import "github.com/parkd-dev/parkd/pkg/park"

// phase is where a live task stands.
type phase uint8

const (
	arrived phase = iota + 1 // submitted in this step
	queued
	running
	adrift // submitted, then forgotten by the log: an offence that was already told
)

func (s phase) String() string {
	return [...]string{"unknown", "just submitted", "queued", "running", "neither parked nor started"}[s]
}

type task struct {
	units   int64
	attempt int32
	phase   phase
}

// live plays an event of a task's life.
func (p *Pool) live(e *park.Event) {
	t, known := p.tasks[e.TaskID]
	switch {
	case e.TaskID == "":
		p.offend(e, RuleLife, "%s without a task", e.Action)
		return
	case !known && p.isEnded(e.TaskID):
		p.offend(e, RuleEnded, "%s after the task's end", e.Action)
		return
	case e.Action == park.ActSubmit:
		p.submit(e, known)
		return
	case !known:
		if t, known = p.adopt(e); !known {
			return
		}
	}
	p.checkUnits(e, &t)
	switch e.Action {
	case park.ActEnqueue:
		p.enqueue(e, t)
	case park.ActStart:
		p.start(e, t)
	case park.ActRequeue:
		p.requeue(e, t)
	case park.ActComplete, park.ActFail:
		p.must(e, t, running)
		p.end(e, t)
	case park.ActExpire:
		p.must(e, t, queued)
		p.end(e, t)
	case park.ActCancel:
		if t.phase != queued {
			p.must(e, t, running)
		}
		p.end(e, t)
	default:
		p.offend(e, RuleLife, "unknown action %q", e.Action)
	}
}

// submit begins a life.
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
	if e.Attempt != 0 {
		p.offend(e, RuleAttempt, "submitted as attempt %d", e.Attempt)
	}
	p.sum.Submitted++
	p.tasks[e.TaskID] = task{units: e.Units, phase: arrived}
	p.arrived[e.TaskID] = struct{}{}
}

// adopt takes a task whose submission the log does not hold. In a log that began at rev 1 there is no such task.
func (p *Pool) adopt(e *park.Event) (task, bool) {
	if !p.partial {
		p.offend(e, RuleLife, "%s of a task that was never submitted", e.Action)
		return task{}, false
	}
	p.sum.Adopted++
	t := task{units: e.Units, attempt: int32(e.Attempt)}
	switch e.Action {
	case park.ActEnqueue:
		t.phase = arrived
		p.arrived[e.TaskID] = struct{}{}
	case park.ActStart:
		t.attempt--
		t.phase = queued
		p.state.Queued++
	case park.ActExpire, park.ActCancel:
		t.phase = queued
		p.state.Queued++
	default:
		t.phase = running
		p.state.Running++
		p.state.Used += t.units
	}
	return t, true
}

func (p *Pool) enqueue(e *park.Event, t task) {
	p.must(e, t, arrived)
	p.leave(e.TaskID, t)
	p.enter(e.TaskID, t, queued)
	p.sum.Enqueued++
	if p.state.Queued > p.limits.MaxQueueDepth {
		p.offend(e, RuleDepth, "%d tasks are parked of at most %d", p.state.Queued, p.limits.MaxQueueDepth)
	}
}

func (p *Pool) start(e *park.Event, t task) {
	if t.phase != arrived {
		p.must(e, t, queued)
	}
	if e.Attempt != int(t.attempt)+1 {
		p.offend(e, RuleAttempt, "started as attempt %d after attempt %d", e.Attempt, t.attempt)
	}
	if p.limits.State == park.Paused {
		p.offend(e, RuleState, "started while the pool was paused")
	}
	p.leave(e.TaskID, t)
	t.attempt = int32(e.Attempt)
	p.enter(e.TaskID, t, running)
	p.sum.Started++
	if p.state.Used > p.limits.MaxUnits {
		p.sum.StartsOverCapacity++
		p.offend(e, RuleCapacity, "%d units are in use of %d", p.state.Used, p.limits.MaxUnits)
	}
	p.sum.MaxUsed = max(p.sum.MaxUsed, p.state.Used)
}

// requeue parks a task again. That may exceed the queue's depth: nothing accepted is ever turned away.
func (p *Pool) requeue(e *park.Event, t task) {
	p.must(e, t, running)
	p.checkRun(e, t)
	p.leave(e.TaskID, t)
	p.enter(e.TaskID, t, queued)
	p.sum.Requeued++
}

func (p *Pool) end(e *park.Event, t task) {
	p.checkRun(e, t)
	p.leave(e.TaskID, t)
	delete(p.tasks, e.TaskID)
	p.setEnded(e.TaskID)
	p.sum.Ends[e.Action]++
	if p.ends != nil {
		p.ends[e.TaskID] = End{Action: e.Action, At: e.At, Rev: e.Rev, Attempt: e.Attempt}
	}
}

// reject plays a refusal, which is of no task that lives.
func (p *Pool) reject(e *park.Event) {
	p.sum.Rejected++
	p.sum.Rejections[rejection(e.Detail)]++
	if t, known := p.tasks[e.TaskID]; known {
		p.offend(e, RuleLife, "rejected while it is %s", t.phase)
	}
}

// must checks the phase that an event asks for.
func (p *Pool) must(e *park.Event, t task, want phase) {
	if t.phase != want {
		p.offend(e, RuleLife, "%s of a task that is %s, not %s", e.Action, t.phase, want)
	}
}

// checkRun checks that what ends a run names that run.
func (p *Pool) checkRun(e *park.Event, t task) {
	if e.Attempt != int(t.attempt) {
		p.offend(e, RuleAttempt, "%s of attempt %d in attempt %d", e.Action, e.Attempt, t.attempt)
	}
}

func (p *Pool) checkUnits(e *park.Event, t *task) {
	if e.Units == t.units || (e.Units == 0 && e.Action != park.ActStart) {
		return
	}
	p.offend(e, RuleUnits, "%s with %d units, submitted with %d", e.Action, e.Units, t.units)
	if e.Action == park.ActStart && t.phase != running {
		t.units = e.Units // what it takes is what counts against the capacity
	}
}

// leave takes a task out of the totals of its phase, enter puts it into those of another.
func (p *Pool) leave(id string, t task) {
	switch t.phase {
	case arrived:
		delete(p.arrived, id)
	case queued:
		p.state.Queued--
	case running:
		p.state.Running--
		p.state.Used -= t.units
	case adrift:
	}
}

func (p *Pool) enter(id string, t task, to phase) {
	t.phase = to
	p.tasks[id] = t
	if to == queued {
		p.state.Queued++
		return
	}
	p.state.Running++
	p.state.Used += t.units
}

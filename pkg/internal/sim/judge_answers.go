package sim

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

// statusAt is a task's status from a time on, also within a step.
type statusAt struct {
	at time.Duration
	park.Status
}

// answer compares an engine's answer with the database during the request.
func (j *judge) answer(a answer) {
	l := j.records[a.pool]
	switch {
	case errors.Is(a.err, context.Canceled), j.restoredAt >= a.asked:
		return // nobody gets the answer, or the state at that time is lost
	case l == nil && a.pool != "":
		j.fail("answer", "%s of pool %q is answered, which there is not", a.op, a.pool)
		return
	}
	switch a.op {
	case "submit":
		j.checkSubmit(l, a)
	case "cancel":
		j.checkCancel(l, a)
	case "task":
		j.checkTask(l, a)
	case "list":
		j.checkList(l, a)
	case "mailbox":
		j.checkMailbox(a)
	case "audit":
		j.checkAudit(a)
	case "set":
		j.checkPatch(l, a)
	case "trim":
		if !j.isTemporary(a) && a.err != nil {
			j.failAnswer(a, "%v", a.err)
		}
	default:
		j.checkLeaseCall(l, a)
	}
}

// failAnswer records a wrong answer.
func (j *judge) failAnswer(a answer, format string, args ...any) {
	args = append([]any{a.op, a.id, a.pool, a.asked.Round(time.Microsecond)}, args...)
	j.fail("answer", "%s of task %q in pool %q, asked after %s: "+format, args...)
}

// isTemporary reports whether an error says that the store was unavailable, and judges it.
func (j *judge) isTemporary(a answer) bool {
	switch park.CodeOf(a.err) {
	case park.StorageUnavailable:
		return true
	case park.OutcomeUnknown:
		e, _ := errors.AsType[*park.Error](a.err)
		if a.op != "set" && a.op != "lease" && a.op != "trim" && (e.TaskID == "" || a.id != "" && e.TaskID != a.id) {
			j.failAnswer(a, "it is not known what became of it, and the answer names task %q", e.TaskID)
		}
		return true
	default:
		return false
	}
}

func (j *judge) checkSubmit(l *poolRecord, a answer) {
	of := j.jobs[a.job]
	if of == nil {
		j.failAnswer(a, "nobody has submitted job %d", a.job)
		return
	}
	if park.CodeOf(a.err) == park.StorageUnavailable {
		of.denied++
	}
	if j.isTemporary(a) {
		return
	}
	if a.err != nil {
		j.checkRefusal(l, of, a)
		return
	}
	r := a.value.(park.SubmitResult)
	if r.TaskID == "" || r.TaskID != of.sub.TaskID || r.PoolID != of.pool {
		j.failAnswer(a, "task %s of pool %s was submitted, and %s of pool %s accepted", of.sub.TaskID, of.pool, r.TaskID, r.PoolID)
		return
	}
	t := l.life(of, r.SubmittedAt)
	if t == nil {
		j.fail("durable", "task %s was accepted at %s, but the database does not have it", r.TaskID, r.SubmittedAt)
		return
	}
	if !j.was(t, r.Status, a.asked) {
		j.failAnswer(a, "the task is told to be %s, and was %v", r.Status, t.statuses)
	}
	low, high := int64(1), int64(l.mostParked)
	if of.count == 1 && t.began >= a.asked {
		low, high = t.low, t.high
	}
	if r.Status != park.Queued {
		low, high = 0, 0
	}
	if r.Position < low || r.Position > high {
		j.failAnswer(a, "%s, it is told to be number %d, and is one of %d to %d", r.Status, r.Position, low, high)
	}
}

// life returns the task of a submission that was submitted at a time.
func (l *poolRecord) life(of *jobRecord, at park.Time) *taskLife {
	for _, id := range []string{of.sub.TaskID, park.TenantTaskID(of.sub.TaskID, tenantOf(&of.sub))} {
		for _, t := range l.past[id] {
			if t.jobRecord == of && t.spec.SubmittedAt.Equal(at.Time) {
				return t
			}
		}
	}
	return nil
}

// was reports whether a task has had a status; with a single node, since the request.
func (j *judge) was(t *taskLife, s park.Status, asked time.Duration) bool {
	for i, o := range t.statuses {
		if o.Status == s && (!j.singleNode || i+1 == len(t.statuses) || t.statuses[i+1].at >= asked) {
			return true
		}
	}
	return false
}

// checkRefusal judges a refusal: it must be in the log, if it came from a pool.
func (j *judge) checkRefusal(l *poolRecord, of *jobRecord, a answer) {
	code := park.CodeOf(a.err)
	switch code {
	case park.DeadlinePast, park.CostExceedsPool, park.CapacityZero, park.PoolDraining, park.QueueFull, park.TaskExists:
	case park.InvalidRequest:
		if !of.invalid {
			j.failAnswer(a, "it is called invalid: %v", a.err)
		}
		return
	default:
		j.failAnswer(a, "nothing of that kind happened: %v (%s)", a.err, code)
		return
	}
	logged := slices.ContainsFunc(l.refused, func(r refusal) bool {
		return r.at >= a.asked && r.code == code && (a.id == "" || park.ShownTaskID(r.id) == a.id)
	})
	if !logged {
		j.failAnswer(a, "it was refused as %s, and the log does not tell of that", code)
	}
	if e, _ := errors.AsType[*park.Error](a.err); code == park.QueueFull && e.RetryAfter < time.Second {
		j.failAnswer(a, "the pool is full, and to be tried again after %s", e.RetryAfter)
	}
}

func (j *judge) checkCancel(l *poolRecord, a answer) {
	if park.CodeOf(a.err) == park.StorageUnavailable {
		j.denied[attemptKey{a.pool, a.id, 0}]++
	}
	if j.isTemporary(a) {
		return
	}
	switch park.CodeOf(a.err) {
	case "":
		t := j.checkView(l, a, a.value.(park.Task))
		if t != nil && t.end != park.ActCancel {
			j.fail("cancel", "task %s was cancelled and is %s", a.id, t.state.Status)
		}
	case park.TaskFinished:
		if !slices.ContainsFunc(l.past[a.id], func(t *taskLife) bool { return t.end != "" && (t.removedAt < 0 || t.removedAt >= a.asked) }) {
			j.failAnswer(a, "it is told to have ended, and has not")
		}
	case park.TaskNotFound:
		j.checkNotFound(l, a)
	default:
		j.failAnswer(a, "%v", a.err)
	}
}

// checkNotFound judges the answer that a task does not exist.
func (j *judge) checkNotFound(l *poolRecord, a answer) {
	if slices.ContainsFunc(l.past[a.id], func(t *taskLife) bool { return t.began <= a.asked && t.removedAt < 0 }) {
		j.fail("durable", "task %s was accepted and is not found", a.id)
	}
}

// checkTask judges the answer to a query of a task.
func (j *judge) checkTask(l *poolRecord, a answer) {
	if j.isTemporary(a) {
		return
	}
	switch park.CodeOf(a.err) {
	case "":
		j.checkView(l, a, a.value.(park.Task))
	case park.TaskNotFound:
		j.checkNotFound(l, a)
	default:
		j.failAnswer(a, "%v", a.err)
	}
}

// checkView judges a task in an answer, and returns it.
func (j *judge) checkView(l *poolRecord, a answer, v park.Task) *taskLife {
	var t *taskLife
	for _, o := range l.past[v.TaskID] {
		if o.spec.SubmittedAt.Equal(v.SubmittedAt.Time) {
			t = o
		}
	}
	if t == nil || a.id != "" && v.TaskID != a.id {
		j.failAnswer(a, "it is told of task %s of %s, which there is not", v.TaskID, v.SubmittedAt)
		return nil
	}
	r := &t.spec
	same := v.PoolID == r.PoolID && v.Tenant == r.Tenant && v.Priority == r.Priority && int64(v.ResourceCost.Units) == r.Units && v.ResourceCost.Kind == l.spec.Kind &&
		v.Deadline.Equal(r.Deadline.Time) && time.Duration(v.TimeoutSecs)*time.Second == r.Timeout && v.MailboxKey == r.MailboxKey && slices.Equal(v.Command, r.Command)
	if !same {
		j.failAnswer(a, "it is shown as %+v, and was submitted as %+v", v, *r)
	}
	if !slices.ContainsFunc(t.between(a.asked), func(m stateAt) bool { return shows(&v, &m.state) }) {
		j.failAnswer(a, "it is shown as %+v, and its row was %+v", v, t.between(a.asked))
	}
	// While a step is in doubt, the position is that after the step.
	if v.Position < 0 || v.Position > int64(len(j.jobs)) || v.Position > 0 && v.Status != park.Queued || (v.Waiting != nil) && v.Status != park.Queued {
		j.failAnswer(a, "%s, it is told to be number %d", v.Status, v.Position)
	}
	return t
}

// shows reports whether a task in an answer equals a state of its row.
func shows(v *park.Task, s *ledger.State) bool {
	return v.Status == s.Status && v.Attempt == s.Attempt && v.Node == s.Node && v.Reason == s.Reason && v.Message == s.Message &&
		string(v.Result) == string(s.Result) && v.StartedAt.Equal(s.StartedAt.Time) && v.CompletedAt.Equal(s.EndedAt.Time)
}

// between returns the states of the task's row since a time.
func (t *taskLife) between(from time.Duration) []stateAt {
	for i := len(t.states) - 1; i > 0; i-- {
		if t.states[i].at < from {
			return t.states[i:]
		}
	}
	return t.states
}

// checkList judges a page of a pool's tasks: it has all selected tasks that existed all the time, in order.
func (j *judge) checkList(l *poolRecord, a answer) {
	if j.isTemporary(a) {
		return
	}
	if a.err != nil {
		j.failAnswer(a, "%v", a.err)
		return
	}
	page, q := a.value.(park.TaskPage), a.query.(park.TaskQuery)
	has := make(map[string]bool)
	for i := range page.Tasks {
		v := &page.Tasks[i]
		j.checkView(l, a, *v)
		if has[v.TaskID] || q.Status != "" && v.Status != q.Status || q.Tenant != "" && v.Tenant != q.Tenant || i > 0 && v.SubmittedAt.After(page.Tasks[i-1].SubmittedAt.Time) {
			j.failAnswer(a, "task %s is twice in the list, or in the wrong place, or was not asked for", v.TaskID)
		}
		has[v.TaskID] = true
	}
	if page.Next != "" || q.Cursor != "" {
		return
	}
	for id, t := range l.tasks {
		if t.began > a.asked || has[id] || q.Tenant != "" && q.Tenant != t.spec.Tenant {
			continue
		}
		if q.Status == "" || !slices.ContainsFunc(t.between(a.asked), func(m stateAt) bool { return m.state.Status != q.Status }) {
			j.failAnswer(a, "the list of %q of %q lacks task %s, which is %s", q.Status, q.Tenant, id, t.state.Status)
		}
	}
}

// checkPatch judges the answer to a change of a pool: the pool has, or had for a moment, the requested limits.
func (j *judge) checkPatch(l *poolRecord, a answer) {
	if j.isTemporary(a) {
		return
	}
	if a.err != nil {
		j.failAnswer(a, "%v", a.err)
		return
	}
	v, p := a.value.(park.Pool), a.query.(park.PoolPatch)
	took := fits(p, l.first().MaxUnits, l.first().MaxQueueDepth, park.Active) && (len(l.limits) == 0 || l.limits[0].at >= a.asked)
	for i, w := range l.limits {
		over := i+1 < len(l.limits) && l.limits[i+1].at < a.asked
		took = took || !over && fits(p, w.MaxUnits, w.MaxQueueDepth, w.State)
	}
	seen := slices.ContainsFunc(append(l.rows, rowAt{-1, l.first()}), func(r rowAt) bool {
		return v.State == r.row.State && v.MaxUnits == r.row.MaxUnits && v.MaxQueueDepth == r.row.MaxQueueDepth &&
			v.UsedUnits == r.row.Used && v.QueueDepth == r.row.Queued
	})
	if !took {
		j.failAnswer(a, "the pool was set to %s, and is not: %+v", patchText(p), l.row().row)
	}
	unborn := len(l.rows) == 0 && v.UsedUnits == 0 && v.QueueDepth == 0 // the limits are from a file, which may be that of any node
	if !seen && !unborn {
		j.failAnswer(a, "the pool is shown as %+v, which it never was", v)
	}
}

// fits reports whether limits are the result of a patch.
func fits(p park.PoolPatch, units int64, depth int, s park.PoolState) bool {
	return (p.State == nil || *p.State == s) && (p.MaxUnits == nil || *p.MaxUnits == units) && (p.MaxQueueDepth == nil || *p.MaxQueueDepth == depth)
}

package sim

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

// status is what a task was from a time on, also for a part of a step.
type status struct {
	at time.Duration
	park.Status
}

// answer holds what an engine says against what the database held while it was worked out.
func (j *judge) answer(a answer) {
	l := j.ledgers[a.pool]
	switch {
	case errors.Is(a.err, context.Canceled), j.back >= a.asked:
		return // nobody hears it; or what was known then is gone
	case l == nil && a.pool != "":
		j.fail("answer", "%s of pool %q is answered, which there is not", a.what, a.pool)
		return
	}
	switch a.what {
	case "submit":
		j.submitted(l, a)
	case "cancel":
		j.cancelled(l, a)
	case "task":
		j.told(l, a)
	case "list":
		j.listed(l, a)
	case "mailbox":
		j.read(a)
	case "audit":
		j.audited(a)
	case "set":
		j.set(l, a)
	case "trim":
		if !j.passing(a) && a.err != nil {
			j.wrong(a, "%v", a.err)
		}
	default:
		j.leasing(l, a)
	}
}

// wrong notes an answer that is wrong.
func (j *judge) wrong(a answer, format string, args ...any) {
	args = append([]any{a.what, a.id, a.pool, a.asked.Round(time.Microsecond)}, args...)
	j.fail("answer", "%s of task %q in pool %q, asked after %s: "+format, args...)
}

// passing judges an error that says that the store was away, and reports whether it was one.
func (j *judge) passing(a answer) bool {
	switch park.CodeOf(a.err) {
	case park.StorageUnavailable:
		return true
	case park.OutcomeUnknown:
		e, _ := errors.AsType[*park.Error](a.err)
		if a.what != "set" && a.what != "lease" && a.what != "trim" && (e.TaskID == "" || a.id != "" && e.TaskID != a.id) {
			j.wrong(a, "it is not known what became of it, and the answer names task %q", e.TaskID)
		}
		return true
	default:
		return false
	}
}

func (j *judge) submitted(l *account, a answer) {
	of := j.asks[a.job]
	if of == nil {
		j.wrong(a, "nobody has submitted job %d", a.job)
		return
	}
	if park.CodeOf(a.err) == park.StorageUnavailable {
		of.denied++
	}
	if j.passing(a) {
		return
	}
	if a.err != nil {
		j.turnedAway(l, of, a)
		return
	}
	r := a.value.(park.SubmitResult)
	if r.TaskID == "" || r.TaskID != of.sub.TaskID || r.PoolID != of.pool {
		j.wrong(a, "task %s of pool %s was submitted, and %s of pool %s accepted", of.sub.TaskID, of.pool, r.TaskID, r.PoolID)
		return
	}
	t := l.life(of, r.SubmittedAt)
	if t == nil {
		j.fail("durable", "task %s was accepted at %s, but the database does not have it", r.TaskID, r.SubmittedAt)
		return
	}
	if !j.was(t, r.Status, a.asked) {
		j.wrong(a, "the task is told to be %s, and was %v", r.Status, t.statuses)
	}
	low, high := int64(1), int64(l.mostParked)
	if of.count == 1 && t.began >= a.asked {
		low, high = t.low, t.high
	}
	if r.Status != park.Queued {
		low, high = 0, 0
	}
	if r.Position < low || r.Position > high {
		j.wrong(a, "%s, it is told to be number %d, and is one of %d to %d", r.Status, r.Position, low, high)
	}
}

// life returns the life of a submission that began at a time.
func (l *account) life(of *ask, at park.Time) *tale {
	for _, id := range []string{of.sub.TaskID, park.TenantTaskID(of.sub.TaskID, tenantOf(&of.sub))} {
		for _, t := range l.past[id] {
			if t.ask == of && t.spec.SubmittedAt.Equal(at.Time) {
				return t
			}
		}
	}
	return nil
}

// was reports whether a task has had a status: since it was asked for, where one node has all to itself.
func (j *judge) was(t *tale, s park.Status, asked time.Duration) bool {
	for i, o := range t.statuses {
		if o.Status == s && (!j.alone || i+1 == len(t.statuses) || t.statuses[i+1].at >= asked) {
			return true
		}
	}
	return false
}

// turnedAway judges a refusal: it has to be in the log, where it was judged.
func (j *judge) turnedAway(l *account, of *ask, a answer) {
	code := park.CodeOf(a.err)
	switch code {
	case park.DeadlinePast, park.CostExceedsPool, park.CapacityZero, park.PoolDraining, park.QueueFull, park.TaskExists:
	case park.InvalidRequest:
		if !of.invalid {
			j.wrong(a, "it is called invalid: %v", a.err)
		}
		return
	default:
		j.wrong(a, "nothing of that kind happened: %v (%s)", a.err, code)
		return
	}
	logged := slices.ContainsFunc(l.refused, func(r refusal) bool {
		return r.at >= a.asked && r.code == code && (a.id == "" || park.ShownTaskID(r.id) == a.id)
	})
	if !logged {
		j.wrong(a, "it was refused as %s, and the log does not tell of that", code)
	}
	if e, _ := errors.AsType[*park.Error](a.err); code == park.QueueFull && e.RetryAfter < time.Second {
		j.wrong(a, "the pool is full, and to be tried again after %s", e.RetryAfter)
	}
}

func (j *judge) cancelled(l *account, a answer) {
	if park.CodeOf(a.err) == park.StorageUnavailable {
		j.denied[place{a.pool, a.id, 0}]++
	}
	if j.passing(a) {
		return
	}
	switch park.CodeOf(a.err) {
	case "":
		t := j.view(l, a, a.value.(park.Task))
		if t != nil && t.end != park.ActCancel {
			j.fail("cancel", "task %s was cancelled and is %s", a.id, t.state.Status)
		}
	case park.TaskFinished:
		if !slices.ContainsFunc(l.past[a.id], func(t *tale) bool { return t.end != "" && (t.gone < 0 || t.gone >= a.asked) }) {
			j.wrong(a, "it is told to have ended, and has not")
		}
	case park.TaskNotFound:
		j.absent(l, a)
	default:
		j.wrong(a, "%v", a.err)
	}
}

// absent judges that a task is told not to be there.
func (j *judge) absent(l *account, a answer) {
	if slices.ContainsFunc(l.past[a.id], func(t *tale) bool { return t.began <= a.asked && t.gone < 0 }) {
		j.fail("durable", "task %s was accepted and is not found", a.id)
	}
}

// told judges what is said of a task.
func (j *judge) told(l *account, a answer) {
	if j.passing(a) {
		return
	}
	switch park.CodeOf(a.err) {
	case "":
		j.view(l, a, a.value.(park.Task))
	case park.TaskNotFound:
		j.absent(l, a)
	default:
		j.wrong(a, "%v", a.err)
	}
}

// view judges a task as clients are shown it, and returns its life.
func (j *judge) view(l *account, a answer, v park.Task) *tale {
	var t *tale
	for _, o := range l.past[v.TaskID] {
		if o.spec.SubmittedAt.Equal(v.SubmittedAt.Time) {
			t = o
		}
	}
	if t == nil || a.id != "" && v.TaskID != a.id {
		j.wrong(a, "it is told of task %s of %s, which there is not", v.TaskID, v.SubmittedAt)
		return nil
	}
	r := &t.spec
	same := v.PoolID == r.PoolID && v.Tenant == r.Tenant && v.Priority == r.Priority && int64(v.ResourceCost.Units) == r.Units && v.ResourceCost.Kind == l.spec.Kind &&
		v.Deadline.Equal(r.Deadline.Time) && time.Duration(v.TimeoutSecs)*time.Second == r.Timeout && v.MailboxKey == r.MailboxKey && slices.Equal(v.Command, r.Command)
	if !same {
		j.wrong(a, "it is shown as %+v, and was submitted as %+v", v, *r)
	}
	if !slices.ContainsFunc(t.between(a.asked), func(m moment) bool { return shows(&v, &m.state) }) {
		j.wrong(a, "it is shown as %+v, and its row was %+v", v, t.between(a.asked))
	}
	// While it is not known whether a step was stored, the place is that after the step.
	if v.Position < 0 || v.Position > int64(len(j.asks)) || v.Position > 0 && v.Status != park.Queued || (v.Waiting != nil) && v.Status != park.Queued {
		j.wrong(a, "%s, it is told to be number %d", v.Status, v.Position)
	}
	return t
}

// shows reports whether a task is shown as its row was.
func shows(v *park.Task, s *ledger.State) bool {
	return v.Status == s.Status && v.Attempt == s.Attempt && v.Node == s.Node && v.Reason == s.Reason && v.Message == s.Message &&
		string(v.Result) == string(s.Result) && v.StartedAt.Equal(s.StartedAt.Time) && v.CompletedAt.Equal(s.EndedAt.Time)
}

// between returns what the task's row was since a time.
func (t *tale) between(from time.Duration) []moment {
	for i := len(t.moments) - 1; i > 0; i-- {
		if t.moments[i].at < from {
			return t.moments[i:]
		}
	}
	return t.moments
}

// listed judges a page of a pool's tasks: it has all that there were all the time and that are asked for, in order.
func (j *judge) listed(l *account, a answer) {
	if j.passing(a) {
		return
	}
	if a.err != nil {
		j.wrong(a, "%v", a.err)
		return
	}
	page, q := a.value.(park.TaskPage), a.query.(park.TaskQuery)
	has := make(map[string]bool)
	for i := range page.Tasks {
		v := &page.Tasks[i]
		j.view(l, a, *v)
		if has[v.TaskID] || q.Status != "" && v.Status != q.Status || q.Tenant != "" && v.Tenant != q.Tenant || i > 0 && v.SubmittedAt.After(page.Tasks[i-1].SubmittedAt.Time) {
			j.wrong(a, "task %s is twice in the list, or in the wrong place, or was not asked for", v.TaskID)
		}
		has[v.TaskID] = true
	}
	if page.Next != "" || q.Cursor != "" {
		return
	}
	for id, t := range l.tales {
		if t.began > a.asked || has[id] || q.Tenant != "" && q.Tenant != t.spec.Tenant {
			continue
		}
		if q.Status == "" || !slices.ContainsFunc(t.between(a.asked), func(m moment) bool { return m.state.Status != q.Status }) {
			j.wrong(a, "the list of %q of %q lacks task %s, which is %s", q.Status, q.Tenant, id, t.state.Status)
		}
	}
}

// set judges that a pool was changed: it is, or was so for a moment.
func (j *judge) set(l *account, a answer) {
	if j.passing(a) {
		return
	}
	if a.err != nil {
		j.wrong(a, "%v", a.err)
		return
	}
	v, p := a.value.(park.Pool), a.query.(park.PoolPatch)
	took := fits(p, l.first().MaxUnits, l.first().MaxQueueDepth, park.Active) && (len(l.limits) == 0 || l.limits[0].at >= a.asked)
	for i, w := range l.limits {
		over := i+1 < len(l.limits) && l.limits[i+1].at < a.asked
		took = took || !over && fits(p, w.MaxUnits, w.MaxQueueDepth, w.State)
	}
	seen := slices.ContainsFunc(append(l.rows, rowSince{-1, l.first()}), func(r rowSince) bool {
		return v.State == r.row.State && v.MaxUnits == r.row.MaxUnits && v.MaxQueueDepth == r.row.MaxQueueDepth &&
			v.UsedUnits == r.row.Used && v.QueueDepth == r.row.Queued
	})
	if !took {
		j.wrong(a, "the pool was set to %s, and is not: %+v", patchText(p), l.row().row)
	}
	unborn := len(l.rows) == 0 && v.UsedUnits == 0 && v.QueueDepth == 0 // it is as a file has it, which may be any node's
	if !seen && !unborn {
		j.wrong(a, "the pool is shown as %+v, which it never was", v)
	}
}

// fits reports whether a pool with such limits is what a patch makes of it.
func fits(p park.PoolPatch, units int64, depth int, s park.PoolState) bool {
	return (p.State == nil || *p.State == s) && (p.MaxUnits == nil || *p.MaxUnits == units) && (p.MaxQueueDepth == nil || *p.MaxQueueDepth == depth)
}

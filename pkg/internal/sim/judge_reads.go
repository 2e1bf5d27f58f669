package sim

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

// judgedMessage is a message in the database.
type judgedMessage struct {
	park.Message
	number        int64
	at, removedAt time.Duration // removedAt is negative while it exists
}

// trimmed is a message that was removed.
type trimmed struct {
	mailbox
	number int64
}

// checkMailbox judges a page of a mailbox: the next messages, unchanged and without gaps.
func (j *judge) checkMailbox(a answer) {
	if j.isTemporary(a) {
		return
	}
	if a.err != nil {
		j.fail("mailbox", "reading after %q: %v", a.query, a.err)
		return
	}
	page, q := a.value.(park.MessagePage), a.query.(park.MailboxQuery)
	after, _ := strconv.ParseInt(q.After, 10, 64)
	given := page.Messages
	next := q.After
	for _, m := range j.mailboxes[mailbox{q.Tenant, q.Key}] {
		switch {
		case m.number <= after:
		case len(given) > 0 && given[0].ID == strconv.FormatInt(m.number, 10):
			got := given[0]
			got.ID = m.ID
			if !sameMessage(&got, &m.Message) {
				j.fail("mailbox", "the message of task %s is read as %+v, and was posted as %+v", m.TaskID, given[0], m.Message)
			}
			given, next = given[1:], given[0].ID
		case m.removedAt < 0 && m.at < a.asked && (len(given) > 0 || len(page.Messages) == 0):
			j.fail("mailbox", "reading %s of %s after %q leaves out the message of task %s", q.Key, q.Tenant, q.After, m.TaskID)
		}
	}
	if len(given) > 0 || page.Next != next {
		j.fail("mailbox", "reading %s of %s after %q brings %d messages more than there are, and goes on after %q", q.Key, q.Tenant, q.After, len(given), page.Next)
	}
}

func sameMessage(a, b *park.Message) bool {
	return a.TaskID == b.TaskID && a.PoolID == b.PoolID && a.Status == b.Status && a.Reason == b.Reason && a.Message == b.Message &&
		string(a.Payload) == string(b.Payload) && a.Attempt == b.Attempt && a.CreatedAt.Equal(b.CreatedAt.Time) && a.Tenant == b.Tenant && a.Key == b.Key
}

func sameEvent(a, b *park.Event) bool {
	return a.EventID == b.EventID && a.At.Equal(b.At.Time) && a.Rev == b.Rev && a.Action == b.Action && a.TaskID == b.TaskID && a.PoolID == b.PoolID &&
		a.Tenant == b.Tenant && a.Units == b.Units && a.Attempt == b.Attempt && a.Node == b.Node && string(a.Detail) == string(b.Detail)
}

func sameSpec(a, b *ledger.Spec) bool {
	return a.PoolID == b.PoolID && a.TaskID == b.TaskID && a.Tenant == b.Tenant && a.MailboxKey == b.MailboxKey && a.Priority == b.Priority &&
		a.Units == b.Units && a.Deadline.Equal(b.Deadline.Time) && a.Timeout == b.Timeout && a.Retry == b.Retry && string(a.Payload) == string(b.Payload) &&
		slices.Equal(a.Command, b.Command) && a.WorkDir == b.WorkDir && a.SubmittedAt.Equal(b.SubmittedAt.Time) && a.Digest == b.Digest
}

// checkAudit judges a page of the log: the next selected events, unchanged and without gaps.
func (j *judge) checkAudit(a answer) {
	if j.isTemporary(a) {
		return
	}
	page, q := a.value.(park.EventPage), a.query.(park.AuditQuery)
	if a.err != nil {
		j.fail("log", "reading it after %q: %v", q.Cursor, a.err)
		return
	}
	given := page.Events
	past := q.Cursor == ""
	for i := range j.events {
		e := &j.events[i]
		here := past
		past = past || e.EventID == q.Cursor
		asked := (q.TaskID == "" || q.TaskID == e.TaskID) && (q.PoolID == "" || q.PoolID == e.PoolID) && (q.Tenant == "" || q.Tenant == e.Tenant) && q.Selects(e.Action)
		switch {
		case !here || !asked:
		case len(given) == 0:
			if j.eventsAt[i] < a.asked && page.Next == "" {
				j.fail("log", "reading it after %q ends before event %s", q.Cursor, e.EventID)
			}
			return
		case !sameEvent(&given[0], e):
			j.fail("log", "event %+v is read where %+v is next", given[0], *e)
			return
		default:
			given = given[1:]
		}
	}
	if len(given) > 0 {
		j.fail("log", "event %+v is read, which there is not", given[0])
	}
}

// checkLeaseCall judges the answers to workers.
func (j *judge) checkLeaseCall(l *poolRecord, a answer) {
	if j.isTemporary(a) {
		return
	}
	code := park.CodeOf(a.err)
	if a.op == "lease" {
		if code != "" {
			j.failAnswer(a, "%v", a.err)
			return
		}
		for _, lease := range a.value.([]park.Lease) {
			j.checkLease(l, a, &lease)
		}
		return
	}
	id := a.query.(string)
	t, m := l.leased(a.id, id)
	switch {
	case code == park.LeaseLost || code == park.LeaseNotFound:
		if t != nil && t.state.Status == park.Running && t.state.Lease == id && m < a.asked {
			j.failAnswer(a, "the lease is told to be lost, and is not: %v", a.err)
		}
	case code != "":
		j.failAnswer(a, "%v", a.err)
	case t == nil:
		j.failAnswer(a, "there was never a lease %q", id)
	case a.op == "keep":
		if j.singleNode && !t.holds(id, a.asked) {
			j.failAnswer(a, "the lease is told to be kept, and was over")
		}
		if t.state.Lease == id {
			t.renewed = renewal{a.asked, j.now}
		}
	case a.op == "end":
		j.checkReport(l, t, a, id)
	case t.state.Status == park.Running && t.state.Lease == id:
		j.failAnswer(a, "the lease was given back, and is still held")
	}
}

// leased returns the task that had a lease, and since when.
func (l *poolRecord) leased(task, lease string) (*taskLife, time.Duration) {
	for _, t := range l.past[task] {
		for _, m := range t.states {
			if m.state.Lease == lease {
				return t, m.at
			}
		}
	}
	return nil, 0
}

// holds reports whether a task has run under a lease since a time.
func (t *taskLife) holds(lease string, since time.Duration) bool {
	for _, m := range t.between(since) {
		if m.state.Lease == lease && m.state.Status == park.Running {
			return true
		}
	}
	return false
}

// checkLease judges a lease that a worker got.
func (j *judge) checkLease(l *poolRecord, a answer, g *park.Lease) {
	t, at := l.leased(g.TaskID, g.LeaseID)
	if t == nil || at < a.asked || j.granted[g.LeaseID] {
		j.failAnswer(a, "lease %s of task %s was not given out for this, or is given out twice", g.LeaseID, g.TaskID)
		return
	}
	j.granted[g.LeaseID] = true
	attempt := 0
	for _, m := range t.states {
		if m.state.Lease == g.LeaseID {
			attempt = m.state.Attempt
		}
	}
	r := &t.spec
	if g.PoolID != r.PoolID || g.Tenant != r.Tenant || g.Attempt != attempt || g.Units != r.Units || string(g.Payload) != string(r.Payload) ||
		time.Duration(g.TimeoutSecs)*time.Second != r.Timeout || strings.Join(g.Command, " ") != strings.Join(r.Command, " ") {
		j.failAnswer(a, "task %s is leased as %+v, and was submitted as %+v; it is in run %d", g.TaskID, *g, *r, attempt)
	}
}

// checkReport judges the answer that a worker's outcome was stored.
func (j *judge) checkReport(l *poolRecord, t *taskLife, a answer, id string) {
	r := a.value.(park.LeaseResult)
	attempt, strikes := 0, 0
	for _, m := range t.states {
		if m.state.Lease == id && m.state.Status == park.Running {
			attempt, strikes = m.state.Attempt, m.state.Failures
		}
	}
	struck := false
	for _, m := range t.states {
		s := &m.state
		struck = struck || s.Failures > strikes
		if s.Status == park.Completed && s.Attempt == attempt && r.Status == park.Completed && string(s.Result) == string(r.Payload) {
			return
		}
	}
	if !struck || r.Status == park.Completed && len(r.Payload) <= l.mostResult() && !poisoned(r.Payload) {
		j.failAnswer(a, "the end of run %d as %s was taken, and the task is %+v", attempt, r.Status, t.state)
	}
}

// checkFinal compares a pool's final rows with its log, in both directions.
func (j *judge) checkFinal(w finalPool) {
	l := j.records[w.pool]
	if r := l.row().row; w.row != r && len(l.rows) > 0 {
		j.fail("rows", "pool %s is %+v, and its last step left %+v", w.pool, w.row, r)
	}
	has := make(map[string]bool)
	for i := range w.tasks {
		r := &w.tasks[i]
		t := l.tasks[r.TaskID]
		switch {
		case t == nil:
			j.fail("rows", "there is a row of task %s, of which the log does not tell", r.TaskID)
		case has[r.TaskID]:
			j.fail("rows", "there are two rows of task %s", r.TaskID)
		case !sameState(&t.state, &r.State):
			j.fail("rows", "the row of task %s is %+v, and by the log it is %+v", r.TaskID, r.State, t.state)
		case !sameSpec(&t.spec, &r.Spec):
			j.fail("rows", "the row of task %s is of %+v, and it was submitted as %+v", r.TaskID, r.Spec, t.spec)
		}
		has[r.TaskID] = true
	}
	for id := range l.tasks {
		if !has[id] {
			j.fail("rows", "there is no row of task %s, of which the log tells", id)
		}
	}
}

func patchText(p park.PoolPatch) string {
	var parts []string
	if p.State != nil {
		parts = append(parts, string(*p.State))
	}
	if p.MaxUnits != nil {
		parts = append(parts, fmt.Sprintf("%d units", *p.MaxUnits))
	}
	if p.MaxQueueDepth != nil {
		parts = append(parts, fmt.Sprintf("%d parked", *p.MaxQueueDepth))
	}
	return strings.Join(parts, ", ")
}

package loadtest

// Reading the tasks back.

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

const (
	tasksAPage = 1000
	samples    = 64 // tasks that are also queried by id
)

// readTasks lists the pool's tasks and compares them with the log, and queries some by id.
func (m *measurement) readTasks(ctx context.Context, t runFacts) error {
	q := park.TaskQuery{Limit: tasksAPage}
	for last := park.At(time.Now().Add(window)); ; {
		page, err := m.target.service.Tasks(ctx, t.pool, q)
		if err != nil {
			return fmt.Errorf("list the tasks of pool %s: %w", t.pool, err)
		}
		for i := range page.Tasks {
			row := &page.Tasks[i]
			if row.SubmittedAt.After(last.Time) {
				m.findings.note(wrongRow, "task %s of %s is listed behind one of %s", row.TaskID, row.SubmittedAt, last)
			}
			last = row.SubmittedAt
			m.row(t, row, true)
		}
		if q.Cursor = page.Next; q.Cursor == "" || last.Before(m.since.Time) {
			break
		}
	}
	m.unlisted()
	return m.sample(ctx, t)
}

// unlisted records the tasks that are missing in the list.
func (m *measurement) unlisted() {
	for i := range m.ledger.entries {
		if e := &m.ledger.entries[i]; e.rows == 0 && (e.answer == accepted || e.is(logHasSubmission)) {
			m.findings.note(wrongRow, "task %s%d is not listed", m.ledger.run, i)
		}
	}
}

// row judges a task that was read back.
func (m *measurement) row(t runFacts, row *park.Task, listed bool) {
	i, own := m.ledger.number(row.TaskID)
	if !own {
		return
	}
	e := &m.ledger.entries[i]
	if listed {
		if e.rows++; e.rows > 1 {
			m.findings.note(wrongRow, "task %s is listed twice", row.TaskID)
			e.rows = 1
		}
	}
	if why := m.taskDiff(t, row, i); why != "" {
		m.findings.note(wrongRow, "task %s %s", row.TaskID, why)
	}
}

// taskDiff returns how a task that was read back differs from the request and the log.
func (m *measurement) taskDiff(t runFacts, row *park.Task, i int) string {
	e := &m.ledger.entries[i]
	box := m.ledger.mailboxes[e.mailbox]
	limit := int64(t.timeout / time.Second)
	if e.timeLimit > 0 {
		limit = int64(e.timeLimit)
	}
	switch {
	case !e.is(logHasSubmission) && e.answer != accepted:
		return "is there although it was never taken"
	case row.PoolID != t.pool || row.Tenant != box.tenant || row.MailboxKey != box.key:
		return fmt.Sprintf("is in pool %s, of tenant %q with mailbox %q", row.PoolID, row.Tenant, row.MailboxKey)
	case int64(row.ResourceCost.Units) != e.units || row.Priority != e.priority:
		return fmt.Sprintf("costs %d units with priority %s, asked for were %d and %s", row.ResourceCost.Units, row.Priority, e.units, e.priority)
	case row.Deadline.Micro() != e.deadline || int64(row.TimeoutSecs) != limit:
		return fmt.Sprintf("has the deadline %s and a time limit of %d s", row.Deadline, row.TimeoutSecs)
	case row.SubmittedAt.Micro() != e.submitted:
		return fmt.Sprintf("was submitted at %s, not at %s", row.SubmittedAt, park.FromMicro(e.submitted))
	case row.Status.Ended() != (e.end != notEnded):
		return fmt.Sprintf("is %s, and by the log %s", row.Status, cmp.Or(string(e.end.status()), "has not ended"))
	case e.end == notEnded:
		return ""
	}
	return e.endDiff(row, i)
}

// endDiff returns how the end of a task that was read back differs from the log.
func (e *entry) endDiff(row *park.Task, i int) string {
	switch {
	case row.Status != e.end.status() || !e.end.allowsReason(row.Reason):
		return fmt.Sprintf("is %s (%q), and by the log %s", row.Status, row.Reason, e.end.status())
	case row.Attempt != int(e.attempt):
		return fmt.Sprintf("has had %d runs, by the log %d", row.Attempt, e.attempt)
	case !e.mayHaveResult(i, row.Result):
		return fmt.Sprintf("has the result %.60q", row.Result)
	case row.StartedAt.Micro() != e.startedAt || row.CompletedAt.Micro() != e.ended:
		return fmt.Sprintf("ran from %s and ended at %s, by the log from %s and at %s",
			row.StartedAt, row.CompletedAt, park.FromMicro(e.startedAt), park.FromMicro(e.ended))
	case row.Position != 0 || row.Waiting != nil:
		return "has ended and is in position " + strconv.FormatInt(row.Position, 10)
	}
	return ""
}

// sample queries some tasks by id.
func (m *measurement) sample(ctx context.Context, t runFacts) error {
	n := len(m.ledger.entries)
	for k := range min(samples, n) {
		i := k * n / min(samples, n)
		id := m.ledger.run + strconv.Itoa(i)
		row, err := m.target.service.Task(ctx, t.pool, id, 0)
		switch e := &m.ledger.entries[i]; {
		case park.CodeOf(err) == park.TaskNotFound:
			if e.answer == accepted || e.is(logHasSubmission) {
				m.findings.note(wrongRow, "task %s is not found", id)
			}
		case err != nil:
			return fmt.Errorf("read task %s: %w", id, err)
		case row.TaskID != id:
			m.findings.note(wrongRow, "asked for task %s, the daemon answers %s", id, row.TaskID)
		default:
			m.row(t, &row, false)
		}
	}
	return nil
}

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
	samples    = 64 // tasks that are also asked for one by one
)

// readTasks lists the pool's tasks and holds them against the log, and asks for some by their ids.
func (m *measurement) readTasks(ctx context.Context, t terms) error {
	q := park.TaskQuery{Limit: tasksAPage}
	for last := park.At(time.Now().Add(window)); ; {
		page, err := m.target.service.Tasks(ctx, t.pool, q)
		if err != nil {
			return fmt.Errorf("list the tasks of pool %s: %w", t.pool, err)
		}
		for i := range page.Tasks {
			row := &page.Tasks[i]
			if row.SubmittedAt.After(last.Time) {
				m.found.note(wrongRow, "task %s of %s is listed behind one of %s", row.TaskID, row.SubmittedAt, last)
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

// unlisted notes the tasks that were not listed although they should be.
func (m *measurement) unlisted() {
	for i := range m.ledger.entries {
		if e := &m.ledger.entries[i]; e.rows == 0 && (e.answer == accepted || e.is(taken)) {
			m.found.note(wrongRow, "task %s%d is not listed", m.ledger.run, i)
		}
	}
}

// row judges a task that was read back.
func (m *measurement) row(t terms, row *park.Task, listed bool) {
	i, own := m.ledger.number(row.TaskID)
	if !own {
		return
	}
	e := &m.ledger.entries[i]
	if listed {
		if e.rows++; e.rows > 1 {
			m.found.note(wrongRow, "task %s is listed twice", row.TaskID)
			e.rows = 1
		}
	}
	if why := m.differs(t, row, i); why != "" {
		m.found.note(wrongRow, "task %s %s", row.TaskID, why)
	}
}

// differs says in what a task that was read back differs from what was asked for and what the log says.
func (m *measurement) differs(t terms, row *park.Task, i int) string {
	e := &m.ledger.entries[i]
	box := m.ledger.boxes[e.box]
	limit := int64(t.timeout / time.Second)
	if e.limit > 0 {
		limit = int64(e.limit)
	}
	switch {
	case !e.is(taken) && e.answer != accepted:
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
	return e.endsUnlike(row, i)
}

// endsUnlike says in what the end of a task that was read back differs from the log's.
func (e *entry) endsUnlike(row *park.Task, i int) string {
	switch {
	case row.Status != e.end.status() || !e.end.reads(row.Reason):
		return fmt.Sprintf("is %s (%q), and by the log %s", row.Status, row.Reason, e.end.status())
	case row.Attempt != int(e.attempt):
		return fmt.Sprintf("has had %d runs, by the log %d", row.Attempt, e.attempt)
	case !e.results(i, row.Result):
		return fmt.Sprintf("has the result %.60q", row.Result)
	case row.StartedAt.Micro() != e.began || row.CompletedAt.Micro() != e.ended:
		return fmt.Sprintf("ran from %s and ended at %s, by the log from %s and at %s",
			row.StartedAt, row.CompletedAt, park.FromMicro(e.began), park.FromMicro(e.ended))
	case row.Position != 0 || row.Waiting != nil:
		return "has ended and is in position " + strconv.FormatInt(row.Position, 10)
	}
	return ""
}

// sample asks for some of the tasks one by one.
func (m *measurement) sample(ctx context.Context, t terms) error {
	n := len(m.ledger.entries)
	for k := range min(samples, n) {
		i := k * n / min(samples, n)
		id := m.ledger.run + strconv.Itoa(i)
		row, err := m.target.service.Task(ctx, t.pool, id, 0)
		switch e := &m.ledger.entries[i]; {
		case park.CodeOf(err) == park.TaskNotFound:
			if e.answer == accepted || e.is(taken) {
				m.found.note(wrongRow, "task %s is not found", id)
			}
		case err != nil:
			return fmt.Errorf("read task %s: %w", id, err)
		case row.TaskID != id:
			m.found.note(wrongRow, "asked for task %s, the daemon answers %s", id, row.TaskID)
		default:
			m.row(t, &row, false)
		}
	}
	return nil
}

package loadtest

// Reading back: the audit log, the mailboxes, and how long questions to the log take.

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/replay"
)

const (
	eventsAPage   = 1000
	messagesAPage = 500
	// settling is how long a log or a mailbox that is kept elsewhere than the queue may take to hear of the last tasks.
	settling = 10 * time.Second
	window   = 24 * time.Hour // that the timed questions are about
	queries  = 240
	keepTry  = 100 * time.Millisecond
)

// judge reads everything back and reports.
func (m *measurement) judge(ctx context.Context) (*Report, error) {
	limits, err := m.initialLimits(ctx)
	if err != nil {
		return nil, err
	}
	j := newJudge(m.ledger, m.watcher.probe, limits, m.watcher.when)
	if err := m.readLog(ctx, j); err != nil {
		return nil, err
	}
	mail, err := m.readMail(ctx)
	if err != nil {
		return nil, err
	}
	asked, empty, err := m.ask(ctx)
	if err != nil {
		return nil, err
	}
	r := m.report(j, mail, asked)
	r.atMost("audit queries that do not find what happened", float64(empty), 0)
	return r, nil
}

// initialLimits returns the pool's limits before the run: those of now without what was changed meanwhile.
func (m *measurement) initialLimits(ctx context.Context) (replay.Limits, error) {
	p, err := m.target.service.Pool(ctx, m.target.pool.PoolID)
	if err != nil {
		return replay.Limits{}, fmt.Errorf("read pool %s: %w", m.target.pool.PoolID, err)
	}
	q := park.AuditQuery{PoolID: p.PoolID, Action: park.ActUpdate, Since: m.since, Limit: eventsAPage}
	page, err := m.target.service.Audit(ctx, q)
	if err != nil {
		return replay.Limits{}, fmt.Errorf("read the changes of pool %s: %w", p.PoolID, err)
	}
	return replay.Initial(replay.Of(p), page.Events), nil
}

// readLog plays the pool's log from the beginning of the run. It waits a little for a log that lags.
func (m *measurement) readLog(ctx context.Context, j *judge) error {
	q := park.AuditQuery{PoolID: m.target.pool.PoolID, Since: m.since, Changes: true, Limit: eventsAPage}
	for giveUp := time.Now().Add(settling); ; {
		page, err := m.target.service.Audit(ctx, q)
		if err != nil {
			return fmt.Errorf("read the audit log: %w", err)
		}
		for i := range page.Events {
			j.apply(&page.Events[i])
		}
		if n := len(page.Events); n > 0 {
			q.Cursor = page.Events[n-1].EventID
		}
		if page.Next != "" {
			continue
		}
		if j.missing() == 0 || time.Now().After(giveUp) {
			j.finish()
			return nil
		}
		if !sleep(ctx, keepTry) {
			return ctx.Err()
		}
	}
}

// mail is what the mailboxes held.
type mail struct {
	found      int // accepted tasks with a message
	duplicates int // messages beyond the first of a task
	wrong      int // messages that do not say how the task ended
	stray      int // messages of tasks that were never accepted
}

// readMail reads all mailboxes of the run. It waits a little for mailboxes that lag.
func (m *measurement) readMail(ctx context.Context) (mail, error) {
	giveUp := time.Now().Add(settling)
	after := make([]string, len(m.ledger.boxes))
	var stray int
	for {
		for b := range m.ledger.boxes {
			if err := m.readBox(ctx, int32(b), &after[b], &stray); err != nil {
				return mail{}, err
			}
		}
		if got := m.sortMail(stray); got.found == m.ledger.accepted || time.Now().After(giveUp) {
			return got, nil
		}
		if !sleep(ctx, keepTry) {
			return mail{}, ctx.Err()
		}
	}
}

// readBox reads one mailbox on from the message with the id after.
func (m *measurement) readBox(ctx context.Context, b int32, after *string, stray *int) error {
	box := m.ledger.boxes[b]
	for {
		q := park.MailboxQuery{Tenant: box.tenant, Key: box.key, After: *after, Limit: messagesAPage}
		page, err := m.target.service.Mailbox(ctx, q)
		if err != nil {
			return fmt.Errorf("read mailbox %s/%s: %w", box.tenant, box.key, err)
		}
		for i := range page.Messages {
			m.book(&page.Messages[i], b, stray)
		}
		if len(page.Messages) == 0 {
			return nil
		}
		*after = page.Messages[len(page.Messages)-1].ID
	}
}

// book notes one message.
func (m *measurement) book(msg *park.Message, b int32, stray *int) {
	i, own := m.ledger.number(msg.TaskID)
	if !own {
		*stray++
		return
	}
	e := &m.ledger.entries[i]
	if e.messages < 255 {
		e.messages++
	}
	status, result := e.outcome(i)
	if e.box != b || msg.Status != status || result != "" && !bytes.Equal(msg.Payload, []byte(result)) {
		e.amiss = true
	}
}

// sortMail counts what was booked.
func (m *measurement) sortMail(stray int) mail {
	got := mail{stray: stray}
	for i := range m.ledger.entries {
		e := &m.ledger.entries[i]
		switch {
		case e.messages == 0:
		case e.answer != accepted:
			got.stray++
		default:
			got.found++
			got.duplicates += int(e.messages) - 1
			if e.amiss {
				got.wrong++
			}
		}
	}
	return got
}

// ask times questions to the audit log: by task, by tenant and by pool, over the window. It counts those whose
// answer was empty although an accepted task was asked for.
func (m *measurement) ask(ctx context.Context) (asked *latencies, empty int, err error) {
	asked = newLatencies()
	until := park.At(time.Now().Add(time.Minute))
	q := park.AuditQuery{Since: park.At(until.Add(-window)), Until: until, Limit: eventsAPage}
	for n := range min(queries, len(m.ledger.entries)*4) {
		i := n * len(m.ledger.entries) / queries
		begun := time.Now()
		page, err := m.target.service.Audit(ctx, m.question(q, n, i))
		if err != nil {
			return nil, 0, fmt.Errorf("ask the audit log: %w", err)
		}
		asked.record(time.Since(begun))
		if len(page.Events) == 0 && m.ledger.entries[i].answer == accepted {
			empty++
		}
	}
	return asked, empty, nil
}

// question makes q the nth one, about task number i.
func (m *measurement) question(q park.AuditQuery, n, i int) park.AuditQuery {
	switch n % 4 {
	case 0, 1:
		q.TaskID = m.ledger.run + strconv.Itoa(i)
	case 2:
		q.Tenant = m.ledger.boxes[m.ledger.entries[i].box].tenant
	case 3:
		q.PoolID = m.target.pool.PoolID
	}
	return q
}

package loadtest

// Reading the mailboxes back.

import (
	"context"
	"fmt"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// mail counts the messages in the mailboxes.
type mail struct {
	found      int // accepted tasks with a message
	duplicates int // messages beyond the first of a task
	wrong      int // messages that do not say how the task ended
	stray      int // messages of tasks that were never accepted
}

// readMail reads all mailboxes of the run. It waits a little if a mailbox lags.
func (m *measurement) readMail(ctx context.Context) (mail, error) {
	giveUp := time.Now().Add(lagTimeout)
	after := make([]string, len(m.ledger.mailboxes))
	var stray int
	for {
		for b := range m.ledger.mailboxes {
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

// readBox reads a mailbox from the message with the id after.
func (m *measurement) readBox(ctx context.Context, b int32, after *string, stray *int) error {
	box, last := m.ledger.mailboxes[b], park.Time{}
	for {
		q := park.MailboxQuery{Tenant: box.tenant, Key: box.key, After: *after, Limit: messagesAPage}
		page, err := m.target.service.Mailbox(ctx, q)
		if err != nil {
			return fmt.Errorf("read mailbox %s/%s: %w", box.tenant, box.key, err)
		}
		for i := range page.Messages {
			msg := &page.Messages[i]
			m.book(msg, b, stray)
			if msg.CreatedAt.Before(last.Time) && m.target.pool.QueueBackend == m.target.pool.MailboxBackend {
				m.findings.note(wrongMessage, "mailbox %s has a message of %s behind one of %s", box.key, msg.CreatedAt, last)
			}
			last = msg.CreatedAt
		}
		if len(page.Messages) == 0 {
			return nil
		}
		*after = page.Messages[len(page.Messages)-1].ID
	}
}

// book records a message of mailbox b.
func (m *measurement) book(msg *park.Message, b int32, stray *int) {
	i, own := m.ledger.number(msg.TaskID)
	if !own {
		*stray++
		m.findings.note(wrongMessage, "a message of task %s, which is none of this run, is in mailbox %s", msg.TaskID, m.ledger.mailboxes[b].key)
		return
	}
	e := &m.ledger.entries[i]
	if e.messages < maxCount {
		e.messages++
	}
	if why := m.messageDiff(msg, i, b); why != "" {
		e.mark(hasWrongMessage)
		m.findings.note(wrongMessage, "the message of task %s %s", msg.TaskID, why)
	}
}

// messageDiff returns how a message of task number i in mailbox b differs from the expected one.
func (m *measurement) messageDiff(msg *park.Message, i int, b int32) string {
	e := &m.ledger.entries[i]
	switch {
	case e.mailbox != b:
		return "is in mailbox " + m.ledger.mailboxes[b].tenant + "/" + m.ledger.mailboxes[b].key
	case msg.PoolID != m.target.pool.PoolID:
		return "is of pool " + msg.PoolID
	case msg.Status != e.end.status():
		return fmt.Sprintf("says that it is %s, by the log it is %s", msg.Status, e.end.status())
	case msg.Attempt != int(e.attempt):
		return fmt.Sprintf("is of attempt %d, by the log it was %d", msg.Attempt, e.attempt)
	case !e.end.allowsReason(msg.Reason):
		return fmt.Sprintf("gives the reason %q, not %q", msg.Reason, e.end.reason())
	case !e.mayHaveResult(i, msg.Payload):
		return fmt.Sprintf("has the payload %.60q", msg.Payload)
	case msg.CreatedAt.Micro() != e.ended:
		return fmt.Sprintf("is of %s, by the log the task ended at %s", msg.CreatedAt, park.FromMicro(e.ended))
	}
	return ""
}

// sortMail counts the recorded messages.
func (m *measurement) sortMail(stray int) mail {
	got := mail{stray: stray}
	for i := range m.ledger.entries {
		e := &m.ledger.entries[i]
		switch {
		case e.messages == 0:
			if e.answer == unanswered && e.end != notEnded {
				m.findings.note(wrongMessage, "task %s%d has ended, and left no message", m.ledger.run, i)
			}
		case e.answer == rejected || e.answer == unanswered && !e.is(logHasSubmission):
			got.stray++
		case e.answer == unanswered:
			got.duplicates += int(e.messages) - 1
		default:
			got.found++
			got.duplicates += int(e.messages) - 1
			if e.is(hasWrongMessage) {
				got.wrong++
			}
		}
	}
	return got
}

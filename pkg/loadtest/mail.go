package loadtest

// Reading the mailboxes back.

import (
	"context"
	"fmt"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

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
	box, last := m.ledger.boxes[b], park.Time{}
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
				m.found.note(wrongMessage, "mailbox %s has a message of %s behind one of %s", box.key, msg.CreatedAt, last)
			}
			last = msg.CreatedAt
		}
		if len(page.Messages) == 0 {
			return nil
		}
		*after = page.Messages[len(page.Messages)-1].ID
	}
}

// book notes one message of mailbox b.
func (m *measurement) book(msg *park.Message, b int32, stray *int) {
	i, own := m.ledger.number(msg.TaskID)
	if !own {
		*stray++
		m.found.note(wrongMessage, "a message of task %s, which is none of this run, is in mailbox %s", msg.TaskID, m.ledger.boxes[b].key)
		return
	}
	e := &m.ledger.entries[i]
	if e.messages < mostCounted {
		e.messages++
	}
	if why := m.unlike(msg, i, b); why != "" {
		e.mark(amiss)
		m.found.note(wrongMessage, "the message of task %s %s", msg.TaskID, why)
	}
}

// unlike says in what a message of task number i that is in mailbox b differs from what it should be.
func (m *measurement) unlike(msg *park.Message, i int, b int32) string {
	e := &m.ledger.entries[i]
	switch {
	case e.box != b:
		return "is in mailbox " + m.ledger.boxes[b].tenant + "/" + m.ledger.boxes[b].key
	case msg.PoolID != m.target.pool.PoolID:
		return "is of pool " + msg.PoolID
	case msg.Status != e.end.status():
		return fmt.Sprintf("says that it is %s, by the log it is %s", msg.Status, e.end.status())
	case msg.Attempt != int(e.attempt):
		return fmt.Sprintf("is of attempt %d, by the log it was %d", msg.Attempt, e.attempt)
	case !e.end.reads(msg.Reason):
		return fmt.Sprintf("gives the reason %q, not %q", msg.Reason, e.end.reason())
	case !e.results(i, msg.Payload):
		return fmt.Sprintf("has the payload %.60q", msg.Payload)
	case msg.CreatedAt.Micro() != e.ended:
		return fmt.Sprintf("is of %s, by the log the task ended at %s", msg.CreatedAt, park.FromMicro(e.ended))
	}
	return ""
}

// sortMail counts what was booked.
func (m *measurement) sortMail(stray int) mail {
	got := mail{stray: stray}
	for i := range m.ledger.entries {
		e := &m.ledger.entries[i]
		switch {
		case e.messages == 0:
			if e.answer == unanswered && e.end != notEnded {
				m.found.note(wrongMessage, "task %s%d has ended, and left no message", m.ledger.run, i)
			}
		case e.answer == rejected || e.answer == unanswered && !e.is(taken):
			got.stray++
		case e.answer == unanswered:
			got.duplicates += int(e.messages) - 1
		default:
			got.found++
			got.duplicates += int(e.messages) - 1
			if e.is(amiss) {
				got.wrong++
			}
		}
	}
	return got
}

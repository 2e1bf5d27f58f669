package replay

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// RuleMail says that an ended task with a mailbox key leaves one message, which tells of its end.
const RuleMail Rule = "mail"

// Mail checks mailboxes against the tasks of a pool that have ended. Clients may have removed the oldest messages of a
// mailbox, and an end of the last moment may still be on its way to a mailbox in another store; apart from that nothing
// may be missing. It costs time in proportion to the tasks, but for a sort of each mailbox.
type Mail struct {
	pool  string
	boxes map[Box][]park.Task
}

// Box names a mailbox.
type Box struct{ Tenant, Key string }

// NewMail returns the mail of a pool without tasks.
func NewMail(pool string) *Mail { return &Mail{pool: pool, boxes: make(map[Box][]park.Task)} }

// Ended adds a task. Those that have not ended or have no mailbox are passed over.
func (m *Mail) Ended(t park.Task) {
	if t.Status.Ended() && t.MailboxKey != "" {
		b := Box{t.Tenant, t.MailboxKey}
		m.boxes[b] = append(m.boxes[b], t)
	}
}

// Boxes returns the mailboxes that have to hold messages, in a fixed order.
func (m *Mail) Boxes() []Box {
	all := make([]Box, 0, len(m.boxes))
	for b := range m.boxes {
		all = append(all, b)
	}
	slices.SortFunc(all, func(a, b Box) int { return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Key, b.Key)) })
	return all
}

// Check holds the messages of a mailbox, read after the tasks were, against its tasks. Messages of other pools and of
// tasks that were not added are passed over. What ended after settled may lack its message. The error is an *[Offence],
// of the task that ended first; its rev is for the caller to find.
func (m *Mail) Check(b Box, messages []park.Message, settled time.Time) error {
	tasks := m.boxes[b]
	slices.SortFunc(tasks, func(a, b park.Task) int {
		return cmp.Or(a.CompletedAt.Compare(b.CompletedAt.Time), cmp.Compare(a.TaskID, b.TaskID))
	})
	said := make(map[string][]park.Message, len(messages))
	for _, msg := range messages {
		if msg.PoolID == m.pool {
			said[msg.TaskID] = append(said[msg.TaskID], msg)
		}
	}
	kept := park.Time{} // the end of the first task whose message is there
	for _, t := range tasks {
		switch got := said[t.TaskID]; {
		case len(got) > 1:
			return m.offence(t, "left %d messages in mailbox %s/%s", len(got), b.Tenant, b.Key)
		case len(got) == 1 && (got[0].Status != t.Status || got[0].Attempt != t.Attempt):
			return m.offence(t, "is %s in attempt %d, its message says %s in attempt %d", t.Status, t.Attempt, got[0].Status, got[0].Attempt)
		case len(got) == 1 && kept.IsZero():
			kept = t.CompletedAt
		case len(got) == 0 && !kept.IsZero() && t.CompletedAt.After(kept.Time) && t.CompletedAt.Before(settled):
			return m.offence(t, "left no message in mailbox %s/%s, which holds older ones", b.Tenant, b.Key)
		}
	}
	return nil
}

func (m *Mail) offence(t park.Task, format string, args ...any) *Offence {
	return &Offence{PoolID: m.pool, TaskID: t.TaskID, Rule: RuleMail, Detail: "the task " + fmt.Sprintf(format, args...)}
}

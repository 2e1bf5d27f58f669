package sim

import (
	"maps"
	"slices"

	"github.com/parkd-dev/parkd/pkg/park"
)

// addMessage records a message of the current step.
func (j *judge) addMessage(m park.Message) {
	l := j.records[m.PoolID]
	if l == nil {
		j.fail("one message", "a message of task %s is of pool %q, which there is not", m.TaskID, m.PoolID)
		return
	}
	l.posts = append(l.posts, m)
	b := mailbox{m.Tenant, m.Key}
	n, _ := number(m.ID)
	j.mailboxes[b] = append(j.mailboxes[b], &judgedMessage{m, n, j.now, -1})
}

// checkMessages compares the messages of a step with its events: one for each ended task with a mailbox.
func (j *judge) checkMessages(l *poolRecord, touched map[string]*taskLife) {
	for i := range l.posts {
		m := &l.posts[i]
		t := touched[m.TaskID]
		if t == nil || t.end == "" || t.hasMessage {
			j.fail("one message", "a message of task %s in %q, which does not end with it, or has one already", m.TaskID, m.Key)
			return
		}
		t.hasMessage = true
		j.checkMessage(t, m)
	}
	l.posts = l.posts[:0]
	for _, id := range slices.Sorted(maps.Keys(touched)) {
		if t := touched[id]; t.end != "" && t.hasMessage != (t.spec.MailboxKey != "") {
			j.fail("one message", "task %s ended (%s); its mailbox is %q, and there is a message: %t", id, t.end, t.spec.MailboxKey, t.hasMessage)
		}
	}
}

// checkMessage compares each field of a message with the end of its task.
func (j *judge) checkMessage(t *taskLife, m *park.Message) {
	s := &t.state
	same := m.PoolID == t.pool && m.TaskID == t.id && m.Tenant == t.spec.Tenant && m.Key == t.spec.MailboxKey && m.Status == s.Status &&
		m.Reason == s.Reason && m.Message == s.Message && string(m.Payload) == string(s.Result) && m.Attempt == s.Attempt && m.CreatedAt.Equal(s.EndedAt.Time)
	if !same {
		j.fail("one message", "the message of task %s is %+v, and its end %+v in %q of %s", t.id, *m, *s, t.spec.MailboxKey, t.spec.Tenant)
	}
}

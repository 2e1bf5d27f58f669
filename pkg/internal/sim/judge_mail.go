package sim

import (
	"maps"
	"slices"

	"github.com/parkd-dev/parkd/pkg/park"
)

// post takes a message as it comes to its mailbox, with the step that brings it.
func (j *judge) post(m park.Message) {
	l := j.ledgers[m.PoolID]
	if l == nil {
		j.fail("one message", "a message of task %s is of pool %q, which there is not", m.TaskID, m.PoolID)
		return
	}
	l.posts = append(l.posts, m)
	b := box{m.Tenant, m.Key}
	n, _ := number(m.ID)
	j.boxes[b] = append(j.boxes[b], &mailed{m, n, j.now, -1})
}

// messages holds the messages of a step against the ends that it tells of: one for each that has a mailbox.
func (j *judge) messages(l *account, touched map[string]*tale) {
	for i := range l.posts {
		m := &l.posts[i]
		t := touched[m.TaskID]
		if t == nil || t.end == "" || t.mailed {
			j.fail("one message", "a message of task %s in %q, which does not end with it, or has one already", m.TaskID, m.Key)
			return
		}
		t.mailed = true
		j.message(t, m)
	}
	l.posts = l.posts[:0]
	for _, id := range slices.Sorted(maps.Keys(touched)) {
		if t := touched[id]; t.end != "" && t.mailed != (t.spec.MailboxKey != "") {
			j.fail("one message", "task %s ended (%s); its mailbox is %q, and there is a message: %t", id, t.end, t.spec.MailboxKey, t.mailed)
		}
	}
}

// message holds each field of a message against the end that it tells of.
func (j *judge) message(t *tale, m *park.Message) {
	s := &t.state
	same := m.PoolID == t.pool && m.TaskID == t.id && m.Tenant == t.spec.Tenant && m.Key == t.spec.MailboxKey && m.Status == s.Status &&
		m.Reason == s.Reason && m.Message == s.Message && string(m.Payload) == string(s.Result) && m.Attempt == s.Attempt && m.CreatedAt.Equal(s.EndedAt.Time)
	if !same {
		j.fail("one message", "the message of task %s is %+v, and its end %+v in %q of %s", t.id, *m, *s, t.spec.MailboxKey, t.spec.Tenant)
	}
}

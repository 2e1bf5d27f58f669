package verify

import (
	"cmp"
	"fmt"

	"github.com/parkd-dev/parkd/pkg/internal/replay"
	"github.com/parkd-dev/parkd/pkg/park"
)

// The rules that more than a log is needed for.
const (
	// RuleTask says that the queue has each task of the log, and no other, as the log tells of it.
	RuleTask replay.Rule = "task"
	// RuleMail says that an ended task with a mailbox key leaves one message, which tells of its end, and nobody else does.
	RuleMail replay.Rule = "mail"
)

// comparison finds the offence with the lowest rev.
type comparison struct {
	*collector
	log   *replay.Pool
	rev   int64 // of the pool before messages and tasks were read: what is from up to there must be among them
	first *replay.Offence
}

func (c *comparison) offend(r replay.Rule, rev int64, task, format string, args ...any) {
	o := &replay.Offence{PoolID: c.log.State().PoolID, Rev: rev, TaskID: task, Rule: r, Detail: fmt.Sprintf(format, args...)}
	if c.first == nil || cmp.Or(cmp.Compare(o.Rev, c.first.Rev), cmp.Compare(o.TaskID, c.first.TaskID)) < 0 {
		c.first = o
	}
}

// run compares single tasks and messages.
func (c *comparison) run() *replay.Offence {
	for id := range c.rows {
		t := c.rows[id]
		c.checkTask(&t)
	}
	for _, lives := range c.collector.ended {
		for i := range lives {
			c.checkEnded(&lives[i])
		}
	}
	for l := range c.log.Live {
		c.checkLive(l)
	}
	for id := range c.awaitingMessage {
		t := c.awaitingMessage[id]
		c.checkDue(&t)
	}
	for _, mail := range c.mail {
		c.checkMessages(mail)
	}
	return c.first
}

// checkTask compares a task of the queue with the log.
func (c *comparison) checkTask(t *park.KeptTask) {
	if !t.Status.Ended() && (t.Said != 0 || !t.EndedAt.IsZero()) {
		c.offend(RuleTask, 0, t.TaskID, "is %s, and has a result, a message or the time of an end", t.Status)
	}
	if l := c.lifeOf(t); l != nil {
		settled := t.Status.Ended() || l.Rev <= c.rev && !l.Status.Ended()
		if d := taskDiff(l, t, settled); d != "" {
			c.offend(RuleTask, l.Rev, t.TaskID, "%s", d)
		} else if !t.Status.Ended() && l.Status.Ended() && l.Rev <= c.rev {
			c.offend(RuleTask, l.Rev, t.TaskID, "ended by the log (%s), but is %s", l.Status, t.Status)
		}
		return
	}
	switch {
	case c.comparable.first != 0 && !c.tasksLost && t.SubmittedAt.Micro() <= c.comparable.first && endOf(t) <= c.comparable.first:
		// All that happened to it may be from before the log.
	case c.log.Lookup(t.TaskID) != nil:
		l := c.log.Lookup(t.TaskID)
		c.offend(RuleTask, l.Rev, t.TaskID, "%s by the log, but %s at %s", l.Status, t.Status, t.EndedAt)
	case len(c.collector.ended[t.TaskID]) > 0:
		l := &c.collector.ended[t.TaskID][0]
		c.offend(RuleTask, l.Rev, t.TaskID, "ended at %s by the log, but at %s", park.FromMicro(l.Ended), t.EndedAt)
	default:
		c.offend(RuleTask, 0, t.TaskID, "is %s, but the log knows of no such task", t.Status)
	}
}

// lifeOf returns the task of the log that is a task of the queue, or nil.
func (c *comparison) lifeOf(t *park.KeptTask) *replay.Life {
	lives := c.collector.ended[t.TaskID]
	for i := range lives {
		if t.Status.Ended() && lives[i].Ended == t.EndedAt.Micro() || !t.Status.Ended() && lives[i].Submitted == t.SubmittedAt.Micro() {
			return &lives[i]
		}
	}
	if l := c.log.Lookup(t.TaskID); l != nil && !t.Status.Ended() {
		return l
	}
	if !t.Status.Ended() && len(lives) == 1 {
		return &lives[0]
	}
	return nil
}

// checkEnded compares an ended task of the log with the queue.
func (c *comparison) checkEnded(l *replay.Life) {
	if l.Rev > c.rev || l.Ended < c.kept {
		return // it may have ended after the tasks were read, or was removed before
	}
	if t, ok := c.rows[l.TaskID]; !ok {
		c.offend(RuleTask, l.Rev, l.TaskID, "%s by the log, but there is no such task", l.Status)
	} else if c.lifeOf(&t) != l && t.Status.Ended() && t.EndedAt.Micro() < l.Ended {
		c.offend(RuleTask, l.Rev, l.TaskID, "%s at %s by the log, but there is only an earlier task of this id", l.Status, park.FromMicro(l.Ended))
	}
}

// checkLive compares a live task of the log with the queue.
func (c *comparison) checkLive(l *replay.Life) {
	if l.Rev > c.rev && (l.Since == 0 || l.Since > c.rev) {
		return
	}
	if _, ok := c.rows[l.TaskID]; !ok {
		c.offend(RuleTask, l.Rev, l.TaskID, "%s by the log, but there is no such task", l.Status)
	}
}

// taskDiff says how a task differs from what the log says, "" if it does not. A task that may have moved on while it was read
// is compared only in what does not change.
func taskDiff(l *replay.Life, t *park.KeptTask, settled bool) string {
	name := func(what string, log, kept any) string {
		return fmt.Sprintf("has %s %v by the log, but %v", what, log, kept)
	}
	switch {
	case l.Tenant != t.Tenant:
		return name("tenant", l.Tenant, t.Tenant)
	case l.Units != t.Units:
		return name("units", l.Units, t.Units)
	case !l.Adopted && l.Submitted != t.SubmittedAt.Micro():
		return name("submission time", park.FromMicro(l.Submitted), t.SubmittedAt)
	case l.Told && l.Priority != t.Priority:
		return name("priority", l.Priority, t.Priority)
	case l.Told && l.Deadline != t.Deadline.Micro():
		return name("deadline", park.FromMicro(l.Deadline), t.Deadline)
	case l.Told && l.Mailbox != t.MailboxKey:
		return name("mailbox", l.Mailbox, t.MailboxKey)
	case l.Told && l.MaxAttempts != t.MaxAttempts:
		return name("maxAttempts", l.MaxAttempts, t.MaxAttempts)
	case l.Told && l.Strikes >= 0 && l.Strikes < t.Strikes:
		return name("failed runs", l.Strikes, t.Strikes)
	case !settled && t.Attempt > l.Attempt:
		return name("attempt", l.Attempt, t.Attempt)
	case !settled:
		return ""
	case l.Status != t.Status:
		return name("status", l.Status, t.Status)
	case l.Attempt != t.Attempt:
		return name("attempt", l.Attempt, t.Attempt)
	case !l.Blind && l.Started != t.StartedAt.Micro():
		return name("start time", park.FromMicro(l.Started), t.StartedAt)
	case !l.Blind && l.Node != t.Node:
		return name("node", l.Node, t.Node)
	case l.Told && l.Strikes >= 0 && l.Strikes != t.Strikes:
		return name("failed runs", l.Strikes, t.Strikes)
	case l.Told && l.NotBefore >= 0 && l.NotBefore != t.NotBefore.Micro():
		return name("rest until", park.FromMicro(l.NotBefore), t.NotBefore)
	case l.Told && l.Asked != t.Cancelled:
		return name("a request to stop", l.Asked, t.Cancelled)
	case l.Reason != t.Reason:
		return name("reason", fmt.Sprintf("%q", l.Reason), fmt.Sprintf("%q", t.Reason))
	}
	return ""
}

// checkDue compares a task with the mailboxes.
func (c *comparison) checkDue(t *park.KeptTask) {
	found := 0
	for _, m := range c.mail[t.TaskID] {
		if m.CreatedAt.Micro() == t.EndedAt.Micro() {
			found++
		}
	}
	rev := c.revOf(t.TaskID, t.EndedAt)
	late := c.modeOfMessage(t.EndedAt.Micro()) == late && (rev > c.rev || t.EndedAt.Micro() >= c.comparable.outboxSince)
	switch {
	case found > 1:
		c.offend(RuleMail, rev, t.TaskID, "left %d messages", found)
	case found == 0 && !late && t.EndedAt.Micro() >= max(c.kept, c.sent):
		c.offend(RuleMail, rev, t.TaskID, "is %s and left no message in mailbox %s/%s", t.Status, t.Tenant, t.MailboxKey)
	}
}

// checkMessages compares the messages of a task with it.
func (c *comparison) checkMessages(mail []park.KeptMessage) {
	for i := range mail {
		m := &mail[i]
		t, ok := c.awaitingMessage[m.TaskID]
		rev := c.revOf(m.TaskID, m.CreatedAt)
		if !ok && m.CreatedAt.Micro() < c.kept {
			continue
		}
		if !ok || t.EndedAt.Micro() != m.CreatedAt.Micro() {
			c.offend(RuleMail, rev, m.TaskID, "a message in mailbox %s/%s says that it is %s since %s, and no task is that leaves one there",
				m.Tenant, m.MailboxKey, m.Status, m.CreatedAt)
			continue
		}
		want := due(&t)
		if d := messageDiff(&want, m); d != "" {
			c.offend(RuleMail, rev, m.TaskID, "%s", d)
		}
	}
}

func messageDiff(want, got *park.KeptMessage) string {
	switch {
	case want.Tenant != got.Tenant || want.MailboxKey != got.MailboxKey:
		return fmt.Sprintf("has its message in mailbox %s/%s instead of %s/%s", got.Tenant, got.MailboxKey, want.Tenant, want.MailboxKey)
	case want.Status != got.Status || want.Attempt != got.Attempt:
		return fmt.Sprintf("is %s in attempt %d, but its message says %s in attempt %d", want.Status, want.Attempt, got.Status, got.Attempt)
	case got.Trimmed && got.Said != 0:
		return "has a message that its client has removed, and what it said is there still"
	case got.Trimmed && got.Reason == "": // not every store keeps it
		return ""
	case want.Reason != got.Reason:
		return fmt.Sprintf("ended for %q, but its message says %q", want.Reason, got.Reason)
	case want.Said != got.Said && !got.Trimmed:
		return "has another message or payload in its mailbox than the task itself"
	}
	return ""
}

// revOf returns the rev of a task's end; 0 if it is not known.
func (c *comparison) revOf(task string, ended park.Time) int64 {
	for _, l := range c.collector.ended[task] {
		if l.Ended == ended.Micro() {
			return l.Rev
		}
	}
	return 0
}

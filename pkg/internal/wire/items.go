package wire

import "github.com/parkd-dev/parkd/pkg/park"

// The items of pages, field by field. The fields must be read in the order in which they are written.

// PutEvent writes an event without its pool and id.
func PutEvent(w *Writer, e *park.Event) {
	w.at(e.At)
	w.int(e.Rev)
	w.uint(uint64(e.Ord))
	w.name(string(e.Action))
	w.text(e.TaskID)
	w.name(e.Tenant)
	w.int(e.Units)
	w.int(int64(e.Attempt))
	w.name(e.Node)
	w.text(string(e.Detail))
}

// GetEvent reads an event.
func GetEvent(r *Reader, e *park.Event) {
	e.At, e.Rev, e.Ord, e.Action = r.at(), r.int(), int(r.uint()), park.Action(r.name())
	e.TaskID, e.Tenant, e.Units, e.Attempt, e.Node = r.text(), r.name(), r.int(), int(r.int()), r.name()
	if b := r.bytes(); len(b) > 0 {
		e.Detail = b
	}
}

// PutTask writes a task.
func PutTask(w *Writer, t *park.KeptTask) {
	w.text(t.TaskID)
	w.name(t.Tenant)
	w.name(t.MailboxKey)
	w.name(string(t.Status))
	w.int(int64(t.Priority))
	w.int(t.Units)
	w.int(t.Rank)
	w.int(int64(t.Attempt))
	w.int(int64(t.Strikes))
	w.int(int64(t.MaxAttempts))
	w.name(t.Node)
	w.name(t.Reason)
	w.at(t.SubmittedAt)
	w.at(t.StartedAt)
	w.at(t.EndedAt)
	w.at(t.Deadline)
	w.at(t.NotBefore)
	w.flag(t.Cancelled)
	w.uint(t.Said)
}

// GetTask reads a task.
func GetTask(r *Reader, t *park.KeptTask) {
	t.TaskID, t.Tenant, t.MailboxKey, t.Status = r.text(), r.name(), r.name(), park.Status(r.name())
	t.Priority, t.Units, t.Rank, t.Attempt, t.Strikes, t.MaxAttempts = park.Priority(r.int()), r.int(), r.int(), int(r.int()), int(r.int()), int(r.int())
	t.Node, t.Reason, t.SubmittedAt, t.StartedAt, t.EndedAt, t.Deadline = r.name(), r.name(), r.at(), r.at(), r.at(), r.at()
	t.NotBefore, t.Cancelled, t.Said = r.at(), r.flag(), r.uint()
}

// PutMessage writes a message.
func PutMessage(w *Writer, m *park.KeptMessage) {
	w.text(m.TaskID)
	w.name(m.Tenant)
	w.name(m.MailboxKey)
	w.name(string(m.Status))
	w.int(int64(m.Attempt))
	w.name(m.Reason)
	w.at(m.CreatedAt)
	w.flag(m.Trimmed)
	w.uint(m.Said)
}

// GetMessage reads a message.
func GetMessage(r *Reader, m *park.KeptMessage) {
	m.TaskID, m.Tenant, m.MailboxKey, m.Status, m.Attempt = r.text(), r.name(), r.name(), park.Status(r.name()), int(r.int())
	m.Reason, m.CreatedAt, m.Trimmed, m.Said = r.name(), r.at(), r.flag(), r.uint()
}

package lot

import (
	"strconv"
	"time"
	"unique"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

// The details of events have what a reader of the log needs to check the scheduler's decisions. The detail of a submission
// always has the priority. So a submission without a detail was written by an older parkd.

// cachedDetail is a detail that most submissions of one owner share.
type cachedDetail struct {
	owner    unique.Handle[owner]
	priority park.Priority
	detail   []byte
}

// submissionDetail returns the detail of a submission. Callers must not change it.
func (l *Lot) submissionDetail(e *entry, s *ledger.Spec) []byte {
	cacheable := s.Deadline.IsZero() && s.Retry == park.Retry{}
	if t := &l.lastDetail; cacheable && t.detail != nil && t.owner == e.owner && t.priority == e.priority {
		return t.detail
	}
	var d details
	d.add("priority", []byte(strconv.Quote(e.priority.String())))
	if s.MailboxKey != "" {
		d.text("mailbox", s.MailboxKey)
	}
	if !s.Deadline.IsZero() {
		d.time("deadline", s.Deadline)
	}
	if s.Retry.MaxAttempts > 0 {
		d.add("maxAttempts", strconv.AppendInt(nil, int64(s.Retry.MaxAttempts), 10))
	}
	if cacheable {
		l.lastDetail = cachedDetail{owner: e.owner, priority: e.priority, detail: d.json()}
		return l.lastDetail.detail
	}
	return d.json()
}

// requeueDetail returns the detail of a requeue. failures is the number of runs that failed through the task's own fault,
// or 0 if this run did not. until is the end of the backoff.
func requeueDetail(reason string, failures int, until park.Time) []byte {
	var d details
	d.text("reason", reason)
	if failures > 0 {
		d.add("strike", strconv.AppendInt(nil, int64(failures), 10))
	}
	if !until.IsZero() {
		d.time("notBefore", until)
	}
	return d.json()
}

// earlyBy returns by how much a task starts before the end of its backoff by the wall clock. By the monotonic clock, which
// decides, the backoff is over: the wall clock was set back meanwhile.
func (l *Lot) earlyBy(e *entry) time.Duration {
	if e.retry == nil || e.retry.notBefore == 0 {
		return 0
	}
	return max(0, time.Duration(e.retry.notBefore-l.now.Wall.Micro())*time.Microsecond)
}

package lot

import (
	"strconv"
	"time"
	"unique"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

// What the log tells beside who did what: that by which a reader can say whether it was right. A submission tells always
// of its priority, so that one that tells of nothing is known to be of a parkd before this.

// cachedDetail is the detail of most submissions of one owner, which differ in nothing that is told.
type cachedDetail struct {
	owner    unique.Handle[owner]
	priority park.Priority
	detail   []byte
}

// submissionDetail returns the detail of a submission, which nobody may change.
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

// requeueDetail returns the detail of a requeue. strike counts the runs of a task that went wrong through its own fault and
// is 0 where this one did not; until is the end of its rest.
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

// earlyBy returns by how much a task starts before the wall clock says that its rest is over, which it is by the monotonic
// clock: the wall clock was set back meanwhile.
func (l *Lot) earlyBy(e *entry) time.Duration {
	if e.retry == nil || e.retry.notBefore == 0 {
		return 0
	}
	return max(0, time.Duration(e.retry.notBefore-l.now.Wall.Micro())*time.Microsecond)
}

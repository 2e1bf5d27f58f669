package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

// A pool's queue, its mailbox and the audit log may be in stores of which one outlives the other: a queue in memory goes
// with its daemon, and any may be put back to a backup. The log knows an event by the pool, its rev and its place, so a
// pool that began at rev 1 again would have its events taken for those of its former life. Hence a pool goes on after
// whatever the log holds of it, and its first event then tells who reads the log that the tasks before are gone.
//
// A mailbox knows a message by the pool, the task and the time of its end, which no two lives of an id share.

// The last step of a pool that was moved past the log's last rev and has not said so yet.
const (
	skippedTasksLost  = "lifted: tasks lost"
	skippedTasksOlder = "lifted: tasks older"
)

// errLogUnread says that it is not known where a pool goes on.
var errLogUnreadable = errors.New("the audit log cannot be read")

// logged is the end of a pool's log.
type logEnd struct {
	rev int64
	at  park.Time
}

// lastLogged asks the log how far it goes, once in the pool's life here. Where the log is in another store that comes
// before the queue is looked at: what the log has the queue had before.
func (l *loop) readLogEnd(ctx context.Context) (end logEnd, err error) {
	if end.rev, end.at, err = l.eng.audit.LastRev(ctx, l.ID); err != nil {
		return end, fmt.Errorf("%w: %w", errLogUnreadable, err)
	}
	return end, nil
}

// overtaken reports how far the log goes, and whether that is further than the queue: that was lost, or put back. A log
// in the queue's store is put back with it, but may be of a time when the pool's queue was elsewhere.
func (l *loop) logIsAhead(ctx context.Context, row ledger.Pool, end logEnd, logErr error) (logEnd, bool, error) {
	if l.pastLogEnd {
		return end, false, nil
	}
	if l.localAudit && row.Rev == 0 {
		end, logErr = l.readLogEnd(ctx)
	}
	switch {
	case logErr != nil && row.Rev == 0:
		return end, false, logErr
	case logErr != nil:
		// Only a queue that was put back would have to know, and whoever does that is told to stop all daemons.
		l.eng.log.Warn("audit log not compared with the queue", "pool", l.ID, "error", logErr)
		return end, false, nil
	}
	l.pastLogEnd = row.Rev >= end.rev
	return end, !l.pastLogEnd, nil
}

// lift moves the pool in its store past the log's end.
func (l *loop) skipToLogEnd(ctx context.Context, row ledger.Pool, end logEnd) error {
	reason := skippedTasksOlder
	if row == (ledger.Pool{}) {
		row, reason = l.initialRow(), skippedTasksLost
	}
	l.eng.log.Warn("the queue knows less than the audit log: its tasks of before are gone, and its steps go on after those of the log",
		"pool", l.ID, "rev", row.Rev, "logged", end.rev)
	row.Rev, row.LastAt, row.LastStep = end.rev, end.at, reason
	return l.queue.Lift(ctx, l.ID, row)
}

// resumes has the lot's next step tell that the pool was lifted, where that was not told yet.
func (l *loop) announceSkip() {
	if l.initialized {
		return
	}
	switch l.lot.Row().LastStep {
	case skippedTasksLost:
		l.lot.Resume(lot.TasksLost)
	case skippedTasksOlder:
		l.lot.Resume(lot.TasksOlder)
	}
}

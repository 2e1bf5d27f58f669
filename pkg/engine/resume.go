package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

// A pool's queue, its mailbox and the audit log may be in different stores, of which one outlives another: a queue in
// memory is lost with its daemon, and any store may be restored from a backup. The log identifies an event by the pool,
// its rev and its number, so events of a pool that began at rev 1 again would be taken for those of its former life.
// Hence a pool continues after the last rev in the log, and its first event then records that the tasks before it are
// lost.
//
// A mailbox identifies a message by the pool, the task and the time of the task's end, which no two uses of an id
// share.

// LastStep of a pool that was moved past the log's last rev and has not recorded that yet.
const (
	skippedTasksLost  = "lifted: tasks lost"
	skippedTasksOlder = "lifted: tasks older"
)

// errLogUnreadable means that it is not known where a pool has to continue.
var errLogUnreadable = errors.New("the audit log cannot be read")

// logEnd is the last event of a pool in the log.
type logEnd struct {
	rev int64
	at  park.Time
}

// readLogEnd reads the end of the pool's log, once per engine. If the log is in another store, that must happen before
// the queue is read: the queue had each event before the log.
func (l *loop) readLogEnd(ctx context.Context) (end logEnd, err error) {
	if end.rev, end.at, err = l.eng.audit.LastRev(ctx, l.ID); err != nil {
		return end, fmt.Errorf("%w: %w", errLogUnreadable, err)
	}
	return end, nil
}

// logIsAhead returns the end of the log, and whether it is ahead of the queue: then the queue was lost or restored from
// a backup. A log in the queue's store is restored with it, but may date from a time when the pool's queue was
// elsewhere.
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
		// It matters only for a queue restored from a backup, and before a restore all daemons have to be stopped.
		l.eng.log.Warn("audit log not compared with the queue", "pool", l.ID, "error", logErr)
		return end, false, nil
	}
	l.pastLogEnd = row.Rev >= end.rev
	return end, !l.pastLogEnd, nil
}

// skipToLogEnd moves the pool in its store past the end of the log.
func (l *loop) skipToLogEnd(ctx context.Context, row ledger.Pool, end logEnd) error {
	reason := skippedTasksOlder
	if row == (ledger.Pool{}) {
		row, reason = l.initialRow(), skippedTasksLost
	}
	l.eng.log.Warn("the queue is behind the audit log: its earlier tasks are lost, and its steps continue after those in the log",
		"pool", l.ID, "rev", row.Rev, "logged", end.rev)
	row.Rev, row.LastAt, row.LastStep = end.rev, end.at, reason
	return l.queue.AdvanceRev(ctx, l.ID, row)
}

// announceSkip has the lot's next step record that the pool was moved, unless that is recorded.
func (l *loop) announceSkip() {
	if l.initialized {
		return
	}
	switch l.lot.Row().LastStep {
	case skippedTasksLost:
		l.lot.RecordResume(lot.TasksLost)
	case skippedTasksOlder:
		l.lot.RecordResume(lot.TasksOlder)
	}
}

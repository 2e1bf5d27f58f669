package engine

// What others may see of a pool's state.

import (
	"fmt"
	"time"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

// startsHeld reports whether this node must not start tasks of the pool now.
func (l *loop) startsHeld() bool {
	return l.drained != nil || l.activeRuns.stopCause() != nil || l.Idle || l.node != nil && !l.Runtime.Leased() && !l.node.Alive()
}

// publish updates what clients may see of the pool.
func (l *loop) publish() {
	row := l.lot.Row()
	l.rev.Store(row.Rev)
	l.oldestParked.Store(l.lot.OldestSubmission().Micro())
	l.runningHere.Store(int64(len(l.runs)))
	v := &park.Pool{
		PoolID: l.ID, Kind: l.Kind, MaxUnits: row.MaxUnits, UsedUnits: row.Used, MaxQueueDepth: row.MaxQueueDepth,
		QueueDepth: row.Queued, Running: l.lot.Running(), State: row.State,
		DefaultTimeoutSecs: int64(l.DefaultTimeout / time.Second), QueueBackend: l.QueueBackend.Kind(),
		MailboxBackend: l.MailboxBackend.Kind(), Runtime: l.Runtime, Executor: l.Pool.PoolSpec.Executor,
	}
	v.StartsDeferred = l.limiter.deferral()
	if l.halted != nil {
		v.Halted = l.halted.Error()
	}
	l.view.Store(v)
}

// tooLargeWarning describes parked tasks that cost more than the pool has; "" if there are none.
func (l *loop) tooLargeWarning() string {
	n, largest := l.lot.TooLarge()
	if n == 0 {
		return ""
	}
	tasks := "1 parked task costs"
	if n > 1 {
		tasks = fmt.Sprintf("%d parked tasks cost", n)
	}
	return fmt.Sprintf("%s more than the %d units of pool %s (the largest costs %d): they wait until the pool has more, and others start before them",
		tasks, l.lot.Row().MaxUnits, l.ID, largest)
}

// waitingReason returns why a parked task cannot start; nil if there is nothing special.
func (l *loop) waitingReason(r *ledger.Record) *park.Waiting {
	units := l.lot.Row().MaxUnits
	if r.Units <= units {
		return nil
	}
	return &park.Waiting{Code: park.WaitsLarger, Message: fmt.Sprintf(
		"the task costs %d units, but pool %s has %d: it starts once the pool has %[1]d again", r.Units, l.ID, units)}
}

// countExecuting counts the runs whose executors have not returned.
func (l *loop) countExecuting() (n int) {
	for _, r := range l.runs {
		if !r.returned {
			n++
		}
	}
	return n
}

// retryAfter estimates when a full queue has room again: when the next of the running tasks ends.
func (l *loop) retryAfter() time.Duration {
	mean := l.runTime.mean
	if mean == 0 {
		mean = min(l.DefaultTimeout, time.Minute)
	}
	if l.lot.Row().State == park.Paused {
		return time.Minute
	}
	return min(max(mean/time.Duration(max(1, l.lot.Running())), time.Second), 10*time.Minute)
}

// durationEWMA is a moving average of run times.
type durationEWMA struct{ mean time.Duration }

func (a *durationEWMA) add(d time.Duration) {
	if a.mean == 0 {
		a.mean = d
	}
	a.mean += (d - a.mean) / 16
}

// deferral returns what clients may see of the limit.
func (b *startLimiter) deferral() *park.Deferral {
	if b.shortage == nil {
		return nil
	}
	return &park.Deferral{Reason: b.shortage.Reason, Message: b.shortage.Error(), Since: b.since}
}

package engine

import (
	"cmp"
	"slices"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/park"
)

// Deferred starts. If an executor cannot begin a run for want of descriptors, memory, processes or disk, it says so
// (see [park.PutOff]), and the task goes back to the front of its class. The next task would fail the same way, so this
// node starts none of the pool's tasks for a while. Then it tries one, and more and more as long as none comes back. If
// a probe comes back too, the delay doubles.

const (
	minDeferral = 100 * time.Millisecond
	maxDeferral = 30 * time.Second
	// probeWindow is how long the node waits for probes to come back.
	probeWindow = 200 * time.Millisecond
	probeGrowth = 4
	// maxProbes is the number of starts per window from which there is no limit.
	maxProbes = 256
)

// startLimiter limits the starts of a pool on this node. The zero value has no limit.
type startLimiter struct {
	shortage   *park.ShortageError // the reason; nil: no limit
	since      park.Time
	delay      time.Duration // how long nothing is started, as of the last shortage
	until      time.Duration // end of the delay or of the window, by the monotonic clock
	window     int           // starts per window; 0 during the delay
	windowLeft int           // starts left in the window
}

// recordShortage notes that a start came back. Runs that began together come back together, and count once.
func (b *startLimiter) recordShortage(s *park.ShortageError, now lot.Instant) (changed bool) {
	changed = b.shortage == nil || b.shortage.Reason != s.Reason
	if b.shortage == nil {
		b.since, b.delay = now.Wall, 0
	}
	if b.window > 1 {
		b.delay = 0 // some probes had enough: the next tasks can start when those end
	}
	if b.shortage == nil || b.window > 0 {
		b.delay = min(max(2*b.delay, minDeferral), maxDeferral)
		b.until = now.Mono + b.delay
	}
	b.shortage, b.window, b.windowLeft = s, 0, 0
	return changed
}

// allowed returns how many tasks may start now, and whether the limit was lifted just now. A negative number means any
// number.
func (b *startLimiter) allowed(now time.Duration) (starts int, lifted bool) {
	if b.shortage == nil {
		return -1, false
	}
	// A window without a start proves nothing.
	if now >= b.until && (b.window == 0 || b.windowLeft < b.window) {
		if b.window *= probeGrowth; b.window > maxProbes {
			*b = startLimiter{}
			return -1, true
		}
		b.window = max(b.window, 1)
		b.windowLeft, b.until = b.window, now+probeWindow
	}
	return b.windowLeft, false
}

// nextChange returns when the result of allowed may change by time alone.
func (b *startLimiter) nextChange() (at time.Duration, ok bool) {
	return b.until, b.shortage != nil && (b.window == 0 || b.windowLeft < b.window)
}

// recordShortages notes the starts of a batch that came back. It moves their requests to the end of the batch, in
// reverse order: each requeue puts its task at the front, so the first task ends up first again.
func (l *loop) recordShortages(batch []message) {
	rank := make(map[message]int64) // of the tasks whose starts came back
	for _, m := range batch {
		r, ok := m.(*report)
		if !ok || r.shortage == nil {
			continue
		}
		s, _, _ := l.lot.State(r.run.task)
		rank[m] = s.Rank
		l.eng.meter.StartDeferred(l.ID, r.shortage.Reason)
		if l.limiter.recordShortage(r.shortage, l.eng.env.Instant()) {
			l.eng.log.Warn("starts deferred: this machine is short of resources", "pool", l.ID, "reason", r.shortage.Reason, "error", r.shortage)
		}
		r.shortage = nil // it counts once, however often the step is tried
	}
	if len(rank) == 0 {
		return
	}
	slices.SortStableFunc(batch, func(a, b message) int {
		rankA, deferredA := rank[a]
		rankB, deferredB := rank[b]
		if deferredA && deferredB {
			return cmp.Compare(rankB, rankA)
		}
		return cmp.Compare(btoi(deferredA), btoi(deferredB))
	})
	l.publish()
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// quota returns how many tasks the next step may start.
func (l *loop) quota(now time.Duration) int {
	starts, lifted := l.limiter.allowed(now)
	if lifted {
		l.eng.log.Info("starts resumed", "pool", l.ID)
		l.publish()
	}
	return starts
}

package engine

import (
	"cmp"
	"slices"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/park"
)

// Starts that are put off. An executor that could not begin a run for want of descriptors, memory, processes or disk says so
// (see [park.PutOff]), and the task goes back to the front of its class. Were the next one started at once it would fare
// the same, so this node then starts none of the pool's tasks for a while; after that it tries with one, and with more and
// more as long as none comes back. The while doubles if that one comes back too.

const (
	minDeferral = 100 * time.Millisecond
	maxDeferral = 30 * time.Second
	// probeWindow is how long the node watches what becomes of the starts that it tried.
	probeWindow = 200 * time.Millisecond
	probeGrowth = 4
	// enoughProbes is how many starts in a window are as good as any number.
	maxProbes = 256
)

// brake holds back the starts of a pool on this node. The zero value holds nothing back.
type startLimiter struct {
	shortage   *park.ShortageError // why; nil: starts go on
	since      park.Time
	delay      time.Duration // how long nothing is started, the last time
	until      time.Duration // by the monotonic clock, the end of that, or of the window
	window     int           // starts of the window; 0 while nothing is started
	windowLeft int
}

// struck notes that a start was put off. What was begun together comes back together, and counts once.
func (b *startLimiter) recordShortage(s *park.ShortageError, now lot.Instant) (changed bool) {
	changed = b.shortage == nil || b.shortage.Reason != s.Reason
	if b.shortage == nil {
		b.since, b.delay = now.Wall, 0
	}
	if b.window > 1 {
		b.delay = 0 // there was enough for some: the next come when those end
	}
	if b.shortage == nil || b.window > 0 {
		b.delay = min(max(2*b.delay, minDeferral), maxDeferral)
		b.until = now.Mono + b.delay
	}
	b.shortage, b.window, b.windowLeft = s, 0, 0
	return changed
}

// allows returns how many tasks may be started now, negative for any number, and whether it was now that starts go on.
func (b *startLimiter) allowed(now time.Duration) (starts int, over bool) {
	if b.shortage == nil {
		return -1, false
	}
	// A window in which nothing was tried says nothing.
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

// next returns when allows may say something else, if it does not by itself.
func (b *startLimiter) nextChange() (at time.Duration, ok bool) {
	return b.until, b.shortage != nil && (b.window == 0 || b.windowLeft < b.window)
}

// brakeFor takes note of the starts that a batch puts off, and puts their requests last, the first of them in order at the
// very end: as each comes to the front, that one is the first of all again.
func (l *loop) recordShortages(batch []message) {
	rank := make(map[message]int64) // of the tasks whose starts are put off
	for _, m := range batch {
		r, ok := m.(*report)
		if !ok || r.shortage == nil {
			continue
		}
		s, _, _ := l.lot.State(r.run.task)
		rank[m] = s.Rank
		l.eng.meter.StartDeferred(l.ID, r.shortage.Reason)
		if l.limiter.recordShortage(r.shortage, l.eng.env.Instant()) {
			l.eng.log.Warn("starts are put off: this machine lacks what they need", "pool", l.ID, "reason", r.shortage.Reason, "error", r.shortage)
		}
		r.shortage = nil // it counts once, however often the step has to be tried
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
	starts, over := l.limiter.allowed(now)
	if over {
		l.eng.log.Info("starts go on", "pool", l.ID)
		l.publish()
	}
	return starts
}

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
	firstDeferral = 100 * time.Millisecond
	lastDeferral  = 30 * time.Second
	// probeWindow is how long the node watches what becomes of the starts that it tried.
	probeWindow = 200 * time.Millisecond
	probeGrowth = 4
	// enoughProbes is how many starts in a window are as good as any number.
	enoughProbes = 256
)

// brake holds back the starts of a pool on this node. The zero value holds nothing back.
type brake struct {
	short *park.ShortageError // why; nil: starts go on
	since park.Time
	rest  time.Duration // how long nothing is started, the last time
	until time.Duration // by the monotonic clock, the end of that, or of the window
	most  int           // starts of the window; 0 while nothing is started
	left  int
}

// struck notes that a start was put off. What was begun together comes back together, and counts once.
func (b *brake) struck(s *park.ShortageError, now lot.Instant) (changed bool) {
	changed = b.short == nil || b.short.Reason != s.Reason
	if b.short == nil {
		b.since, b.rest = now.Wall, 0
	}
	if b.most > 1 {
		b.rest = 0 // there was enough for some: the next come when those end
	}
	if b.short == nil || b.most > 0 {
		b.rest = min(max(2*b.rest, firstDeferral), lastDeferral)
		b.until = now.Mono + b.rest
	}
	b.short, b.most, b.left = s, 0, 0
	return changed
}

// allows returns how many tasks may be started now, negative for any number, and whether it was now that starts go on.
func (b *brake) allows(now time.Duration) (starts int, over bool) {
	if b.short == nil {
		return -1, false
	}
	// A window in which nothing was tried says nothing.
	if now >= b.until && (b.most == 0 || b.left < b.most) {
		if b.most *= probeGrowth; b.most > enoughProbes {
			*b = brake{}
			return -1, true
		}
		b.most = max(b.most, 1)
		b.left, b.until = b.most, now+probeWindow
	}
	return b.left, false
}

// next returns when allows may say something else, if it does not by itself.
func (b *brake) next() (at time.Duration, ok bool) {
	return b.until, b.short != nil && (b.most == 0 || b.left < b.most)
}

// brakeFor takes note of the starts that a batch puts off, and puts their requests last, the first of them in order at the
// very end: as each comes to the front, that one is the first of all again.
func (l *loop) brakeFor(batch []message) {
	rank := make(map[message]int64) // of the tasks whose starts are put off
	for _, m := range batch {
		r, ok := m.(*report)
		if !ok || r.short == nil {
			continue
		}
		s, _, _ := l.lot.State(r.run.task)
		rank[m] = s.Rank
		l.eng.meter.Deferred(l.ID, r.short.Reason)
		if l.brake.struck(r.short, l.eng.env.Instant()) {
			l.eng.log.Warn("starts are put off: this machine lacks what they need", "pool", l.ID, "reason", r.short.Reason, "error", r.short)
		}
		r.short = nil // it counts once, however often the step has to be tried
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
	l.show()
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// quota returns how many tasks the next step may start.
func (l *loop) quota(now time.Duration) int {
	starts, over := l.brake.allows(now)
	if over {
		l.eng.log.Info("starts go on", "pool", l.ID)
		l.show()
	}
	return starts
}

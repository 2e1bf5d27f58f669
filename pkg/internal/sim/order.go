package sim

import (
	"fmt"
	"math"
	"slices"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

// queue is the order of a pool's parked tasks, computed from its events in the simplest way.
type queue struct {
	classes [4][]queued // by priority from low to critical, each by rank
}

// queued is a parked task.
type queued struct {
	id        string
	units     int64
	rank      int64
	notBefore park.Time // it must not start before; zero: it may start at any time
}

// mayWait reports whether a task may still have to wait, by the clock of some node. certain is before now on all
// clocks, zero if that is unknown.
func (w *queued) mayWait(sure park.Time) bool {
	return !w.notBefore.IsZero() && (sure.IsZero() || w.notBefore.After(sure.Time))
}

func newQueue() *queue { return &queue{} }

func class(t *taskLife) int { return int(t.spec.Priority - park.Low) }

// queueEvent is an event for a queue: with the row of its task after the step, whether a run counts as an attempt, the
// pool's units, and a time that is certainly past.
type queueEvent struct {
	*park.Event
	row       *ledger.State
	counted   bool
	notBefore park.Time
	units     int64
	certain   park.Time
}

// apply applies an event of a pool, and returns what is wrong with it.
func (q *queue) apply(e queueEvent, t *taskLife) string {
	switch e.Action {
	case park.ActEnqueue:
		return q.enter(e, t, false)
	case park.ActRequeue:
		return q.enter(e, t, !e.counted)
	case park.ActStart:
		why := q.checkOvertaking(e, t)
		q.leave(t)
		return why
	case park.ActExpire, park.ActCancel, park.ActComplete, park.ActFail:
		q.leave(t)
	default: // not about a parked task
	}
	return ""
}

func (q *queue) leave(t *taskLife) {
	k := class(t)
	q.classes[k] = slices.DeleteFunc(q.classes[k], func(o queued) bool { return o.id == t.id })
}

// enter parks a task: first in its class if its node or worker was lost, last if it is new or retried. If it is still
// parked after the step, its place is that of its rank.
func (q *queue) enter(e queueEvent, t *taskLife, first bool) string {
	k := &q.classes[class(t)]
	low, high, rested := int64(math.MaxInt64), int64(math.MinInt64), int64(math.MaxInt64)
	for i := range *k {
		o := &(*k)[i]
		high, rested = max(high, o.rank), min(rested, o.rank)
		if o.notBefore.IsZero() {
			low = min(low, o.rank)
		}
	}
	w := queued{id: t.id, units: t.spec.Units, notBefore: e.notBefore}
	known := e.row.Status == park.Queued
	switch {
	case known:
		w.rank = e.row.Rank
	case first && rested != math.MaxInt64:
		w.rank = rested - 1
	case high != math.MinInt64:
		w.rank = high + 1
	}
	why := ""
	switch {
	case !known || len(*k) == 0:
	case first && low != math.MaxInt64 && w.rank > low:
		why = fmt.Sprintf("task %s was lost and is not the first of its class: its rank is %d, and another's %d", t.id, w.rank, low)
	case !first && w.rank <= high:
		why = fmt.Sprintf("task %s is not the last of its class: its rank is %d, and another's %d", t.id, w.rank, high)
	}
	at, taken := slices.BinarySearchFunc(*k, w.rank, func(o queued, rank int64) int { return int(max(min(o.rank-rank, 1), -1)) })
	if taken && why == "" && known {
		why = fmt.Sprintf("task %s has the rank %d, which task %s has", t.id, w.rank, (*k)[at].id)
	}
	*k = slices.Insert(*k, at, w)
	return why
}

// checkOvertaking returns which task is overtaken by one that starts. Tasks that cost more than the pool has, or that
// have to wait, may be overtaken.
func (q *queue) checkOvertaking(e queueEvent, t *taskLife) string {
	for k := len(q.classes) - 1; k >= class(t); k-- {
		for i := range q.classes[k] {
			o := &q.classes[k][i]
			if o.id == t.id {
				return ""
			}
			if o.units <= e.units && !o.mayWait(e.certain) {
				return fmt.Sprintf("task %s (%s) starts before %s, which waits in class %s", t.id, t.spec.Priority, o.id, park.Priority(k)+park.Low)
			}
		}
	}
	return ""
}

// position returns the range of a parked task's position, from 1. Tasks that have to wait are not counted for certain.
func (q *queue) position(t *taskLife, sure park.Time) (low, high int64) {
	for k := len(q.classes) - 1; k >= class(t); k-- {
		for i := range q.classes[k] {
			o := &q.classes[k][i]
			high++
			if !o.mayWait(sure) && (o.notBefore.IsZero() || !sure.IsZero()) {
				low++
			}
			if o.id == t.id {
				return low, high
			}
		}
	}
	return low, high
}

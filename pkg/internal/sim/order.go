package sim

import (
	"fmt"
	"math"
	"slices"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

// queue is the order of a pool's parked tasks, worked out from its events in the plainest way.
type queue struct {
	classes [4][]waiter // by priority from low to critical, each by rank
}

// waiter is a parked task.
type waiter struct {
	id    string
	units int64
	rank  int64
	rest  park.Time // it may not start before; zero: at any time
}

// rests reports whether a task may still rest, on the clock of some node: sure is before now on all of them, zero where nobody
// knows.
func (w *waiter) rests(sure park.Time) bool {
	return !w.rest.IsZero() && (sure.IsZero() || w.rest.After(sure.Time))
}

func newQueue() *queue { return &queue{} }

func class(t *tale) int { return int(t.spec.Priority - park.Low) }

// turn is an event in the order of a queue: what the row of its task is after the step, whether a run counted against the
// task's attempts, the units of the pool, and the time before which rests are over for sure.
type turn struct {
	*park.Event
	row     *ledger.State
	counted bool
	rest    park.Time
	units   int64
	sure    park.Time
}

// play follows an event of a pool, and says what was wrong with it.
func (q *queue) play(e turn, t *tale) string {
	switch e.Action {
	case park.ActEnqueue:
		return q.enter(e, t, false)
	case park.ActRequeue:
		return q.enter(e, t, !e.counted)
	case park.ActStart:
		why := q.start(e, t)
		q.leave(t)
		return why
	case park.ActExpire, park.ActCancel, park.ActComplete, park.ActFail:
		q.leave(t)
	default: // of no parked task
	}
	return ""
}

func (q *queue) leave(t *tale) {
	k := class(t)
	q.classes[k] = slices.DeleteFunc(q.classes[k], func(o waiter) bool { return o.id == t.id })
}

// enter parks a task: first in its class if it was lost, last if it is new or tried again. Its place is that of its rank, if
// it is still parked after the step.
func (q *queue) enter(e turn, t *tale, first bool) string {
	k := &q.classes[class(t)]
	low, high, rested := int64(math.MaxInt64), int64(math.MinInt64), int64(math.MaxInt64)
	for i := range *k {
		o := &(*k)[i]
		high, rested = max(high, o.rank), min(rested, o.rank)
		if o.rest.IsZero() {
			low = min(low, o.rank)
		}
	}
	w := waiter{id: t.id, units: t.spec.Units, rest: e.rest}
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
	at, taken := slices.BinarySearchFunc(*k, w.rank, func(o waiter, rank int64) int { return int(max(min(o.rank-rank, 1), -1)) })
	if taken && why == "" && known {
		why = fmt.Sprintf("task %s has the rank %d, which task %s has", t.id, w.rank, (*k)[at].id)
	}
	*k = slices.Insert(*k, at, w)
	return why
}

// start says whom a task overtakes that starts. Those that cost more than the pool has may be overtaken, and those that rest.
func (q *queue) start(e turn, t *tale) string {
	for k := len(q.classes) - 1; k >= class(t); k-- {
		for i := range q.classes[k] {
			o := &q.classes[k][i]
			if o.id == t.id {
				return ""
			}
			if o.units <= e.units && !o.rests(e.sure) {
				return fmt.Sprintf("task %s (%s) starts before %s, which waits in class %s", t.id, t.spec.Priority, o.id, park.Priority(k)+park.Low)
			}
		}
	}
	return ""
}

// position returns between which a parked task's place is, counted from 1: those that rest have none.
func (q *queue) position(t *tale, sure park.Time) (low, high int64) {
	for k := len(q.classes) - 1; k >= class(t); k-- {
		for i := range q.classes[k] {
			o := &q.classes[k][i]
			high++
			if !o.rests(sure) && (o.rest.IsZero() || !sure.IsZero()) {
				low++
			}
			if o.id == t.id {
				return low, high
			}
		}
	}
	return low, high
}

package sim

import (
	"fmt"
	"slices"

	"github.com/parkd-dev/parkd/pkg/park"
)

// queue is the order of a pool's parked tasks, worked out from its events in the plainest way.
type queue struct {
	classes [4][]string // by priority from low to critical
	// loose are those whose place is not followed: they rest for a backoff, or have done so.
	loose map[string]bool
	costs map[string]int64
}

func newQueue() *queue { return &queue{loose: make(map[string]bool), costs: make(map[string]int64)} }

func class(j *job) int { return int(j.sub.Priority - park.Low) }

// play follows an event of a pool that has so many units, and says what was wrong with it.
func (q *queue) play(e *park.Event, j *job, units int64) string {
	if j == nil {
		return ""
	}
	q.costs[e.TaskID] = e.Units
	switch e.Action {
	case park.ActEnqueue:
		q.classes[class(j)] = append(q.classes[class(j)], e.TaskID)
	case park.ActRequeue:
		q.requeue(e, j)
	case park.ActStart:
		why := q.start(e.TaskID, j, units)
		q.leave(e.TaskID, j)
		return why
	case park.ActExpire, park.ActCancel, park.ActComplete, park.ActFail:
		q.leave(e.TaskID, j)
	default: // of no parked task
	}
	return ""
}

func (q *queue) leave(id string, j *job) {
	k := class(j)
	q.classes[k] = slices.DeleteFunc(q.classes[k], func(o string) bool { return o == id })
	delete(q.loose, id)
}

// requeue puts a task back: first in its class if it was lost, last if it is tried again.
func (q *queue) requeue(e *park.Event, j *job) {
	k := class(j)
	switch reasonOf(e) {
	case park.ReasonNodeLost, park.ReasonShutdown, park.ReasonStartDeferred:
		q.classes[k] = slices.Insert(q.classes[k], 0, e.TaskID)
	case park.ReasonWorkerLost:
		if j.sub.Retry.MaxAttempts > 0 {
			q.loose[e.TaskID] = true // first where its worker never got the lease, last where it lost it
			return
		}
		q.classes[k] = slices.Insert(q.classes[k], 0, e.TaskID)
	default:
		if j.sub.Retry.Backoff > 0 {
			q.loose[e.TaskID] = true
			return
		}
		q.classes[k] = append(q.classes[k], e.TaskID)
	}
}

// start says whom a task overtakes that starts. Those that cost more than the pool has may be overtaken.
func (q *queue) start(id string, j *job, units int64) string {
	if q.loose[id] {
		return ""
	}
	for k := len(q.classes) - 1; k >= class(j); k-- {
		for _, o := range q.classes[k] {
			if o == id {
				return ""
			}
			if q.costs[o] <= units {
				return fmt.Sprintf("task %s (%s) starts before %s, which waits in class %s", id, j.sub.Priority, o, park.Priority(k)+park.Low)
			}
		}
	}
	return ""
}

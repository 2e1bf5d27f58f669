package sim

import (
	"encoding/json"
	"maps"
	"time"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

// taskState is the state of a job's task in the database. After the task was pruned, the job may be submitted again
// under the same id, and so may another job.
type taskState struct {
	lives  int         // how many tasks it has had
	end    park.Action // of the current one; "" before its end
	pruned bool        // the task was pruned
}

// isLive reports whether the job has a task that has not ended.
func (j *job) isLive() bool { return j.state.lives > 0 && j.state.end == "" }

// row returns the task with the job's id, or nil.
func (b *database) row(j *job) *ledger.Record {
	if t := b.pools[j.pool]; t != nil {
		return t.tasks[j.storedID()]
	}
	return nil
}

// entered records a new task.
func (c *checker) entered(r *ledger.Record) {
	var w work
	if json.Unmarshal(r.Payload, &w) != nil || w.Job < 0 || w.Job >= len(c.jobs) {
		c.fail("payload", "task %s is of no job: %s", r.TaskID, r.Payload)
		return
	}
	j := c.jobs[w.Job]
	if j.sub.TaskID == "" && j.unnamed {
		j.sub.TaskID = r.TaskID
	}
	if j.sub.TaskID != park.ShownTaskID(r.TaskID) || j.pool != r.PoolID {
		c.fail("one task", "the task %s of job %d is in pool %s as %s also", j.sub.TaskID, w.Job, r.PoolID, r.TaskID)
	}
	if o := c.known[r.TaskID]; o != nil {
		c.count("id used again")
	}
	c.known[r.TaskID], j.id = j, r.TaskID
	j.state = taskState{lives: j.state.lives + 1}
	// Attempts are counted anew for each task.
	maps.DeleteFunc(c.cancelled, func(r run, _ time.Duration) bool { return r.job == j.number })
	maps.DeleteFunc(c.cancelledAtStart, func(r run, _ bool) bool { return r.job == j.number })
}

// removed records that a task was pruned.
func (c *checker) removed(pool, id string) {
	c.count("pruned task")
	c.record(pruned{pool, id})
	c.known[id].state.pruned = true
}

// posted records a message for the judge.
func (c *checker) posted(m *park.Message) { c.record(messageStored{*m}) }

// follow updates the job of an event.
func (c *checker) follow(e *park.Event, j *job) {
	switch e.Action {
	case park.ActStart:
		r := run{j.number, e.Attempt}
		c.granted[r], c.startRevs[r] = c.now, e.Rev
		c.watchLeaseTimeout(e, j)
		return
	case park.ActComplete, park.ActFail, park.ActExpire, park.ActCancel:
	default:
		return
	}
	j.state.end = e.Action
}

// reasonOf returns the reason in an event's detail.
func reasonOf(e *park.Event) string {
	var d struct {
		Reason string `json:"reason"`
	}
	_ = json.Unmarshal(e.Detail, &d)
	return d.Reason
}

// child returns another submission like a job's: with the same id, or with none, but with work of its own.
func (h *history) child(j *job) *job {
	c := &job{sub: j.sub, pool: j.pool, work: j.work, unnamed: j.unnamed, givesUp: j.givesUp}
	h.addJob(c)
	return c
}

// addJob adds a job and sets its number.
func (h *history) addJob(j *job) {
	j.number = len(h.jobs)
	j.work.Job = j.number
	j.sub.Payload, _ = json.Marshal(j.work)
	h.jobs = append(h.jobs, j)
}

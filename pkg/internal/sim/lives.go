package sim

import (
	"encoding/json"
	"maps"
	"time"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

// fate is what became of a job in the database. A job whose task was pruned may have another life, with the same id, and
// so may another job.
type fate struct {
	born int         // lives so far
	end  park.Action // of the present one; "" before it
	gone bool        // the task was pruned
}

// lives reports whether the job has a task that has not ended.
func (j *job) lives() bool { return j.fate.born > 0 && j.fate.end == "" }

// row returns the task that has the job's id, or nil.
func (b *base) row(j *job) *ledger.Record {
	if t := b.pools[j.pool]; t != nil {
		return t.tasks[j.keptAs()]
	}
	return nil
}

// entered begins a job's life.
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
	j.fate = fate{born: j.fate.born + 1}
	// Runs are counted anew in each life.
	maps.DeleteFunc(c.cancelled, func(r run, _ time.Duration) bool { return r.job == j.number })
	maps.DeleteFunc(c.stillborn, func(r run, _ bool) bool { return r.job == j.number })
}

// removed notes that a task was pruned.
func (c *checker) removed(pool, id string) {
	c.count("pruned task")
	c.see(pruned{pool, id})
	c.known[id].fate.gone = true
}

// posted shows the judge a message as it comes to its mailbox.
func (c *checker) posted(m *park.Message) { c.see(posted{*m}) }

// follow notes what an event says of its job.
func (c *checker) follow(e *park.Event, j *job) {
	switch e.Action {
	case park.ActStart:
		r := run{j.number, e.Attempt}
		c.granted[r], c.begun[r] = c.now, e.Rev
		c.limitsLease(e, j)
		return
	case park.ActComplete, park.ActFail, park.ActExpire, park.ActCancel:
	default:
		return
	}
	j.fate.end = e.Action
}

// reasonOf returns the reason that an event's detail gives.
func reasonOf(e *park.Event) string {
	var d struct {
		Reason string `json:"reason"`
	}
	_ = json.Unmarshal(e.Detail, &d)
	return d.Reason
}

// child draws up another submission like a job's: with the same id, or with one that is yet to be made, but work of its own.
func (h *history) child(j *job) *job {
	c := &job{sub: j.sub, pool: j.pool, work: j.work, unnamed: j.unnamed, shy: j.shy}
	h.enlist(c)
	return c
}

// enlist gives a job its number.
func (h *history) enlist(j *job) {
	j.number = len(h.jobs)
	j.work.Job = j.number
	j.sub.Payload, _ = json.Marshal(j.work)
	h.jobs = append(h.jobs, j)
}

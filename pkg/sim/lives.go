package sim

import (
	"bytes"
	"encoding/json"
	"maps"
	"strconv"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// fate is what became of a job in the database. A job whose task was pruned may have another life, with the same id, and
// so may another job.
type fate struct {
	born   int         // lives so far
	end    park.Action // of the present one; "" before it
	gone   bool        // the task was pruned
	mail   *park.Message
	failed int // runs that count against the job's attempts
}

// lives reports whether the job has a task that has not ended.
func (j *job) lives() bool { return j.fate.born > 0 && j.fate.end == "" }

// made reports whether a result is that of the job's run.
func (j *job) made(b []byte, attempt int) bool {
	var r result
	return j != nil && json.Unmarshal(b, &r) == nil && r == result{j.sub.TaskID, attempt, j.number}
}

// row returns the task that has the job's id, or nil.
func (b *base) row(j *job) *park.Record {
	if t := b.pools[j.pool]; t != nil {
		return t.tasks[j.sub.TaskID]
	}
	return nil
}

// entered begins a job's life.
func (c *checker) entered(r *park.Record) {
	var w work
	if json.Unmarshal(r.Payload, &w) != nil || w.Job < 0 || w.Job >= len(c.jobs) {
		c.fail("payload", "task %s is of no job: %s", r.TaskID, r.Payload)
		return
	}
	j := c.jobs[w.Job]
	if j.sub.TaskID == "" && j.unnamed {
		j.sub.TaskID = r.TaskID
	}
	if j.sub.TaskID != r.TaskID || j.pool != r.PoolID {
		c.fail("one task", "the task %s of job %d is in pool %s as %s also", j.sub.TaskID, w.Job, r.PoolID, r.TaskID)
	}
	if o := c.known[r.TaskID]; o != nil {
		c.count("id used again")
	}
	c.known[r.TaskID] = j
	j.fate = fate{born: j.fate.born + 1}
	// Runs are counted anew in each life.
	maps.DeleteFunc(c.cancelled, func(r run, _ time.Duration) bool { return r.job == j.number })
	maps.DeleteFunc(c.stillborn, func(r run, _ bool) bool { return r.job == j.number })
}

// removed notes that a task was pruned.
func (c *checker) removed(_, id string) {
	c.count("pruned task")
	c.known[id].fate.gone = true
}

// posted checks a message as it comes to its mailbox.
func (c *checker) posted(m *park.Message) {
	j := c.known[m.TaskID]
	switch {
	case j == nil:
		c.fail("one message", "a message of task %s, which is not known", m.TaskID)
		return
	case j.fate.mail != nil:
		c.fail("one message", "task %s has a second message in %q", m.TaskID, m.Key)
	case m.Status == park.Completed && !j.made(m.Payload, m.Attempt):
		c.fail("one message", "task %s completed in run %d with the message %s", m.TaskID, m.Attempt, m.Payload)
	}
	j.fate.mail = m
}

// follow notes what an event says of its job.
func (c *checker) follow(e *park.Event, j *job) {
	switch e.Action {
	case park.ActStart:
		r := run{j.number, e.Attempt}
		c.granted[r], c.begun[r] = c.now, e.Rev
		return
	case park.ActRequeue:
		switch reasonOf(e) {
		case park.ReasonNodeLost, park.ReasonShutdown, park.ReasonStartDeferred:
		default:
			j.fate.failed++
		}
		return
	case park.ActFail:
		c.spent(e, j)
	case park.ActComplete, park.ActExpire, park.ActCancel:
	default:
		return
	}
	j.fate.end = e.Action
}

// spent checks that a task which fails for its exit status has had all its attempts: starts that were put off, and runs
// that were lost with their node, are none.
func (c *checker) spent(e *park.Event, j *job) {
	if n := j.fate.failed + 1; reasonOf(e) == park.ReasonExitNonzero && n < j.sub.Retry.MaxAttempts {
		c.fail("attempts", "task %s failed for good after %d failures of %d", e.TaskID, n, j.sub.Retry.MaxAttempts)
	}
}

// reasonOf returns the reason that an event's detail gives.
func reasonOf(e *park.Event) string {
	var d struct {
		Reason string `json:"reason"`
	}
	_ = json.Unmarshal(e.Detail, &d)
	return d.Reason
}

// inLife returns an event with ids that no other lives of their tasks have.
func (c *checker) inLife(e *park.Event) park.Event {
	l := *e
	l.TaskID = c.lifeOf(e.TaskID)
	var d struct {
		Cancel string `json:"cancel"`
	}
	if e.Action == park.ActUpdate && json.Unmarshal(e.Detail, &d) == nil && d.Cancel != "" {
		l.Detail = bytes.Replace(e.Detail, []byte(strconv.Quote(d.Cancel)), []byte(strconv.Quote(c.lifeOf(d.Cancel))), 1)
	}
	return l
}

func (c *checker) lifeOf(id string) string {
	j := c.known[id]
	if j == nil {
		return id
	}
	return id + "/" + strconv.Itoa(j.number) + "/" + strconv.Itoa(j.fate.born)
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

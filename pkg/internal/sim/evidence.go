package sim

import (
	"time"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// evidence is a piece of what a [judge] gets to see of a history, one after another: what was asked for, what was done, and what
// parkd made of it. A test may keep them, alter one, and hear what a judge says then.
type evidence struct {
	at   time.Duration // true time
	what any           // one of the following
}

// What was asked for.
type (
	// offered is a submission as its client hands it in, TaskID "" where the daemon is to make one.
	offered struct {
		job  int
		pool string
		sub  park.Submission
		work work
		bad  bool // nobody can take it
	}
	// cancels is somebody's wish that a task ends.
	cancels struct{ pool, id string }
	// patched is an operator's change of a pool, or that of a configuration file.
	patched struct {
		pool  string
		patch park.PoolPatch
	}
)

// What was done.
type (
	// outcome is how a run ended, as its executor or worker tells it, or that it has not begun for want of means.
	outcome struct {
		job, attempt int
		park.Outcome
		mended bool // what it says is for parkd to find words for
	}
	// givenBack is a lease whose worker could not begin the task.
	givenBack struct {
		pool, task string
		attempt    int
	}
	// beat is a sign of life of which its node has heard that it counted.
	beat struct {
		node string
		sent time.Duration
	}
	// counted is a sign of life as it came to the database.
	counted struct {
		node string
		store.Terms
	}
	buried struct{ node string } // another node has taken it for dead
	left   struct{ node string } // a node has said that it goes
	// stops is a daemon that was told to stop, or died.
	stops struct {
		life   uint64
		killed bool
	}
)

// What parkd made of it.
type (
	// step is one that the database took. wall is the clock of the machine that sent it, when it did; sent is when that was.
	step struct {
		*store.Step
		sent time.Duration
		wall park.Time
	}
	// posted is a message as it came to its mailbox.
	posted struct{ park.Message }
	// stray is something that came to the database by itself, and not with the step that it belongs to.
	stray   struct{ text string }
	pruned  struct{ pool, id string }
	putBack struct{} // the database was put back: its steps follow anew
	// answer is what an engine has answered.
	answer struct {
		question
		err   error
		value any
	}
	// shown is a pool as the database has it in the end.
	shown struct {
		pool  string
		row   ledger.Pool
		tasks []ledger.Record
	}
)

// question is a request to an engine.
type question struct {
	what  string // such as submit
	pool  string
	id    string // of the task
	job   int    // of a submission
	asked time.Duration
	query any
}

// see shows the judge something.
func (h *history) see(what any) { h.seeAt(h.now, what) }

// seeAt is see for what happened at a time.
func (h *history) seeAt(at time.Duration, what any) {
	e := evidence{at, what}
	if h.opt.keep != nil {
		h.opt.keep(e)
	}
	h.check.judge.take(e)
	h.heed()
}

// heed ends the history if the judge has found a promise broken.
func (h *history) heed() {
	if v := h.check.judge.broken; v != nil && h.broken == nil {
		h.broken = v
	}
}

// told has the judge hear what an engine answers to a call.
func told[T any](h *history, c question, f func() (T, error)) (T, error) {
	c.asked = h.now
	h.count(c.what)
	v, err := f()
	h.see(answer{c, err, v})
	return v, err
}

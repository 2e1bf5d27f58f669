package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/env/envtest"
	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/internal/topic"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// scriptedTask is a queue with one task, whose state at each read is a letter of the script: running (r), ended (e),
// parked (p), not there (n), or a failed read (f). The last letter repeats.
type scriptedTask struct {
	store.Queue
	script string
	n      int
}

func (g *scriptedTask) Records(_ context.Context, _ string, ids []string) ([]ledger.Record, error) {
	says := g.script[min(g.n, len(g.script)-1)]
	g.n++
	r := testRecord(ids[0], 1, says == 'r')
	switch says {
	case 'f':
		return nil, errors.New("away")
	case 'n':
		return nil, nil
	case 'e':
		r.Status = park.Completed
	}
	return []ledger.Record{r}, nil
}

// scriptedLoop returns a pool with such a queue, and its waits. Some time passes in each wait, and the loop serves its
// messages.
func scriptedLoop(t *testing.T, says string, passes time.Duration, serve func(l *loop, m message)) (p *loop, g *scriptedTask, waits func() []time.Duration) {
	p = testLoop(t, ledger.Pool{State: park.Active, Queued: 1}, testRecord("a", 1, false))
	g = &scriptedTask{script: says}
	p.queue = g
	p.eng.pools, p.eng.cfg.Patience = map[string]*pool{"cpu": p.pool}, 10*time.Second
	w := p.eng.env.Machine.(*envtest.Simulator)
	w.OnWait = func() {
		select {
		case r := <-p.messages:
			serve(p, r)
			return
		default:
		}
		if w.Pass(passes); len(w.Waited) > 20 {
			p.eng.stop()
			close(p.done)
		}
	}
	return p, g, func() (all []time.Duration) {
		for _, one := range w.Waited {
			if !one.Ready || one.For == hubPollInterval {
				all = append(all, one.For)
			}
		}
		return all
	}
}

// serveLoopFuncs is a loop that serves loopFunc messages only.
func serveLoopFuncs(l *loop, m message) { l.answerLast(m) }

// TestWaitingForATask ends with it, or with the wait, or where nothing can be said of it.
func TestWaitingForATask(t *testing.T) {
	for name, c := range map[string]struct {
		says   string
		wait   time.Duration
		gone   bool
		status park.Status
		code   park.Code
		reads  int
		waits  []time.Duration
	}{
		"does not wait": {says: "r", status: park.Running, reads: 1},
		"has ended":     {says: "e", wait: time.Minute, status: park.Completed, reads: 1},
		"ends":          {says: "re", wait: time.Minute, status: park.Completed, reads: 2, waits: []time.Duration{time.Minute}},
		"ends later":    {says: "rre", wait: time.Minute, status: park.Completed, reads: 3, waits: []time.Duration{time.Minute, 30 * time.Second}},
		"goes on":       {says: "r", wait: time.Minute, status: park.Running, reads: 3, waits: []time.Duration{time.Minute, 30 * time.Second}},
		"is not there":  {says: "n", wait: time.Minute, code: park.TaskNotFound, reads: 1},
		"goes":          {says: "rn", wait: time.Minute, code: park.TaskNotFound, reads: 2, waits: []time.Duration{time.Minute}},
		"not read":      {says: "f", wait: time.Minute, code: park.StorageUnavailable, reads: 1},
		"nobody waits":  {says: "r", wait: time.Minute, gone: true, reads: 1},
	} {
		p, g, waits := scriptedLoop(t, c.says, 30*time.Second, serveLoopFuncs)
		ctx := t.Context()
		if c.gone {
			ctx = cancelledContext()
		}
		task, err := p.eng.Task(ctx, "cpu", "a", c.wait)
		if task.Status != c.status || g.n != c.reads || !slices.Equal(waits(), c.waits) || p.eng.hub.Joined() {
			t.Errorf("%s: %+v after %d reads, waited %v", name, task, g.n, waits())
		}
		if (err == nil) != (c.code == "" && !c.gone) || c.code != "" && park.CodeOf(err) != c.code || c.gone != errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
	p, g, _ := scriptedLoop(t, "e", 0, serveLoopFuncs)
	if _, err := p.eng.Task(t.Context(), "other", "a", 0); park.CodeOf(err) != park.PoolNotFound || g.n != 0 {
		t.Errorf("of another pool: %v", err)
	}
}

// TestPlaces of tasks are asked for where one is parked, and left out where nobody says them in time.
func TestPlaces(t *testing.T) {
	asked := 0
	p, _, _ := scriptedLoop(t, "p", 0, func(l *loop, m message) {
		asked++
		l.answerLast(m)
	})
	parked, large, runs := testRecord("a", 1, false), testRecord("b", 9, false), testRecord("c", 9, true)
	if tasks := p.tasksOf(t.Context(), []ledger.Record{runs}); len(tasks) != 1 || asked != 0 || tasks[0].Position != 0 || tasks[0].Waiting != nil {
		t.Errorf("%+v, asked %d times", tasks, asked)
	}
	tasks := p.tasksOf(t.Context(), []ledger.Record{runs, parked, large})
	if asked != 1 || tasks[0].Position != 0 || tasks[1].Position != 1 || tasks[0].Waiting != nil || tasks[2].Waiting == nil || tasks[1].TaskID != "a" {
		t.Errorf("%+v, asked %d times", tasks, asked)
	}
	p.eng.cfg.Patience = -time.Second
	p.messages <- &operations{}
	p.eng.env.Machine.(*envtest.Simulator).OnWait = nil
	if tasks := p.tasksOf(t.Context(), []ledger.Record{parked}); len(tasks) != 1 || tasks[0].TaskID != "a" || tasks[0].Position != 0 {
		t.Errorf("of a pool that does not answer: %+v", tasks)
	}
}

// TestCancelledTasks are returned once they have ended: whoever asked knows that they will.
func TestCancelledTasks(t *testing.T) {
	const long = time.Hour
	for name, c := range map[string]struct {
		says    string
		passes  time.Duration
		gone    bool
		stopped bool
		status  park.Status
		code    park.Code
		waits   []time.Duration
	}{
		"has ended":         {says: "e", status: park.Completed},
		"ends":              {says: "rre", status: park.Completed, waits: []time.Duration{long, long}},
		"not read at first": {says: "ffe", passes: time.Second, status: park.Completed, waits: []time.Duration{retryInterval, retryInterval}},
		"not read":          {says: "f", passes: 5 * time.Second, code: park.OutcomeUnknown, waits: []time.Duration{retryInterval, retryInterval}},
		"read in between":   {says: "frfe", passes: 9 * time.Second, status: park.Completed, waits: []time.Duration{retryInterval, long, retryInterval}},
		"is not there":      {says: "rn", code: park.TaskNotFound, waits: []time.Duration{long}},
		"nobody waits":      {says: "r", gone: true},
		"the pool stops":    {says: "r", stopped: true, code: park.OutcomeUnknown},
	} {
		p, _, waits := scriptedLoop(t, c.says, c.passes, serveLoopFuncs)
		ctx := t.Context()
		if c.gone {
			ctx = cancelledContext()
		}
		if c.stopped {
			close(p.done)
		}
		task, err := p.awaitEnd(ctx, "a")
		if err == nil && task.Status != c.status || !slices.Equal(waits(), c.waits) || p.eng.hub.Joined() {
			t.Errorf("%s: %+v, waited %v", name, task, waits())
		}
		if (err == nil) != (c.status != "") || c.code != "" && park.CodeOf(err) != c.code || c.gone != errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
		if e, ok := errors.AsType[*park.Error](err); ok && e.Code == park.OutcomeUnknown && e.TaskID != "a" {
			t.Errorf("%s: it is of task %q", name, e.TaskID)
		}
	}
	p, _, _ := scriptedLoop(t, "re", 0, serveLoopFuncs)
	w := p.eng.env.Machine.(*envtest.Simulator)
	w.OnWait = func() { p.eng.hub.Wake(topic.Ended("cpu", "a")) }
	if _, err := p.awaitEnd(t.Context(), "a"); err != nil || len(w.Waited) != 1 || !w.Waited[0].Ready {
		t.Errorf("who is told waits %v: %v", w.Waited, err)
	}
	p, _, _ = scriptedLoop(t, "fe", 0, serveLoopFuncs)
	w = p.eng.env.Machine.(*envtest.Simulator)
	w.OnWait = func() { p.eng.hub.Wake(topic.Ended("cpu", "a")) }
	if _, err := p.awaitEnd(t.Context(), "a"); err != nil || len(w.Waited) != 1 || w.Waited[0].Ready {
		t.Errorf("a store that is away is asked at once, %v: %v", w.Waited, err)
	}
}

// TestCancelling: what is not in the lot has ended, or is not there, or was just about to come.
func TestCancelling(t *testing.T) {
	for name, c := range map[string]struct {
		pool   string
		says   string
		passes time.Duration // before each answer
		loop   string        // what it answers: s for stale, t for taken, u for unknown
		code   park.Code
		asked  int
	}{
		"taken":            {says: "e", loop: "t", asked: 1},
		"has ended":        {says: "e", loop: "s", code: park.TaskFinished, asked: 1},
		"is not there":     {says: "n", loop: "s", code: park.TaskNotFound, asked: 1},
		"comes":            {says: "re", loop: "st", asked: 2},
		"comes and ends":   {says: "re", loop: "ss", code: park.TaskFinished, asked: 2},
		"comes for ever":   {says: "r", loop: "sss", passes: 5 * time.Second, code: park.StorageUnavailable, asked: 2},
		"not read":         {says: "f", loop: "s", code: park.StorageUnavailable, asked: 1},
		"unknown":          {says: "e", loop: "u", code: park.OutcomeUnknown, asked: 1},
		"of no other pool": {pool: "other", says: "e", loop: "t", code: park.PoolNotFound},
	} {
		asked := 0
		var w *envtest.Simulator
		p, _, _ := scriptedLoop(t, c.says, 0, func(l *loop, m message) {
			if answeredLast(m) {
				l.answerLast(m)
				return
			}
			r := m.base()
			w.Pass(c.passes)
			answer := c.loop[min(asked, len(c.loop)-1)]
			if asked++; asked > 5 {
				answer = 'u'
			}
			if op, ok := r.ops[0].(lot.Cancel); !ok || op.TaskID != "a" || len(r.ops) != 1 {
				t.Errorf("%s: it asks for %+v", name, r.ops)
			}
			if answer == 'u' {
				r.reply <- reply{err: errOutcomeUnknown("pool cpu")}
				return
			}
			r.reply <- reply{results: []lot.Result{{Stale: answer == 's'}}}
		})
		w = p.eng.env.Machine.(*envtest.Simulator)
		if c.pool == "" {
			c.pool = "cpu"
		}
		task, err := p.eng.Cancel(t.Context(), c.pool, "a")
		if park.CodeOf(err) != c.code && (err != nil || c.code != "") || asked != c.asked || err == nil && task.Status != park.Completed {
			t.Errorf("%s: %+v, %v, asked %d times", name, task, err, asked)
		}
		if c.code == park.OutcomeUnknown && !strings.Contains(fmt.Sprint(err), "query task a") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestListing asks the store for as many as may be had.
func TestListing(t *testing.T) {
	p := testLoop(t, ledger.Pool{State: park.Active})
	s := &fakeRows{rows: 2000}
	p.queue = s
	p.eng.pools = map[string]*pool{"cpu": p.pool}
	for limit, want := range map[int]int{0: defaultLimit, 7: 7, 5000: maxLimit} {
		page, err := p.eng.Tasks(t.Context(), "cpu", park.TaskQuery{Limit: limit})
		if err != nil || len(page.Tasks) != want || page.Next != fmt.Sprint(want) {
			t.Errorf("of %d: %d tasks, next %q, %v", limit, len(page.Tasks), page.Next, err)
		}
	}
	if _, err := p.eng.Tasks(t.Context(), "other", park.TaskQuery{}); park.CodeOf(err) != park.PoolNotFound {
		t.Errorf("of another pool: %v", err)
	}
	if _, err := p.eng.Tasks(t.Context(), "cpu", park.TaskQuery{Limit: -1}); park.CodeOf(err) != park.InvalidRequest {
		t.Errorf("below nothing: %v", err)
	}
	s.err = errors.New("away")
	if page, err := p.eng.Tasks(t.Context(), "cpu", park.TaskQuery{}); park.CodeOf(err) != park.StorageUnavailable || len(page.Tasks) != 0 {
		t.Errorf("away: %v", err)
	}
}

// TestSubmitting: each submission has its result, in order, and one alone is refused as one of many is.
func TestSubmitting(t *testing.T) {
	bad := park.Submission{Payload: []byte(`x`)}
	at := func(id string) park.Submission { return park.Submission{TaskID: id} }
	for name, c := range map[string]struct {
		pool  string
		tasks []park.Submission
		fails error
		code  park.Code // of the call
		want  string    // the result of each: its position, or what is wrong with it
		steps int
	}{
		"none":       {pool: "cpu", want: ""},
		"one":        {pool: "cpu", tasks: []park.Submission{at("a")}, want: "1", steps: 1},
		"one is bad": {pool: "cpu", tasks: []park.Submission{bad}, want: "invalid_request"},
		"three":      {pool: "cpu", tasks: []park.Submission{at("a"), bad, at("b")}, want: "1 invalid_request 2", steps: 1},
		"all bad":    {pool: "cpu", tasks: []park.Submission{bad, bad}, want: "invalid_request invalid_request"},
		"unknown":    {pool: "cpu", tasks: []park.Submission{at("a")}, fails: errOutcomeUnknown("cpu"), want: "outcome_unknown", steps: 1},
		"away":       {pool: "cpu", tasks: []park.Submission{at("a")}, fails: errNotAccepted("cpu"), code: park.StorageUnavailable, steps: 1},
		"two away":   {pool: "cpu", tasks: []park.Submission{at("a"), at("b")}, fails: errNotAccepted("cpu"), code: park.StorageUnavailable, steps: 1},
		"no pool":    {pool: "other", tasks: []park.Submission{at("a")}, code: park.PoolNotFound},
		"too many":   {pool: "cpu", tasks: make([]park.Submission, park.MaxBatch+1), code: park.InvalidRequest},
		"the most":   {pool: "cpu", tasks: slices.Repeat([]park.Submission{bad}, park.MaxBatch), want: strings.TrimSpace(strings.Repeat("invalid_request ", park.MaxBatch))},
	} {
		steps := 0
		p, _, _ := scriptedLoop(t, "n", 0, func(_ *loop, m message) {
			r := m.base()
			steps++
			a := reply{err: c.fails}
			if c.fails == nil {
				for i := range r.ops {
					a.results = append(a.results, lot.Result{Status: park.Queued, Position: int64(i + 1)})
				}
			}
			r.reply <- a
		})
		results, err := p.eng.Submit(t.Context(), c.pool, c.tasks)
		var got []string
		for i, r := range results {
			switch {
			case r.Err != nil:
				got = append(got, strings.ToLower(string(r.Err.Code)))
			case r.Accepted.TaskID != c.tasks[i].TaskID:
				t.Errorf("%s: the result of %s is that of %s", name, c.tasks[i].TaskID, r.Accepted.TaskID)
			default:
				got = append(got, fmt.Sprint(r.Accepted.Position))
			}
		}
		if park.CodeOf(err) != c.code && (err != nil || c.code != "") || strings.Join(got, " ") != c.want || steps != c.steps {
			t.Errorf("%s: %v, %v, %d steps", name, got, err, steps)
		}
	}
}

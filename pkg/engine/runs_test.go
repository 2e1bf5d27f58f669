package engine

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/cluster"
	"github.com/parkd-dev/parkd/pkg/internal/env"
	"github.com/parkd-dev/parkd/pkg/internal/env/envtest"
	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

// loopWithRuns returns a loop whose tasks all succeed, with its machine, which starts goroutines when the test says so,
// and its store.
func loopWithRuns(t *testing.T, tasks ...ledger.Record) (*loop, *envtest.Simulator, *fakeShared) {
	p := testLoop(t, ledger.Pool{Used: int64(len(tasks)), State: park.Active}, tasks...)
	l := &fakeShared{}
	p.ctx, p.queue, p.messages = t.Context(), fakeQueue{fakeShared: l}, make(chan message, 10)
	p.Executor = outcomeFunc(func() park.Outcome { return park.Outcome{Status: park.Completed} })
	return p, simulatorOf(p), l
}

// takeReports returns the operations that runs have sent to the loop.
func takeReports(p *loop) (all []lot.Op) {
	for len(p.messages) > 0 {
		r := (<-p.messages).base()
		all = append(all, r.ops...)
	}
	return all
}

var runsFrom = park.At(time.Unix(1, 0)) // when the tasks of these tests were submitted

// TestRunsBegin where the node is certain to be alive under the name that the lot knows it by, and with their whole time.
func TestRunsBegin(t *testing.T) {
	for name, c := range map[string]struct {
		before func(p *loop)
		begun  bool
	}{
		"alone":     {func(p *loop) { p.node = nil }, true},
		"alive":     {func(*loop) {}, true},
		"not alive": {func(p *loop) { p.node = cluster.New(t.Context(), nodeConfig(p.eng, nil)) }, false},
		"renamed":   {func(p *loop) { p.lotNode = "before" }, false},
	} {
		p, w, _ := loopWithRuns(t, testRecord("a", 1, true))
		p.node, p.lotNode = nodeAmong(p.eng, nil, "z"), "me"
		c.before(p)
		old, stopped := context.WithCancelCause(t.Context())
		p.runs["a"] = &run{task: "a", cancel: stopped}
		var got park.Assignment
		p.Executor = park.ExecutorFunc(func(_ context.Context, a park.Assignment) (any, error) {
			got = a
			return nil, nil
		})
		spec := &ledger.Spec{Tenant: "t", Units: 3, Timeout: time.Second, Payload: []byte(`1`), Command: []string{"x"}, WorkDir: "/"}
		p.launch([]runStart{{Started: lot.Started{TaskID: "a", Attempt: 1}, submitted: runsFrom, spec: spec}})
		if begun := len(w.Begun) == 1; begun != c.begun || begun != (old.Err() != nil) || begun && !errors.Is(context.Cause(old), park.ErrCancelled) {
			t.Errorf("%s: begun %t, the one before stopped by %v", name, begun, context.Cause(old))
		}
		w.Finish()
		ops := takeReports(p)
		if !c.begun {
			if len(ops) != 0 || len(p.runs) != 1 || p.runs["a"].attempt != 0 {
				t.Errorf("%s: %+v", name, ops)
			}
			continue
		}
		if (got.Proved != nil) != (p.node != nil) {
			t.Errorf("%s: it can be proved %t that the node is alive", name, got.Proved != nil)
		}
		got.Proved = nil
		want := park.Assignment{
			PoolID: "cpu", TaskID: "a", Attempt: 1, Tenant: "t", Units: 3, Timeout: time.Second, Payload: spec.Payload, Command: spec.Command, WorkDir: "/",
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: it is to do %+v", name, got)
		}
		if r := p.runs["a"]; r.attempt != 1 || r.submitted != runsFrom {
			t.Errorf("%s: %+v", name, r)
		}
		if f, ok := ops[0].(lot.Finish); !ok || f.Outcome.Status != park.Completed || f.TaskID != "a" || f.Attempt != 1 || f.SubmittedAt != runsFrom {
			t.Errorf("%s: it reports %+v", name, ops[0])
		}
	}
}

// TestLivesOfRuns: those of a node among others end when it is fenced, and any other with the engine.
func TestLivesOfRuns(t *testing.T) {
	p, _, _ := loopWithRuns(t)
	if p.runContext() != p.eng.ctx {
		t.Error("alone a run does not live as long as the engine")
	}
	p.node = nodeAmong(p.eng, nil, "z")
	if p.runContext() != p.node.Life() {
		t.Error("among others it does not live until the next fence")
	}
}

// TestRunsThatAreToStop do not begin their work, and nothing is read for them.
func TestRunsThatAreToStop(t *testing.T) {
	cancelled := testRecord("cancelled", 1, true)
	cancelled.Cancelled = true
	p, w, l := loopWithRuns(t, cancelled, testRecord("runs", 1, true))
	ran := 0
	p.Executor = outcomeFunc(func() park.Outcome {
		ran++
		return park.Outcome{Status: park.Completed}
	})
	begin := func(id string, spec *ledger.Spec) {
		p.launch([]runStart{{Started: lot.Started{TaskID: id, Attempt: 1}, spec: spec}})
	}
	begin("cancelled", nil)
	begin("cancelled", &ledger.Spec{})
	if len(w.Begun) != 2 {
		t.Errorf("%d are begun", len(w.Begun))
	}
	w.Finish()
	for i, op := range takeReports(p) {
		if f, ok := op.(lot.Finish); !ok || f.Outcome.Reason != park.ReasonCancelled {
			t.Errorf("%d: %+v", i, op)
		}
	}
	begin("runs", &ledger.Spec{})
	none := p.activeRuns.stop(park.ErrShutdown) // before it has begun
	w.Finish()
	begin("runs", &ledger.Spec{}) // and after
	w.Finish()
	for i, op := range takeReports(p) {
		if b, ok := op.(lot.Requeue); !ok || b.Reason != park.ReasonShutdown || b.Attempt != 1 || b.TaskID != "runs" {
			t.Errorf("%d: %+v", i, op)
		}
	}
	if ran != 0 || len(l.reads) != 0 || !env.Ready(none) {
		t.Errorf("%d have run, %d were read", ran, len(l.reads))
	}
}

// TestSubmissionsAreReadForRuns all at once, until they are there or nobody needs them any more.
func TestSubmissionsAreReadForRuns(t *testing.T) {
	begin := func(p *loop) {
		p.launch([]runStart{
			{Started: lot.Started{TaskID: "a", Attempt: 1}, submitted: runsFrom},
			{Started: lot.Started{TaskID: "b", Attempt: 1}, submitted: runsFrom},
			{Started: lot.Started{TaskID: "c", Attempt: 1}, submitted: runsFrom, spec: &ledger.Spec{}},
		})
	}
	a, b := testRecord("a", 1, true), testRecord("b", 1, true)
	other := b
	other.SubmittedAt = park.At(time.Unix(2, 0))
	done := make(chan struct{})
	close(done)
	for name, c := range map[string]struct {
		holds  []ledger.Record
		ahead  *prefetch
		fails  int // reads
		stops  func(p *loop)
		reads  int
		ends   int
		failed int
		waits  int
	}{
		"read":            {holds: []ledger.Record{a, b}, reads: 1, ends: 3},
		"read ahead":      {ahead: &prefetch{done: done, specs: map[string]*ledger.Spec{"a": &a.Spec, "b": &b.Spec}}, ends: 3, waits: 1},
		"partly ahead":    {holds: []ledger.Record{a, b}, ahead: &prefetch{done: done, specs: map[string]*ledger.Spec{"a": &a.Spec}}, reads: 1, ends: 3, waits: 1},
		"of another task": {holds: []ledger.Record{a, other}, reads: 1, ends: 3, failed: 1},
		"later":           {holds: []ledger.Record{a, b}, fails: 2, reads: 3, ends: 3, waits: 2},
		"one is stopped":  {holds: []ledger.Record{a, b}, fails: 2, stops: func(p *loop) { p.runs["a"].cancel(park.ErrCancelled) }, reads: 3, ends: 3, failed: 1, waits: 2},
		"all are stopped": {holds: []ledger.Record{a, b}, fails: 2, stops: func(p *loop) {
			p.runs["a"].cancel(park.ErrCancelled)
			p.runs["b"].cancel(park.ErrCancelled)
		}, reads: 1, ends: 3, failed: 2, waits: 1},
		"the pool ends": {holds: []ledger.Record{a, b}, fails: 2, stops: func(p *loop) { p.cancel() }, reads: 1, ends: 3, failed: 2, waits: 1},
	} {
		p, w, l := loopWithRuns(t, a, b, testRecord("c", 1, true))
		p.ctx, p.cancel = context.WithCancel(t.Context())
		l.records, p.prefetch = c.holds, c.ahead
		if c.fails > 0 {
			l.err = errAsked
		}
		p.eng.env.Machine.(*envtest.Simulator).OnWait = func() {
			if c.stops != nil && len(l.reads) == 1 {
				c.stops(p)
			}
			if len(l.reads) >= c.fails {
				l.err = nil
			}
		}
		begin(p)
		if len(w.Begun) != 2 { // the one that is at hand, and the reading
			t.Errorf("%s: %d begin", name, len(w.Begun))
		}
		w.Finish()
		failed := 0
		ops := takeReports(p)
		for _, op := range ops {
			if f, ok := op.(lot.Finish); !ok || f.Outcome.Status != park.Completed {
				failed++
			}
		}
		var waits []time.Duration
		for _, one := range p.eng.env.Machine.(*envtest.Simulator).Waited {
			if one.For == readRetryInterval || c.ahead != nil && !slices.Contains(waits, noTimeout) && one.For == noTimeout && len(waits) == 0 {
				waits = append(waits, one.For)
			}
		}
		if len(l.reads) != c.reads || len(ops) != c.ends || failed != c.failed || len(waits) != c.waits {
			t.Errorf("%s: read %v, %d have ended, of which %d failed, waits %v", name, l.reads, len(ops), failed, waits)
		}
		p.cancel()
	}
}

// TestReports of runs: what each asks for, by what its executor says and why it was stopped.
func TestReports(t *testing.T) {
	short := &park.ShortageError{Reason: "memory", Err: errors.New("little")}
	for name, c := range map[string]struct {
		o       park.Outcome
		before  error // it was stopped before it began
		cause   error // and while it ran
		missing bool  // its submission
		reason  string
		back    bool
	}{
		"success":             {o: park.Outcome{Status: park.Completed}},
		"failure":             {o: park.Failure("r", "m"), reason: "r"},
		"short":               {o: park.Outcome{Status: park.Failed, Shortage: short}, reason: park.ReasonStartDeferred, back: true},
		"short at the end":    {o: park.Outcome{Status: park.Failed, Shortage: short}, cause: park.ErrShutdown, reason: park.ReasonShutdown, back: true},
		"shutdown":            {o: park.Failure("r", "m"), cause: park.ErrShutdown, reason: park.ReasonShutdown, back: true},
		"says it is lost":     {o: park.Failure(park.ReasonNodeLost, ""), reason: park.ReasonNodeLost, back: true},
		"the node is lost":    {o: park.Failure("r", "m"), cause: cluster.ErrNodeLost, reason: park.ReasonNodeLost, back: true},
		"missing":             {missing: true, reason: park.ReasonExecutorError},
		"missing, cancelled":  {missing: true, before: park.ErrCancelled, reason: park.ReasonCancelled},
		"missing at the end":  {missing: true, before: park.ErrShutdown, reason: park.ReasonShutdown, back: true},
		"cancelled before it": {before: park.ErrCancelled, reason: park.ReasonCancelled},
	} {
		p, _, _ := loopWithRuns(t, testRecord("a", 1, true))
		ctx, cancel := context.WithCancelCause(t.Context())
		if c.before != nil {
			cancel(c.before)
		}
		ran := false
		p.Executor = outcomeFunc(func() park.Outcome {
			if ran = true; c.cause != nil {
				cancel(c.cause)
			}
			return c.o
		})
		s := runStart{Started: lot.Started{TaskID: "a", Attempt: 3}, submitted: runsFrom, ctx: ctx, run: &run{task: "a", cancel: cancel}, spec: &ledger.Spec{}}
		if c.missing {
			s.spec = nil
		}
		p.runTask(s)
		r := (<-p.messages).(*report)
		var reason string
		switch op := r.ops[0].(type) {
		case lot.Requeue:
			if reason = op.Reason; !c.back || op.TaskID != "a" || op.Attempt != 3 || op.SubmittedAt != runsFrom {
				t.Errorf("%s: %+v", name, op)
			}
		case lot.Finish:
			if reason = op.Outcome.Reason; c.back || op.TaskID != "a" || op.Attempt != 3 || op.SubmittedAt != runsFrom {
				t.Errorf("%s: %+v", name, op)
			}
		}
		if reason != c.reason || r.run != s.run || (r.shortage != nil) != (reason == park.ReasonStartDeferred) || ran != (!c.missing && c.before == nil) {
			t.Errorf("%s: %q, ran %t, short of %v", name, reason, ran, r.shortage)
		}
		if !env.Ready(p.activeRuns.stop(nil)) {
			t.Errorf("%s: it counts as one that runs", name)
		}
	}
}

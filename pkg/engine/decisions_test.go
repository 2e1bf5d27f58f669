package engine

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/env"
	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/internal/portion"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

// testLoop returns a pool with tasks. Its loop does not run.
func testLoop(t *testing.T, row ledger.Pool, tasks ...ledger.Record) *loop {
	p := idleLoop(t, true)
	p.eng.meter, p.eng.log = noMeter{}, slog.New(slog.DiscardHandler)
	p.runs = make(map[string]*run)
	l := lot.New(lot.Config{Pool: "cpu"}, p.eng.env.Instant())
	for i := range tasks {
		l.Restore(&tasks[i], p.eng.env.Instant())
	}
	l.Merge(row, nil, p.eng.env.Instant())
	p.lot = l
	return p
}

// testRecord returns a running or a parked task.
func testRecord(id string, units int64, running bool) ledger.Record {
	r := ledger.Record{Spec: ledger.Spec{TaskID: id, Tenant: "t", Priority: park.Normal, Units: units, SubmittedAt: park.At(time.Unix(1, 0))}}
	if r.Status = park.Queued; running {
		r.Status, r.Attempt = park.Running, 1
	}
	return r
}

// TestLimits of pages.
func TestLimits(t *testing.T) {
	for n, want := range map[int]int{0: defaultLimit, 1: 1, 999: 999, 1000: 1000, 1001: 1000} {
		if got, err := checkLimit(n, 1000); err != nil || got != want {
			t.Errorf("%d are asked for, %d given, %v", n, got, err)
		}
	}
	if got, err := checkLimit(-1, 1000); park.CodeOf(err) != park.InvalidRequest || got != 0 {
		t.Errorf("-1 are asked for, %d given, %v", got, err)
	}
	for cursor, ok := range map[string]bool{"": true, "cpu-1-1": false, "x": false} {
		if err := checkCursor(cursor); ok != (err == nil) {
			t.Errorf("cursor %q: %v", cursor, err)
		}
	}
}

// TestPortionOfSubmissions: so many go into one step, by their number and by their bytes, and one that is too large alone.
func TestPortionOfSubmissions(t *testing.T) {
	p := &pool{}
	of := func(bytes ...int) (ops []lot.Op) {
		for _, n := range bytes {
			ops = append(ops, lot.Submit{Spec: &ledger.Spec{Payload: make(json.RawMessage, n)}})
		}
		return ops
	}
	const half = maxStepBytes/2 - 2*portion.RowBytes
	for i, c := range []struct {
		ops  []lot.Op
		want int
	}{
		{nil, 0},
		{make([]lot.Op, maxOps), maxOps},
		{make([]lot.Op, maxOps+1), maxOps},
		{make([]lot.Op, maxOps+5), maxOps},
		{of(half, half), 2},
		{of(half, half, 0), 2},
		{of(half, half+1), 1},
		{of(2*maxStepBytes, 0), 1},
		{of(0, 2*maxStepBytes), 1},
		{of(2 * maxStepBytes), 1},
	} {
		if got := p.opsForStep(c.ops); got != c.want {
			t.Errorf("%d: %d of %d, want %d", i, got, len(c.ops), c.want)
		}
	}
	failure := errNotAccepted("cpu")
	for _, r := range failedResults(2, failure) {
		if r.Err != failure {
			t.Errorf("%v", r.Err)
		}
	}
	if n := len(failedResults(2, failure)); n != 2 {
		t.Errorf("%d results", n)
	}
	if e := asError(errors.New("x")); e.Code != park.OutcomeUnknown || e.Detail != "x" {
		t.Errorf("of an error that is none of ours: %v", e)
	}
}

// TestWhatSuitsAPool checks submissions against their pool.
func TestWhatSuitsAPool(t *testing.T) {
	for _, c := range []struct {
		pool park.PoolSpec
		s    park.Submission
		want string // "" where it is taken
	}{
		{park.PoolSpec{}, park.Submission{}, ""},
		{park.PoolSpec{}, park.Submission{Payload: json.RawMessage(`1`)}, ""},
		{park.PoolSpec{}, park.Submission{Payload: json.RawMessage(`x`)}, "payload"},
		{park.PoolSpec{}, park.Submission{Command: []string{"a"}}, "command is not accepted"},
		{park.PoolSpec{TakesCommands: true}, park.Submission{Command: []string{"a"}}, ""},
		{park.PoolSpec{TakesCommands: true}, park.Submission{Command: []string{"a", "b\x00"}}, "command[1]"},
		{park.PoolSpec{TakesCommands: true}, park.Submission{WorkDir: "/a"}, ""},
		{park.PoolSpec{TakesCommands: true}, park.Submission{WorkDir: "/\xff"}, "workDir"},
		{park.PoolSpec{TakesCommands: true, NeedsCommand: true}, park.Submission{Command: []string{"a"}}, ""},
		{park.PoolSpec{TakesCommands: true, NeedsCommand: true}, park.Submission{Payload: json.RawMessage(`1`)}, "command is required"},
		{park.PoolSpec{}, park.Submission{ResourceCost: park.Cost{Kind: park.CPU}}, ""},
		{park.PoolSpec{Kind: park.CPU}, park.Submission{}, ""},
		{park.PoolSpec{Kind: park.CPU}, park.Submission{ResourceCost: park.Cost{Kind: park.CPU}}, ""},
		{park.PoolSpec{Kind: park.CPU}, park.Submission{ResourceCost: park.Cost{Kind: park.IO}}, "resourceCost.kind"},
	} {
		p := &pool{Pool: Pool{PoolSpec: c.pool}}
		switch err := p.check(&c.s); {
		case err == nil && c.want == "":
		case err == nil || c.want == "" || !strings.HasPrefix(err.Detail, c.want):
			t.Errorf("%+v in %+v: %v", c.s, c.pool, err)
		}
	}
}

// TestResolveFillsIn what the submission leaves to its pool.
func TestResolveFillsIn(t *testing.T) {
	p := idleLoop(t, true)
	p.eng.env = env.New(fixedIDs{p.eng.env.Machine})
	p.DefaultTimeout, p.Retry = time.Minute, park.Retry{MaxAttempts: 7}
	op, err := p.submitOp(park.Submission{OwnIDs: true})
	if err != nil || !op.NewID || op.FallbackID != "" || op.Spec.TaskID != "new" || op.Spec.Units != 1 || op.Spec.Timeout != time.Minute || op.Spec.Retry != p.Retry {
		t.Errorf("of an empty one: %+v %+v %v", op, op.Spec, err)
	}
	s := park.Submission{TaskID: "a", OwnIDs: true, TimeoutSecs: 5, Retry: park.Retry{MaxAttempts: 2}, ResourceCost: park.Cost{Units: 3}}
	op, err = p.submitOp(s)
	if err != nil || op.NewID || op.FallbackID == "" || op.Spec.TaskID != "a" || op.Spec.Units != 3 || op.Spec.Timeout != 5*time.Second || op.Spec.Retry.MaxAttempts != 2 {
		t.Errorf("of a full one: %+v %+v %v", op, op.Spec, err)
	}
	s.OwnIDs = false
	if op, err = p.submitOp(s); err != nil || op.FallbackID != "" {
		t.Errorf("without ids of its own: %+v %v", op, err)
	}
	s.Command = []string{"x"}
	if _, err = p.submitOp(s); err == nil {
		t.Error("a command is taken")
	}
}

// fixedIDs is a machine that always returns the same id.
type fixedIDs struct{ env.Machine }

func (fixedIDs) ID() string { return "new" }

// TestIDsThatTheStoreKnows: a submission whose id is that of an ended task is that task come again, unless it has ids of its
// own and the other is another tenant's.
func TestIDsThatTheStoreKnows(t *testing.T) {
	mine, other := testRecord("a", 1, false), testRecord("a", 1, false)
	other.Tenant = "u"
	own := testRecord("own", 1, false)
	spec := &mine.Spec
	for i, c := range []struct {
		own     string
		byID    map[string]*ledger.Record
		seen    bool
		foreign bool
		ended   *ledger.Record
	}{
		{"", nil, false, false, nil},
		{"", map[string]*ledger.Record{"a": &other}, true, false, nil},
		{"own", nil, false, false, nil},
		{"own", map[string]*ledger.Record{"a": &mine}, true, false, nil},
		{"own", map[string]*ledger.Record{"a": &other}, false, true, nil},
		{"own", map[string]*ledger.Record{"a": &other, "own": &own}, false, true, &own},
		{"own", map[string]*ledger.Record{"own": &own}, false, false, &own},
	} {
		op := asDuplicate(lot.Submit{Spec: spec, FallbackID: c.own}, c.byID)
		s, submit := op.(lot.Submit)
		if submit == c.seen || submit && (s.IDTaken != c.foreign || s.Ended != c.ended) {
			t.Errorf("%d: %+v", i, op)
		}
	}
}

// TestTurnedAway: who is refused, and may be known to the store, is looked up.
func TestTurnedAway(t *testing.T) {
	full, exists := park.Errorf(park.QueueFull, "full"), park.Errorf(park.TaskExists, "exists")
	for i, c := range []struct {
		op    lot.Op
		err   *park.Error
		again bool
		want  bool
	}{
		{lot.Submit{}, nil, false, false},
		{lot.Submit{}, full, false, true},
		{lot.Submit{}, exists, false, false},
		{lot.Submit{NewID: true}, full, false, false},
		{lot.Submit{NewID: true}, full, true, true},
		{lot.Cancel{}, full, true, false},
		{lot.Submit{}, nil, true, false},
	} {
		p := &loop{redecided: c.again}
		if got := p.maybeDuplicates([]lot.Op{lot.Cancel{}, c.op}, []lot.Result{{Err: full}, {Err: c.err}}); got != c.want {
			t.Errorf("%d: %t", i, got)
		}
	}
}

// TestSpecsAtHand are kept up to a bound in bytes, each once, and forgotten once they are another task's.
func TestSpecsAtHand(t *testing.T) {
	var c specCache
	spec := func(id string, bytes int) *ledger.Spec {
		return &ledger.Spec{TaskID: id, Payload: make(json.RawMessage, bytes), SubmittedAt: park.At(time.Unix(1, 0))}
	}
	c.put(spec("a", maxSpecBytes-2*portion.RowBytes))
	c.put(spec("b", 0))
	if len(c.byID) != 2 || c.size != maxSpecBytes {
		t.Errorf("%d at hand, %d bytes", len(c.byID), c.size)
	}
	c.put(spec("c", 0))
	if c.take("c") != nil || c.size != maxSpecBytes {
		t.Errorf("one more is at hand; %d bytes", c.size)
	}
	c.put(spec("a", maxSpecBytes-2*portion.RowBytes+1))
	if c.take("a") != nil || c.size != portion.RowBytes {
		t.Errorf("one that is a byte too large is at hand; %d bytes", c.size)
	}
	c.put(spec("b", 1))
	if b := c.take("b"); b == nil || len(b.Payload) != 1 || c.take("b") != nil || c.size != 0 {
		t.Errorf("%+v, %d bytes", b, c.size)
	}
	for _, r := range []struct {
		id      string
		status  park.Status
		seconds int64
		kept    bool
	}{{"a", park.Queued, 1, true}, {"a", park.Queued, 2, false}, {"a", park.Running, 1, false}, {"b", park.Running, 2, true}} {
		c.clear()
		c.put(spec("a", 0))
		c.invalidate(&ledger.Record{Spec: ledger.Spec{TaskID: r.id, SubmittedAt: park.At(time.Unix(r.seconds, 0))}, State: ledger.State{Status: r.status}})
		if kept := c.take("a") != nil; kept != r.kept {
			t.Errorf("%+v: kept %t", r, kept)
		}
	}
}

// TestRetryAfter is about when the next running task ends, but never soon nor long.
func TestRetryAfter(t *testing.T) {
	var tasks []ledger.Record
	for _, id := range []string{"a", "b", "c", "d"} {
		tasks = append(tasks, testRecord(id, 1, true))
	}
	for _, c := range []struct {
		mean, timeout time.Duration
		running       int
		state         park.PoolState
		want          time.Duration
	}{
		{0, 0, 0, park.Active, time.Second},
		{0, 30 * time.Second, 0, park.Active, 30 * time.Second},
		{0, time.Hour, 0, park.Active, time.Minute},
		{0, time.Hour, 2, park.Active, 30 * time.Second},
		{8 * time.Second, time.Hour, 4, park.Active, 2 * time.Second},
		{8 * time.Second, 0, 0, park.Active, 8 * time.Second},
		{8 * time.Second, 0, 1, park.Active, 8 * time.Second},
		{2 * time.Second, 0, 4, park.Active, time.Second},
		{time.Hour, 0, 1, park.Active, 10 * time.Minute},
		{8 * time.Second, 0, 4, park.Paused, time.Minute},
	} {
		p := testLoop(t, ledger.Pool{MaxUnits: 4, Used: int64(c.running), State: c.state}, tasks[:c.running]...)
		p.runTime.mean, p.DefaultTimeout = c.mean, c.timeout
		if got := p.retryAfter(); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
	var a durationEWMA
	for i, want := range []time.Duration{16 * time.Second, 16 * time.Second, 17 * time.Second} {
		if a.add([]time.Duration{16 * time.Second, 16 * time.Second, 32 * time.Second}[i]); a.mean != want {
			t.Errorf("the mean is %s, want %s", a.mean, want)
		}
	}
}

// TestWarnsOfLargeTasks that cost more than their pool has.
func TestWarnsOfLargeTasks(t *testing.T) {
	for want, tasks := range map[string][]ledger.Record{
		"":                         {testRecord("a", 2, false)},
		"1 parked task costs more": {testRecord("a", 2, false), testRecord("b", 3, false)},
		"2 parked tasks cost more than the 2 units of pool cpu (the largest costs 4)": {testRecord("a", 4, false), testRecord("b", 3, false)},
	} {
		p := testLoop(t, ledger.Pool{MaxUnits: 2, Queued: len(tasks), State: park.Active}, tasks...)
		if got := p.tooLargeWarning(); !strings.HasPrefix(got, want) || (got == "") != (want == "") {
			t.Errorf("%q, want %q", got, want)
		}
		for i := range tasks {
			w := p.waitingReason(&tasks[i])
			if large := tasks[i].Units > 2; large != (w != nil) || large && w.Code != park.WaitsLarger {
				t.Errorf("a task of %d units waits for %+v", tasks[i].Units, w)
			}
		}
	}
}

// TestExecutorsAndWhatTheySay: what a run comes to, by what its executor returns and why it was stopped.
func TestExecutorsAndWhatTheySay(t *testing.T) {
	short := &park.ShortageError{Reason: "memory", Err: errors.New("little")}
	for name, c := range map[string]struct {
		o     park.Outcome
		cause error
		ended bool
		want  park.Outcome // but for the message
	}{
		"success":                {park.Outcome{Status: park.Completed, Result: []byte(`1`)}, nil, true, park.Outcome{Status: park.Completed, Result: []byte(`1`)}},
		"success without result": {park.Outcome{Status: park.Completed}, nil, true, park.Outcome{Status: park.Completed}},
		"success at the end":     {park.Outcome{Status: park.Completed}, park.ErrShutdown, true, park.Outcome{Status: park.Completed}},
		"no JSON":                {park.Outcome{Status: park.Completed, Result: []byte(`x`)}, nil, true, park.Failure(park.ReasonExecutorError, "")},
		"failure":                {park.Failure("r", "m"), nil, true, park.Failure("r", "")},
		"no status":              {park.Outcome{}, nil, true, park.Failure(park.ReasonExecutorError, "")},
		"another status":         {park.Outcome{Status: park.Dropped}, nil, true, park.Failure(park.ReasonExecutorError, "")},
		"short":                  {park.Outcome{Status: park.Failed, Shortage: short}, nil, false, park.Outcome{}},
		"short, cancelled":       {park.Outcome{Status: park.Failed, Reason: "r", Shortage: short}, park.ErrCancelled, true, park.Failure("r", "")},
		"node lost":              {park.Failure(park.ReasonNodeLost, ""), nil, false, park.Outcome{}},
		"timeout":                {park.Failure("r", "m"), park.ErrTimeout, true, park.Failure(park.ReasonTimeout, "")},
		"cancelled":              {park.Failure("r", "m"), park.ErrCancelled, true, park.Failure("r", "")},
		"shutdown":               {park.Failure("r", "m"), park.ErrShutdown, false, park.Outcome{}},
	} {
		p := idleLoop(t, true)
		ctx, cancel := context.WithCancelCause(t.Context())
		p.Executor = outcomeFunc(func() park.Outcome {
			if c.cause != nil {
				cancel(c.cause)
			}
			return c.o
		})
		o, ended := p.execute(ctx, runStart{run: &run{}, ctx: ctx})
		if ended != c.ended {
			t.Errorf("%s: ended %t", name, ended)
		}
		if ended && (o.Status != c.want.Status || o.Reason != c.want.Reason || string(o.Result) != string(c.want.Result)) {
			t.Errorf("%s: %+v", name, o)
		}
		if name == "timeout" && o.Message != "m" {
			t.Errorf("%s: its message is %q", name, o.Message)
		}
	}
}

// outcomeFunc is an executor that ends at once with the function's outcome.
type outcomeFunc func() park.Outcome

func (s outcomeFunc) Run(context.Context, park.Assignment) park.Outcome { return s() }

// TestTimeLimits: a run has its whole time from its start, of which reading its submission takes some.
func TestTimeLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := idleLoop(t, false)
		now := p.eng.env.Mono()
		for read, want := range map[time.Duration]time.Duration{0: 5 * time.Second, 2 * time.Second: 3 * time.Second, 5 * time.Second: 0, time.Minute: 0} {
			ctx, cancel := context.WithCancelCause(t.Context())
			began := time.Now()
			p.Executor = park.ExecutorFunc(func(ctx context.Context, _ park.Assignment) (any, error) {
				<-ctx.Done()
				return nil, context.Cause(ctx)
			})
			o, ended := p.execute(ctx, runStart{run: &run{cancel: cancel}, ctx: ctx, spec: &ledger.Spec{Timeout: 5 * time.Second}, startedAt: now - read})
			if took := time.Since(began); took != want || !ended || o.Reason != park.ReasonTimeout || o.Message == "" {
				t.Errorf("after %s of reading it has %s: %+v", read, took, o)
			}
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		p.Executor = outcomeFunc(func() park.Outcome { return park.Outcome{Status: park.Completed} })
		if _, ended := p.execute(ctx, runStart{run: &run{cancel: cancel}, ctx: ctx, spec: &ledger.Spec{Timeout: 5 * time.Second}, startedAt: now}); !ended {
			t.Error("it has not ended")
		}
		time.Sleep(time.Minute)
		if ctx.Err() != nil {
			t.Error("a run that has ended is stopped")
		}
	})
}

// TestSubmissionOfAnotherTask is not taken for that of a start.
func TestSubmissionOfAnotherTask(t *testing.T) {
	one := park.At(time.Unix(1, 0))
	s := runStart{Started: lot.Started{TaskID: "a"}, submitted: one}
	for i, c := range []struct {
		byID map[string]*ledger.Spec
		want bool
	}{
		{nil, false},
		{map[string]*ledger.Spec{"a": {SubmittedAt: one}}, true},
		{map[string]*ledger.Spec{"a": {SubmittedAt: park.At(time.Unix(2, 0))}}, false},
		{map[string]*ledger.Spec{"b": {SubmittedAt: one}}, false},
	} {
		if got := s.specFrom(c.byID); (got != nil) != c.want {
			t.Errorf("%d: %+v", i, got)
		}
	}
}

// TestRunsAreForgotten: a run goes with its outcome, and not with that of an earlier one.
func TestRunsAreForgotten(t *testing.T) {
	newRun := func(attempt int) (*run, context.Context) {
		ctx, cancel := context.WithCancelCause(t.Context())
		return &run{task: "a", attempt: attempt, cancel: cancel}, ctx
	}
	for i, c := range []struct {
		attempt int
		gone    bool
	}{{1, false}, {2, true}, {3, true}} {
		p := testLoop(t, ledger.Pool{State: park.Active})
		p.drained = make(chan struct{})
		r, ctx := newRun(2)
		p.runs["a"] = r
		old, _ := newRun(1)
		p.forgetRun(old)
		p.stopRun("b", park.ErrCancelled)
		if p.countExecuting() != 1 || ctx.Err() != nil {
			t.Errorf("%d: an older run takes it along", i)
		}
		p.endRun(&ledger.Update{TaskID: "a", State: ledger.State{Status: park.Queued, Attempt: c.attempt}})
		if gone := len(p.runs) == 0; gone != c.gone || gone != env.Ready(p.drained) || gone != (ctx.Err() != nil) {
			t.Errorf("%d: gone %t, drained %t", i, gone, env.Ready(p.drained))
		}
		if p.runningHere.Load() != int64(len(p.runs)) && c.gone {
			t.Errorf("%d: %d are here", i, p.runningHere.Load())
		}
		p.runsChanged() // twice
		r.returned = true
		if p.countExecuting() != 0 {
			t.Errorf("%d: it executes what is over", i)
		}
	}
	p := testLoop(t, ledger.Pool{State: park.Active})
	r, ctx := newRun(1)
	p.runs["a"] = r
	p.stopRun("a", park.ErrTimeout)
	if !errors.Is(context.Cause(ctx), park.ErrTimeout) {
		t.Error(context.Cause(ctx))
	}
	for _, c := range []struct {
		status park.Status
		mean   time.Duration
	}{{park.Expired, 0}, {park.Dropped, 0}, {park.Queued, 0}, {park.Completed, time.Second}, {park.Failed, time.Second}} {
		p := testLoop(t, ledger.Pool{State: park.Active})
		p.specs.put(&ledger.Spec{TaskID: "a"})
		p.endRun(&ledger.Update{TaskID: "a", State: ledger.State{Status: c.status, StartedAt: park.At(time.Unix(1, 0)), EndedAt: park.At(time.Unix(2, 0))}})
		if p.runTime.mean != c.mean || (len(p.specs.byID) == 0) != c.status.Ended() {
			t.Errorf("%s: the mean is %s, and %d submissions are at hand", c.status, p.runTime.mean, len(p.specs.byID))
		}
	}
}

package loadtest

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// load runs a load test against f in fake time.
func load(t *testing.T, f *fake, o Options) *Report {
	t.Helper()
	o.Program = "none"
	o, err := o.complete()
	if err != nil {
		t.Fatal(err)
	}
	w, err := o.workload()
	if err != nil {
		t.Fatal(err)
	}
	f.pool.MaxUnits = w.units
	r, err := measure(t.Context(), o, w, &target{service: f, pool: f.pool, run: "lt-"})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// brokenGuarantees returns the guarantees that were reported as broken.
func brokenGuarantees(r *Report) []string {
	var b []string
	for _, v := range r.Verdicts {
		if !v.OK {
			b = append(b, v.Promise)
		}
	}
	return b
}

func TestAGoodPoolKeepsAllPromises(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var shown []Progress
		r := load(t, newFake(), Options{N: 2000, Progress: func(p Progress) { shown = append(shown, p) }})
		if !r.OK() {
			t.Errorf("broken: %q, offences %q", brokenGuarantees(r), r.Offences)
		}
		if r.Submitted != 2000 || r.Accepted != 2000 || r.Completed+r.Failed+r.Expired+r.Dropped != 2000 || r.Lost != 0 {
			t.Errorf("%d submitted, %d accepted, %d completed, %d failed, %d expired, %d lost", r.Submitted, r.Accepted, r.Completed, r.Failed, r.Expired, r.Lost)
		}
		if r.Failed == 0 || r.Expired == 0 || r.Dropped != 20 || r.Cancels != 20 || r.MaxParked == 0 || r.WakeMs.Count < 500 {
			t.Errorf("the load is not mixed: %d failed, %d expired, %d parked, %d wakes", r.Failed, r.Expired, r.MaxParked, r.WakeMs.Count)
		}
		if r.MaxUnitsInUse != 24 || r.MeanUnitsInUse < 15 || r.MailboxFoundRatio != 1 || r.WakeWithin1sRatio != 1 {
			t.Errorf("most %d, mean %g, found %g, woken %g", r.MaxUnitsInUse, r.MeanUnitsInUse, r.MailboxFoundRatio, r.WakeWithin1sRatio)
		}
		if int64(r.WakesSeen) != r.WakeMs.Count || r.WakeMs.Max > 1 || r.WakeAuditMs.Max != 0 {
			t.Errorf("%d wakes seen, %+v, in the log %+v", r.WakesSeen, r.WakeMs, r.WakeAuditMs)
		}
		if len(shown) < 3 || shown[len(shown)-1].Phase != Judging || !slices.ContainsFunc(shown, func(p Progress) bool { return p.Parked > 0 && p.Running > 0 }) {
			t.Errorf("progress: %+v", shown)
		}
	})
}

// TestFaultsAreFound gives the pool one fault at a time, and checks which guarantee is reported as broken.
func TestFaultsAreFound(t *testing.T) {
	one := func(id string) bool { return id == "lt-77" }
	tests := map[string]struct {
		spoil func(f *fake)
		want  string
	}{
		"over capacity":       {func(f *fake) { f.overCommit = 3 }, "starts over capacity"},
		"wakes late":          {func(f *fake) { f.startDelay = 1200 * time.Millisecond }, "within 1 s"},
		"starts late":         {func(f *fake) { f.runDelay = 1100 * time.Millisecond }, "within 1 s"},
		"lost message":        {func(f *fake) { f.loseMessage = one }, "outcomes missing"},
		"lost messages":       {func(f *fake) { f.loseMessage = func(id string) bool { return strings.HasSuffix(id, "7") } }, "found in their mailboxes"},
		"message twice":       {func(f *fake) { f.twice = one }, "duplicated"},
		"wrong result":        {func(f *fake) { f.wrongResult = one }, "wrong"},
		"task lost":           {func(f *fake) { f.neverEnds = one }, "lost"},
		"out of order":        {func(f *fake) { f.lastFirst = true }, "out of order"},
		"every task fails":    {func(f *fake) { f.work = func(id string, w *fakeWork) { w.Fail = id != "lt-probe" } }, asAsked},
		"no task fails":       {func(f *fake) { f.work = func(_ string, w *fakeWork) { w.Fail = false } }, asAsked},
		"no work is done":     {func(f *fake) { f.work = func(_ string, w *fakeWork) { w.DurationMs = 0 } }, "before their work"},
		"never stops":         {func(f *fake) { f.ignoreCancel = true }, asAsked},
		"stops late":          {func(f *fake) { f.ignoreCancel = true }, "continued after"},
		"expires early":       {func(f *fake) { f.expireEarly = time.Millisecond }, asAsked},
		"cancels none":        {func(f *fake) { f.onCancel = notThere }, inAnswers},
		"cancels another":     {func(f *fake) { f.onCancel = another }, inAnswers},
		"answers for another": {func(f *fake) { f.onAnswer = func(r *park.SubmitResult) { r.TaskID += "0" } }, inAnswers},
		"answers for a pool":  {func(f *fake) { f.onAnswer = func(r *park.SubmitResult) { r.PoolID = "other" } }, inAnswers},
		"answers no position": {func(f *fake) { f.onAnswer = func(r *park.SubmitResult) { r.Position = 0 } }, inAnswers},
		"answers no time":     {func(f *fake) { f.onAnswer = func(r *park.SubmitResult) { r.SubmittedAt = park.Time{} } }, inAnswers},
		"answers it is over":  {func(f *fake) { f.onAnswer = func(r *park.SubmitResult) { r.Status, r.Position = park.Completed, 0 } }, inAnswers},
		"answers too few":     {func(f *fake) { f.dropAnswer = true }, inAnswers},
		"never answered":      {func(f *fake) { f.refuse = func(id string) *park.Error { return deaf(id, one) } }, "without an answer"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				tt.spoil(f)
				r := load(t, f, Options{N: 300, Batch: 2})
				if !about(brokenGuarantees(r), tt.want) {
					t.Errorf("broken: %q, want one about %q", brokenGuarantees(r), tt.want)
				}
			})
		})
	}
}

func notThere(t *park.Task, _ error) (park.Task, error) {
	return park.Task{}, park.Errorf(park.TaskNotFound, "no task %s", t.TaskID)
}

func another(t *park.Task, err error) (park.Task, error) {
	t.TaskID += "0"
	return *t, err
}

func deaf(id string, to func(string) bool) *park.Error {
	if to(id) {
		return park.Errorf(park.StorageUnavailable, "not now")
	}
	return nil
}

func TestWakeIsWhatThePoolTakes(t *testing.T) {
	for name, f := range map[string]func(*fake){
		"before the start": func(f *fake) { f.startDelay = 40 * time.Millisecond },
		"after the start":  func(f *fake) { f.runDelay = 40 * time.Millisecond },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newFake()
				f(p)
				r := load(t, p, Options{N: 500})
				if r.WakeMs.P50 < 20 || r.WakeMs.P95 < 39.9 || r.WakeMs.Max > 42 {
					t.Errorf("wake %+v, want up to 40 ms", r.WakeMs)
				}
			})
		})
	}
}

func TestRefusedTasksAreNoFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.pool.MaxQueueDepth = 20
		r := load(t, f, Options{N: 300, Batch: 7})
		if full := r.Rejections["queue_full"]; !r.OK() || full == 0 || r.Rejected < full || r.Accepted+r.Rejected != 300 {
			t.Errorf("broken %q, %d accepted, rejected %v, offences %q", brokenGuarantees(r), r.Accepted, r.Rejections, r.Offences)
		}
	})
}

// TestNobodyIsThere: if a daemon no longer answers, the load test does not wait for it once for each remaining task.
func TestNobodyIsThere(t *testing.T) {
	for name, o := range map[string]Options{"one after the other": {N: 1000, Concurrency: 4}, "at times of their own": {N: 1000, Rate: 100, Concurrency: 4}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				f.outage = func() bool { return f.offered > 200 }
				r := load(t, f, o)
				if !about(brokenGuarantees(r), "without an answer") || r.Submitted > 210 || !about(r.Notes, "gave up submitting") {
					t.Errorf("%d submitted, broken: %q, %q", r.Submitted, brokenGuarantees(r), r.Notes)
				}
			})
		})
	}
}

// TestOpenLoopChargesAStall stops the store for two seconds. Tasks keep arriving, and their latencies include the
// stall.
func TestOpenLoopChargesAStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		begun := time.Now()
		f.outage = func() bool {
			s := time.Since(begun)
			return s > time.Second && s < 3*time.Second
		}
		r := load(t, f, Options{N: 1000, Rate: 200})
		if !r.OK() {
			t.Errorf("broken: %q", brokenGuarantees(r))
		}
		if r.SubmitSecs < 4 || r.SubmitSecs > 7 {
			t.Errorf("1000 arrivals at 200/s took %g s", r.SubmitSecs)
		}
		if r.SubmitMs.Max < 1900 || r.SubmitMs.P50 > 2000 || r.SubmitMs.P95 < 1000 {
			t.Errorf("latencies %+v", r.SubmitMs)
		}
	})
}

func TestDurationEndsTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := load(t, newFake(), Options{Duration: 3 * time.Second, Concurrency: 1})
		if r.SubmitSecs < 3 || r.SubmitSecs > 3.1 || r.Submitted < 2500 {
			t.Errorf("%d tasks in %g s", r.Submitted, r.SubmitSecs)
		}
	})
}

func TestAPoolThatDoesNotSimulateIsRefused(t *testing.T) {
	good := newFake().pool
	for want, change := range map[string]func(*park.Pool){
		"executor": func(p *park.Pool) { p.Executor = "exec" },
		"paused":   func(p *park.Pool) { p.State = park.Paused },
		"no units": func(p *park.Pool) { p.MaxUnits = 0 },
		"halted":   func(p *park.Pool) { p.Halted = "because" },
	} {
		p := good
		change(&p)
		if err := usable(p); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if err := usable(good); err != nil {
		t.Error(err)
	}
}

func TestAnAbortedRunReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		o, err := Options{Duration: time.Hour, Concurrency: 1, Program: "none"}.complete()
		if err != nil {
			t.Fatal(err)
		}
		f := newFake()
		_, err = measure(ctx, o, o.mixed(), &target{service: f, pool: f.pool, run: "lt-"})
		if err == nil {
			t.Error("no error from a run that was aborted")
		}
		time.Sleep(time.Minute) // until the running tasks have ended
	})
}

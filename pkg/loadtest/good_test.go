package loadtest

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// TestGoodRunsPass runs loads of many kinds against a good pool. No guarantee may be reported as broken.
func TestGoodRunsPass(t *testing.T) {
	tests := map[string]struct {
		o    Options
		with func(f *fake)
	}{
		"batches":       {Options{N: 300, Batch: 25, Concurrency: 4}, nil},
		"one client":    {Options{N: 100, Concurrency: 1}, nil},
		"arrivals":      {Options{N: 300, Rate: 300}, nil},
		"a small pool":  {Options{N: 200, Units: 1}, nil},
		"a large pool":  {Options{N: 200, Units: 10_000}, nil},
		"one tenant":    {Options{N: 200, Tenant: "acme"}, nil},
		"long work":     {Options{N: 200, Work: 2 * time.Second}, nil},
		"for some time": {Options{Duration: 300 * time.Millisecond, Concurrency: 2}, nil},
		"a time limit":  {Options{N: firstLimit + 10}, nil},
		"a trace":       {Options{Trace: "testdata/short.swf", Speed: 1000}, nil},
		"a full lot":    {Options{N: 300}, func(f *fake) { f.pool.MaxQueueDepth = 20 }},
		"no lot":        {Options{N: 100}, func(f *fake) { f.pool.MaxQueueDepth = 0 }},
		"slow to wake":  {Options{N: 200}, func(f *fake) { f.startDelay = 40 * time.Millisecond }},
		"slow to begin": {Options{N: 200}, func(f *fake) { f.runDelay = 40 * time.Millisecond }},
		"lost answers":  {Options{N: 200}, func(f *fake) { f.loseAnswer = func(n int) bool { return n%7 == 3 } }},
		"answers lost twice": {Options{N: 100, Batch: 10}, func(f *fake) {
			f.loseAnswer = func(n int) bool { return n%5 > 2 }
		}},
		"no answers for a while": {Options{N: 200}, func(f *fake) {
			n := 0
			f.outage = func() bool { n++; return n > 50 && n < 150 }
		}},
		"overloaded": {Options{N: 200}, func(f *fake) {
			n := 0
			f.refuse = func(string) *park.Error {
				if n++; n%3 == 0 {
					return park.Errorf(park.Overloaded, "not now")
				}
				return nil
			}
		}},
		"runs lost": {Options{N: 300, Backend: "postgres", Nodes: 2}, func(f *fake) {
			f.onSubmit = func(n int) {
				if n == 100 || n == 200 {
					f.loseRuns()
				}
			}
		}},
		"tasks of others": {Options{N: 200, Server: "theirs"}, func(f *fake) {
			f.onSubmit = func(n int) {
				if n%3 == 0 {
					f.submitForeign(fmt.Sprint("theirs-", n), park.Priority(n%4)-1)
				}
			}
		}},
		"tasks of others before": {Options{N: 200, Server: "theirs"}, func(f *fake) {
			f.pool.MaxUnits = 24
			for n := range 60 {
				f.submitForeign(fmt.Sprint("theirs-", n), park.Priority(n%4)-1)
			}
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				if tt.with != nil {
					tt.with(f)
				}
				r := load(t, f, tt.o)
				time.Sleep(time.Hour) // until the tasks of others have ended
				if !r.OK() || r.Submitted == 0 || r.Accepted == 0 {
					t.Errorf("broken %q, %d submitted, %d accepted, %q, %q", brokenGuarantees(r), r.Submitted, r.Accepted, r.Offences, r.Notes)
				}
			})
		})
	}
}

// submitForeign submits a task of another client.
func (f *fake) submitForeign(id string, p park.Priority) {
	f.step(func(event func(park.Action, *fakeTask, string)) {
		f.take(park.Submission{
			TaskID: id, Tenant: "them", Priority: p, ResourceCost: park.Cost{Units: 3}, Payload: payload(30*time.Millisecond, false, 1),
		}, event)
	})
}

// TestUnansweredSubmissionsAreJudgedRight: a submission without an answer may exist or not; if it exists, it must be as
// submitted.
func TestUnansweredSubmissionsAreJudgedRight(t *testing.T) {
	for name, tt := range map[string]struct {
		err  error
		take bool
		want string
	}{
		"unknown and taken":    {park.Errorf(park.OutcomeUnknown, "who knows"), true, ""},
		"unknown, not taken":   {park.Errorf(park.OutcomeUnknown, "who knows"), false, ""},
		"broken and taken":     {context.DeadlineExceeded, true, ""},
		"overloaded and taken": {park.Errorf(park.Overloaded, "not now"), true, "after being rejected"},
		"overloaded":           {park.Errorf(park.Overloaded, "not now"), false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				f.answerInstead = func(id string) (bool, error) {
					if id == "lt-50" {
						return tt.take, tt.err
					}
					return true, nil
				}
				r := load(t, f, Options{N: 100})
				got := brokenGuarantees(r)
				if !about(got, "without an answer") || tt.want != "" && !about(got, tt.want) || tt.want == "" && len(got) != 1 {
					t.Errorf("broken %q, want an answer missing and %q; %q", got, tt.want, r.Offences)
				}
			})
		})
	}
}

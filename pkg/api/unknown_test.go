package api

import (
	"context"
	"testing"

	"github.com/parkd-dev/parkd/pkg/park"
)

// inDoubt is a service whose store has not said whether it took a submission.
type inDoubt struct{ park.Service }

func (inDoubt) Submit(_ context.Context, _ string, tasks []park.Submission) ([]park.SubmitResult, error) {
	results := make([]park.SubmitResult, len(tasks))
	for i := range results {
		results[i].Err = &park.Error{Code: park.OutcomeUnknown, TaskID: "made-" + string(rune('a'+i))}
	}
	return results, nil
}

// TestOutcomeUnknownNamesTheTask: the body carries the id, alone and in a batch.
func TestOutcomeUnknownNamesTheTask(t *testing.T) {
	h := newAPI(t, Config{Service: inDoubt{}}).TCP()
	var one problem
	ask{method: "POST", path: "/pools/p/tasks"}.to(t, h).is(500, &one)
	if one.Code != "outcome_unknown" || one.TaskID != "made-a" || one.Status != 500 || one.Title == "" {
		t.Errorf("%+v", one)
	}
	var batch struct{ Results []problem }
	ask{method: "POST", path: "/pools/p/tasks:batch", body: `{"tasks":[{},{},{}]}`}.to(t, h).is(200, &batch)
	for i, r := range batch.Results {
		if want := "made-" + string(rune('a'+i)); r.Code != "outcome_unknown" || r.TaskID != want || r.Status != 500 {
			t.Errorf("in a batch: %+v, want the task %s", r, want)
		}
	}
}

package replay_test

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/parkd-dev/parkd/pkg/internal/replay"
	"github.com/parkd-dev/parkd/pkg/park"
)

// TestResumed: after its queue was lost a pool continues without tasks; after its queue was restored it continues with
// unknown ones.
func TestResumed(t *testing.T) {
	resumed := func(rev int64, tasks string) park.Event {
		return park.Event{
			PoolID: "gpu", Rev: rev, Action: park.ActUpdate,
			Detail: json.RawMessage(`{"resumed":{"tasks":"` + tasks + `","maxUnits":2,"maxQueueDepth":5,"state":"active"}}`),
		}
	}
	event := func(rev int64, ord int, a park.Action, task string, units int64, attempt int) park.Event {
		return park.Event{PoolID: "gpu", Rev: rev, Ord: ord, Action: a, TaskID: task, Units: units, Attempt: attempt}
	}
	// One task runs, and the log was cut after the submission of another.
	before := []park.Event{
		event(1, 0, park.ActSubmit, "a", 8, 0), event(1, 1, park.ActStart, "a", 8, 1), event(2, 0, park.ActSubmit, "b", 1, 0),
	}
	again := []park.Event{event(4, 0, park.ActSubmit, "a", 2, 0), event(4, 1, park.ActStart, "a", 2, 1)}
	for name, tt := range map[string]struct {
		events []park.Event
		rule   replay.Rule
	}{
		"lost":                            {append([]park.Event{resumed(3, "lost")}, again...), ""},
		"lost, and a task of before ends": {[]park.Event{resumed(3, "lost"), event(4, 0, park.ActComplete, "a", 8, 1)}, replay.RuleLife},
		"lost, and too much is started": {
			append([]park.Event{resumed(3, "lost")}, append(again, event(5, 0, park.ActSubmit, "c", 1, 0), event(5, 1, park.ActStart, "c", 1, 1))...),
			replay.RuleCapacity,
		},
		"put back, and a task of before ends": {[]park.Event{resumed(3, "older"), event(4, 0, park.ActComplete, "a", 8, 1)}, ""},
		"a rev is missing":                    {[]park.Event{resumed(4, "lost")}, replay.RuleOrder},
	} {
		t.Run(name, func(t *testing.T) {
			events := append(slices.Clip(before), tt.events...)
			_, err := replay.Run(replay.Initial(replay.Limits{MaxUnits: 2, MaxQueueDepth: 5}, events), events)
			o, _ := err.(*replay.Offence) //nolint:errorlint // it is never wrapped
			if (o == nil) != (tt.rule == "") || o != nil && o.Rule != tt.rule {
				t.Errorf("got %v, want an offence of rule %q", err, tt.rule)
			}
		})
	}
}

package lot_test

import (
	"strings"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

// TestLiveTasksCarryNoTexts checks that a live task carries no text. Nodes exchange thousands of live tasks at once,
// so they must be small, and the text of a failure is dropped if the task is retried.
func TestLiveTasksCarryNoTexts(t *testing.T) {
	now := lot.Instant{Wall: park.At(time.Unix(1_800_000_000, 0)), Mono: time.Hour}
	l := lot.New(lot.Config{Pool: "p", Node: "n", Row: ledger.Pool{MaxUnits: 1, MaxQueueDepth: 10, State: park.Active}}, now)
	l.Apply(now, []lot.Op{lot.Submit{Spec: &ledger.Spec{PoolID: "p", TaskID: "a", Units: 1, Retry: park.Retry{MaxAttempts: 3}}}}, nil)
	for attempt := 1; attempt <= 3; attempt++ {
		o := park.Failure("broken", strings.Repeat("x", 8<<10))
		o.Result = []byte(`"partial"`)
		step, _ := l.Apply(now, []lot.Op{lot.Finish{TaskID: "a", Attempt: attempt, Outcome: o}}, nil)
		if s := step.Updates[0].State; s.Status.Ended() == (s.Message == "") || s.Status.Ended() != (attempt == 3) {
			t.Errorf("after attempt %d the task is %s and has a message of %d bytes", attempt, s.Status, len(s.Message))
		} else if !s.Status.Ended() && (s.Reason != "" || s.Result != nil) {
			t.Errorf("after attempt %d the task is %s and has the reason %q and the result %s", attempt, s.Status, s.Reason, s.Result)
		}
	}
}

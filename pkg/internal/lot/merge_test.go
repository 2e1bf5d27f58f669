package lot_test

import (
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

// TestMergeOfARankThatChangedHands requeues a task at a rank that another task has left since. A lot that merges both
// at once, in either order, must lose neither.
func TestMergeOfARankThatChangedHands(t *testing.T) {
	now := lot.Instant{Wall: park.At(time.Unix(1_800_000_000, 0)), Mono: time.Hour}
	record := func(id string, s park.Status, rank int64) ledger.Record {
		return ledger.Record{
			Spec:  ledger.Spec{PoolID: "p", TaskID: id, Units: 1, SubmittedAt: now.Wall},
			State: ledger.State{Status: s, Rank: rank, Attempt: 1},
		}
	}
	row := ledger.Pool{Rev: 1, MaxUnits: 1, MaxQueueDepth: 10, State: park.Active, Used: 1, Queued: 1}
	returned, started := record("returned", park.Queued, 5), record("started", park.Running, 5)
	for _, heard := range [][]ledger.Record{{returned, started}, {started, returned}} {
		l := lot.New(lot.Config{Pool: "p", Node: "n", Row: row, Tasks: []ledger.Record{
			record("returned", park.Running, 4), record("started", park.Queued, 5),
		}}, now)
		row.Rev = 3
		l.Merge(row, heard, now)
		if err := l.CheckAll(); err != nil {
			t.Fatal(err)
		}
		step, _ := l.Apply(now, []lot.Op{lot.Finish{TaskID: "started", Attempt: 1, Outcome: park.Outcome{Status: park.Completed}}}, nil)
		if len(step.Started) != 1 || step.Started[0].TaskID != "returned" {
			t.Errorf("started %+v after %s was heard of first", step.Started, heard[0].TaskID)
		}
	}
}

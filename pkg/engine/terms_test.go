package engine_test

import (
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/park"
)

// TestNodesThatDifferNeverShareAUnit has nodes of different node_ttl and kill_grace share a pool. One that may be silent
// for long is cut off: it goes on for its own time, and the others, who allow themselves far less, leave it that.
func TestNodesThatDifferNeverShareAUnit(t *testing.T) {
	for _, c := range []struct {
		name             string
		ttl, grace       [2]time.Duration
		soonest, longest time.Duration // until what ran at the first node runs at the second
	}{
		{"the first may be silent for longer", [2]time.Duration{40 * time.Second, 5 * time.Second}, [2]time.Duration{3 * time.Second, 3 * time.Second}, 42 * time.Second, 60 * time.Second},
		{"the first takes longer to stop", [2]time.Duration{5 * time.Second, 5 * time.Second}, [2]time.Duration{30 * time.Second, 3 * time.Second}, 34 * time.Second, 50 * time.Second},
		{"the second has both", [2]time.Duration{5 * time.Second, 30 * time.Second}, [2]time.Duration{3 * time.Second, 20 * time.Second}, 45 * time.Second, 70 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var w unitCounter
				var said logBuffer
				tm := openCluster(t, 2, func(i int, e *engine.Config) {
					e.Pools, e.NodeTTL, e.NodeGrace = []engine.Pool{w.newPool(1)}, c.ttl[i], c.grace[i]
					e.Log = slog.New(slog.NewTextHandler(&said, nil))
				})
				defer tm.stop()
				a, b := tm.nodes[0], tm.nodes[1]
				a.submit("cpu", withID("x", sleepFor(300_000)))
				time.Sleep(5 * time.Second)
				if n := said.count("nodes differ in node_ttl or kill_grace"); n != 2 {
					t.Errorf("%d nodes say that they differ, want each once", n)
				}
				cut := time.Now()
				tm.stores[0].cut.Store(true)
				got := b.awaitTask("cpu", "x")
				if got.Status != park.Completed || got.Attempt != 2 || w.most > 1 {
					t.Errorf("%s in attempt %d, and at most %d processes at once on one unit", got.Status, got.Attempt, w.most)
				}
				starts := b.events(park.AuditQuery{Action: park.ActStart})
				if after := starts[1].At.Sub(cut); after < c.soonest || after > c.longest {
					t.Errorf("taken over after %s, want from %s to %s", after, c.soonest, c.longest)
				}
			})
		})
	}
}

// TestOneNodeAfterTheOtherIsGivenOtherTerms restarts nodes one by one with a longer node_ttl, as a rolling change does.
func TestOneNodeAfterTheOtherIsGivenOtherTerms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w unitCounter
		terms := []time.Duration{3 * time.Second, 3 * time.Second, 30 * time.Second, 30 * time.Second}
		tm := openCluster(t, len(terms), func(i int, e *engine.Config) {
			e.Pools, e.NodeTTL, e.NodeGrace = []engine.Pool{w.newPool(1)}, terms[i], 3*time.Second
		})
		defer tm.stop()
		for i := range 2 {
			tm.nodes[i].submit("cpu", withID(fmt.Sprint(i), sleepFor(20_000)))
			time.Sleep(2 * time.Second)
			tm.stores[i].cut.Store(true) // killed, or replaced while it was cut off
			time.Sleep(10 * time.Second)
		}
		for i := range 2 {
			if got := tm.nodes[3].awaitTask("cpu", fmt.Sprint(i)); got.Status != park.Completed {
				t.Errorf("task %d is %s", i, got.Status)
			}
		}
		if w.most > 1 {
			t.Errorf("%d processes at once on one unit", w.most)
		}
	})
}

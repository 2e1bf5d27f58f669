package engine_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// TestParkedTasksAreShownWhileACommitHangs reads what is parked while the pool's loop waits for its store: without
// positions if need be, but within the patience of a call.
func TestParkedTasksAreShownWhileACommitHangs(t *testing.T) {
	for name, read := range map[string]func(b *harness) (park.Task, error){
		"one": func(b *harness) (park.Task, error) { return b.Task(context.Background(), "cpu", "a", 0) },
		"all": func(b *harness) (park.Task, error) {
			page, err := b.Tasks(context.Background(), "cpu", park.TaskQuery{Status: park.Queued})
			if err != nil || len(page.Tasks) == 0 {
				return park.Task{}, err
			}
			return page.Tasks[len(page.Tasks)-1], nil // the newest come first
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			b, d := openFlaky(t, poolConfig("cpu", 1, sleepExecutor()))
			defer b.closeNow()
			b.submit("cpu", withID("long", sleepFor(36_000_000)))
			b.submit("cpu", withID("a", sleepFor(1)))
			var over atomic.Bool
			d.hangCommits(10*time.Minute, &over)
			go b.trySubmit("cpu", withID("b", sleepFor(1)))
			time.Sleep(time.Second)
			began := time.Now()
			got, err := read(b)
			if took := time.Since(began); err != nil || got.TaskID != "a" || got.Status != park.Queued || took > 10*time.Second {
				t.Errorf("%s: after %s: %+v, %v", name, took, got, err)
			}
			over.Store(true)
			time.Sleep(time.Hour)
			if got, err := read(b); err != nil || got.Position != 1 {
				t.Errorf("%s: once the store is back: %+v, %v", name, got, err)
			}
		})
	}
}

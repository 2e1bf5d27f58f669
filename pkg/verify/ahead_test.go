package verify_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// prunedAhead makes a file whose daemon removed all that had ended by a clock that was a year ahead, and then went on by the
// right one.
func prunedAhead(t *testing.T, path string) {
	t.Helper()
	live(t, path)
	a := archived(t, path)
	prune(t, park.At(time.Now().AddDate(1, 0, 0)), a.PruneEvents, a.PruneMessages, a.PruneTasks)
	if err := a.Store.Close(); err != nil {
		t.Fatal(err)
	}
	x := open(t, path)
	active := park.Active
	x.set(park.PoolPatch{State: &active})
	x.submit(task("a1", 1, `1`), task("a2", 2, bad))
	x.offer("cpu", task("c1", 1, `1`))
	x.end("a1", "a2", "p1", "p2", "p3")
	if _, err := x.Task(t.Context(), "cpu", "c1", time.Minute); err != nil {
		t.Fatal(err)
	}
	right(t, x)
	x.stop()
}

// TestGoodPrunedAhead: a mark that lies in the future hides neither what was done since nor its loss.
func TestGoodPrunedAhead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.db")
	prunedAhead(t, path)
	edit(t, path, "DELETE FROM pl_mailbox_messages WHERE task_id = 'a1'")
	edit(t, path, "DELETE FROM pl_queue_jobs WHERE task_id = 'c1'", "DELETE FROM pl_mailbox_messages WHERE task_id = 'c1'")
	a := archived(t, path)
	for pool, task := range map[string]string{"gpu": "a1", "cpu": "c1"} {
		if o := found(t, a, pool); o == nil || o.TaskID != task {
			t.Errorf("of task %s something is gone, but found was %v", task, o)
		}
	}
}

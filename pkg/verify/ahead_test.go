package verify_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/verify"
)

// prunedAhead makes a file whose daemon pruned by a clock that was a year ahead, and then continued with the correct
// clock.
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
	wantClean(t, x)
	x.stop()
}

// TestGoodPrunedAhead: a mark in the future hides neither later tasks nor their loss.
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

// lasting is an archive with a retention. Reading it takes hours, during which old items are removed.
type lasting struct {
	pruning
	now *time.Time
}

func (l lasting) Evidence(ctx context.Context, pool string) (park.Evidence, error) {
	ev, err := l.pruning.Evidence(ctx, pool)
	ev.Retention = park.Duration(time.Hour)
	return ev, err
}

func (l lasting) KeptTasks(ctx context.Context, pool string, q park.KeptQuery) (park.KeptPage[park.KeptTask], error) {
	*l.now = l.now.Add(3 * time.Hour)
	return l.pruning.KeptTasks(ctx, pool, q)
}

// TestGoodPrunedAheadMeanwhile: a mark in the future does not limit what may be removed during the verification.
func TestGoodPrunedAheadMeanwhile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.db")
	prunedAhead(t, path)
	a := archived(t, path)
	row, err := a.Row(t.Context(), "gpu")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	x := lasting{pruning{archive: a, t: t, before: row.LastAt, late: true}, &now}
	if _, err := verify.Pool(t.Context(), x, "gpu", verify.Options{Now: func() time.Time { return now }}); err != nil {
		t.Error(err)
	}
}

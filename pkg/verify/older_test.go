package verify_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/replay"
	"github.com/parkd-dev/parkd/pkg/park"
)

// TestGoodTakenBack: a schema was taken back for an older daemon, which did not tell which runs count and of rests, and brought
// forward again. Of a file that no older daemon has worked on the same is an offence.
func TestGoodTakenBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.db")
	x := open(t, path)
	x.submit(task("rests", 4, bad, attempts(3, time.Hour)))
	for giveUp := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if r, err := x.Task(t.Context(), "gpu", "rests", 0); err == nil && r.Attempt == 1 && r.Status == park.Queued {
			break
		} else if time.Now().After(giveUp) {
			t.Fatal(r.Status, err)
		}
	}
	x.submit(task("passes", 4, `1`), task("tries", 1, bad, attempts(3, 0)))
	x.end("passes", "tries")
	right(t, x)
	x.stop()
	edit(t, path, "UPDATE pl_migrations SET tstamp = datetime('now')", // made in one go, however long that took
		"UPDATE pl_audit_events SET detail = CAST(json_remove(CAST(detail AS TEXT), '$.strike', '$.notBefore') AS BLOB) WHERE action = 'requeue'")
	strict := archived(t, path)
	if o := found(t, strict, "gpu"); o == nil || o.Rule != replay.RuleRetry {
		t.Errorf("requeues do not tell what they should, but found was %v", o)
	}
	if err := strict.Close(); err != nil {
		t.Fatal(err)
	}
	edit(t, path, "UPDATE pl_migrations SET tstamp = datetime('now', '-1 day') WHERE version_id = 1")
	right(t, open(t, path))
}

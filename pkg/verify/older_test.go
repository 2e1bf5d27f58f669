package verify_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/replay"
	"github.com/parkd-dev/parkd/pkg/park"
)

// TestGoodTakenBack: a schema was rolled back for an older daemon, which does not log which runs count nor backoffs,
// and then migrated forward again. In a file that no older daemon has used, the same log is an offence.
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
	wantClean(t, x)
	x.stop()
	edit(t, path, "UPDATE pl_migrations SET tstamp = datetime('now')", // as if all migrations had run at once
		"UPDATE pl_audit_events SET detail = CAST(json_remove(CAST(detail AS TEXT), '$.strike', '$.notBefore') AS BLOB) WHERE action = 'requeue'")
	strict := archived(t, path)
	if o := found(t, strict, "gpu"); o == nil || o.Rule != replay.RuleRetry {
		t.Errorf("requeues do not tell what they should, but found was %v", o)
	}
	if err := strict.Close(); err != nil {
		t.Fatal(err)
	}
	edit(t, path, "UPDATE pl_migrations SET tstamp = datetime('now', '-1 day') WHERE version_id = 1")
	wantClean(t, open(t, path))
}

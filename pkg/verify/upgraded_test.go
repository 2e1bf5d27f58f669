package verify_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/memory"
)

// TestGoodUpgraded: if a file was pruned before marks existed, its marks are estimates from the oldest rows. Pools
// commit concurrently, so the oldest row need not have the earliest time.
func TestGoodUpgraded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.db")
	x := open(t, path)
	x.offer("gpu", task("g0", 1, `1`))
	x.end("g0")
	x.offer("cpu", task("c0", 1, `1`))
	x.offer("gpu", task("g1", 1, `1`))
	x.end("g1")
	wantClean(t, x)
	x.stop()
	a := archived(t, path)
	log, err := a.Events(t.Context(), park.AuditQuery{TaskID: "g1", Limit: 1})
	if err != nil || len(log) != 1 {
		t.Fatal(log, err)
	}
	prune(t, log[0].At, a.PruneEvents, a.PruneMessages, a.PruneTasks)
	if err := a.Store.Close(); err != nil {
		t.Fatal(err)
	}
	up, err := os.ReadFile("../../migrations/sqlite/00003_marks.sql")
	if err != nil {
		t.Fatal(err)
	}
	_, guess, _ := strings.Cut(string(up), "-- +goose Up")
	guess, _, _ = strings.Cut(guess, "-- +goose Down")
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []string{
		// A step of cpu, decided a millisecond after the first step of gpu that is left, and written before it.
		`INSERT INTO pl_audit_events SELECT seq - 1, 'cpu', (SELECT rev + 1 FROM pl_pools WHERE pool_id = 'cpu'), 0, at + 1000, late, 1, 15, 'reject', 'x',
			tenant, 1, 0, '', CAST('{"code":"queue_full"}' AS BLOB) FROM pl_audit_events ORDER BY seq LIMIT 1`,
		`UPDATE pl_pools SET rev = rev + 1, last_at = (SELECT at FROM pl_audit_events ORDER BY seq LIMIT 1) WHERE pool_id = 'cpu'`,
		"DROP TABLE pl_marks", guess,
	} {
		if _, err := db.ExecContext(t.Context(), q); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	wantClean(t, open(t, path))
}

func prune(t *testing.T, before park.Time, all ...func(context.Context, park.Time, int) (int, error)) {
	t.Helper()
	for _, p := range all {
		if _, err := p(t.Context(), before, 1000); err != nil {
			t.Fatal(err)
		}
	}
}

// away is a store whose first reads fail.
type away struct {
	*memory.Store
	left *atomic.Int32
}

func (a away) Load(ctx context.Context, pool string) (store.Snapshot, error) {
	if a.left.Add(-1) >= 0 {
		return store.Snapshot{}, errors.New("away")
	}
	return a.Store.Load(ctx, pool)
}

// TestGoodAwayAtStart: the queue survives the daemon, log and mailboxes do not, and the database is not reachable when
// a daemon starts.
func TestGoodAwayAtStart(t *testing.T) {
	db := memory.New()
	for life, fails := range []int32{0, 0, 2} {
		left := &atomic.Int32{}
		left.Store(fails)
		c := config(nil, park.Postgres, nil)
		c.Shared = []park.Backend{park.Postgres}
		c.Stores, c.Audit = map[park.Backend]store.Store{park.Postgres: away{db, left}, park.InMemory: memory.New()}, park.InMemory
		for i := range c.Pools {
			c.Pools[i].MailboxBackend = park.InMemory
		}
		x := openOn(t, c, func() {})
		id := fmt.Sprint("t", life)
		for giveUp := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
			r, err := x.Submit(t.Context(), "gpu", []park.Submission{task(id, 1, `1`)})
			if err == nil && r[0].Err == nil {
				break
			}
			if time.Now().After(giveUp) {
				t.Fatal(err)
			}
		}
		x.end(id)
		wantClean(t, x)
		x.stop()
	}
}

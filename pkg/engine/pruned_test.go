package engine_test

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/memory"
)

// pruningStore is a store that has pruned ended tasks before other nodes read the changes.
type pruningStore struct {
	cuttableStore
	prunes atomic.Bool
}

func (f *pruningStore) ChangesSince(ctx context.Context, pool string, rev int64) (*store.Conflict, error) {
	c, err := f.cuttableStore.ChangesSince(ctx, pool, rev)
	if c != nil && f.prunes.Load() {
		c.Changed = slices.DeleteFunc(c.Changed, func(r ledger.Record) bool { return r.Status.Ended() })
	}
	return c, err
}

// TestPrunedBeforeItsEndIsHeardOf: a node that another's step tells nothing of a task, because it has ended and was pruned,
// does not go on counting its units.
func TestPrunedBeforeItsEndIsHeardOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w unitCounter
		f := &pruningStore{}
		tm := openCluster(t, 2, func(i int, c *engine.Config) {
			c.Pools = []engine.Pool{w.newPool(1)}
			if i == 1 {
				f.Store = c.Stores[park.InMemory].(*cuttableStore).Store
				c.Stores[park.InMemory] = f
			}
		})
		defer tm.stop()
		tm.nodes[0].submit("cpu", withID("a", sleepFor(5000)))
		time.Sleep(time.Second) // the other knows of it
		f.prunes.Store(true)
		tm.nodes[0].awaitTask("cpu", "a")
		time.Sleep(time.Second)
		p, err := tm.nodes[1].Pool(t.Context(), "cpu")
		if err != nil || p.UsedUnits != 0 || p.Halted != "" {
			t.Errorf("the other node has %d units in use (%s, %v)", p.UsedUnits, p.Halted, err)
		}
		if got := tm.nodes[1].submit("cpu", withID("b", sleepFor(10))); got.Status != park.Running {
			t.Errorf("the next task is %s", got.Status)
		}
		tm.nodes[1].awaitTask("cpu", "b")
	})
}

// unprunable is a store whose log can be written and read, and not pruned.
type unprunable struct{ store.Store }

func (unprunable) PruneEvents(context.Context, park.Time, int) (int, error) { return 0, errCut }

// TestPrunedApart: a log that cannot be pruned is told of once a pass, and keeps neither queue nor mailbox in other stores
// from being pruned.
func TestPrunedApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told bytes.Buffer
		p := poolConfig("cpu", 1, sleepExecutor())
		p.MailboxBackend = park.File
		b := openEngine(t, engine.Config{
			Pools: []engine.Pool{p}, Audit: park.Postgres, Retention: time.Hour, Log: slog.New(slog.NewTextHandler(&told, nil)),
			Stores: map[park.Backend]store.Store{
				park.InMemory: memory.New(), park.File: memory.New(), park.Postgres: unprunable{memory.New()},
			},
		})
		b.submit("cpu", withID("a", sleepFor(10)))
		b.awaitTask("cpu", "a")
		time.Sleep(30 * time.Minute)
		if got := b.readPages("box"); len(got) != 1 {
			t.Errorf("after half an hour %d messages are left", len(got))
		}
		time.Sleep(time.Hour)
		if page, err := b.Tasks(t.Context(), "cpu", park.TaskQuery{Limit: 10}); err != nil || len(page.Tasks) != 0 {
			t.Errorf("after the retention %d tasks are left (%v)", len(page.Tasks), err)
		}
		if got := b.readPages("box"); len(got) != 0 {
			t.Errorf("after the retention %d messages are left", len(got))
		}
		if got := b.events(park.AuditQuery{}); len(got) == 0 {
			t.Error("a log that cannot be pruned is empty")
		}
		b.closeNow()
		// The passes are a minute apart.
		if n := strings.Count(told.String(), "not pruned"); n == 0 || n > 91 {
			t.Errorf("it was told %d times in 90 passes", n)
		}
	})
}

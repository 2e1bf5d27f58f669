package postgres_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/storetest"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/postgres"
	"github.com/parkd-dev/parkd/pkg/store/postgres/pgtest"
)

// limited returns the DSN of a database for a role that may connect but a few times.
func limited(t *testing.T, limit int) string {
	t.Helper()
	owner := cluster.Migrated(t)
	role := "limited_" + strings.ToLower(rand.Text())
	err := pgtest.Exec(t.Context(), owner, fmt.Sprintf("CREATE ROLE %s LOGIN CONNECTION LIMIT %d", role, limit),
		"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO "+role)
	if err != nil {
		t.Fatal(err)
	}
	return owner + " user=" + role
}

// TestRoleWithFewConnections: whatever else goes on, a node whose role may connect but a few times gives signs of life and
// takes steps.
func TestRoleWithFewConnections(t *testing.T) {
	for limit := 1; limit <= 4; limit++ {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			n := newBusy(t, "a", limited(t, limit))
			n.lives()
			n.works()
		})
	}
}

// TestNodesOfARoleWithFewConnections has two nodes share what is enough for one, and the second come when the first has
// taken all.
func TestNodesOfARoleWithFewConnections(t *testing.T) {
	dsn := limited(t, 3)
	a := newBusy(t, "a", dsn)
	a.lives()
	a.works()
	b := newBusy(t, "b", dsn)
	b.lives()
	for range 100 {
		for _, n := range []*busy{a, b} {
			if err := n.beat(); err != nil {
				t.Fatalf("node %s gives no sign of life: %v", n.name, err)
			}
		}
	}
	a.works()
	b.works()
}

// TestFewConnectionsAllowed: a DSN says how many connections a node may have at most.
func TestFewConnectionsAllowed(t *testing.T) {
	for _, limit := range []int{1, 2, 5, 6} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			dsn := cluster.Migrated(t)
			n := newBusy(t, "a", dsn+fmt.Sprintf(" application_name=counted pool_max_conns=%d", limit))
			n.lives()
			for range 5 {
				n.works()
				open, err := pgtest.Number(t.Context(), dsn, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'counted' AND datname = current_database()")
				if err != nil || open > int64(limit) {
					t.Fatalf("%d connections, at most %d are allowed: %v", open, limit, err)
				}
			}
			if c := n.s.Connections(); c.Max > limit {
				t.Errorf("said to have up to %d connections, at most %d are allowed", c.Max, limit)
			}
		})
	}
}

// busy is a node that wants many connections at once, for as long as the test goes on.
type busy struct {
	testing.TB
	name  string
	s     *postgres.Store
	steps atomic.Int64
	reads atomic.Int64
}

func newBusy(t *testing.T, name, dsn string) *busy {
	t.Helper()
	n := &busy{TB: t, name: name, s: openAt(t, dsn)}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		all.Wait()
	})
	again := func(call func()) {
		all.Go(func() {
			for ctx.Err() == nil {
				call()
			}
		})
	}
	again(func() {
		_ = n.s.Listen(ctx, func(string, int64) {})
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
		}
	})
	again(func() { _, _ = n.s.Revs(ctx, []string{name}) })
	for range 4 {
		again(func() {
			if _, err := n.s.Load(ctx, name); err == nil {
				n.reads.Add(1)
			}
		})
	}
	f := storetest.NewFeed(name)
	var step *store.Step
	again(func() {
		if step == nil {
			f.Submit(nil)
			step = f.Next()
		}
		if err := n.s.Commit(ctx, step); err == nil {
			n.steps.Add(1)
			step = nil
		} else if errors.Is(err, store.ErrInDoubt) {
			cancel()
		}
	})
	return n
}

func (n *busy) beat() error {
	_, err := n.s.Heartbeat(n.Context(), n.name, store.NodeConfig{})
	return err
}

// lives waits for the first sign of life.
func (n *busy) lives() {
	n.Helper()
	var err error
	n.await("a sign of life", &err, func() bool {
		err = n.beat()
		return err == nil
	})
}

// works waits for steps and reads.
func (n *busy) works() {
	n.Helper()
	steps, reads := n.steps.Load(), n.reads.Load()
	n.await("steps", nil, func() bool { return n.steps.Load() > steps+1 })
	n.await("reads", nil, func() bool { return n.reads.Load() > reads+1 })
}

func (n *busy) await(what string, last *error, is func() bool) {
	n.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		if is() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	if last == nil {
		last = new(error)
	}
	n.Fatalf("node %s: no %s: %v", n.name, what, *last)
}

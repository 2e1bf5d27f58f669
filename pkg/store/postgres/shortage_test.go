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

// limitedRole returns the DSN of a database for a role with a connection limit.
func limitedRole(t *testing.T, limit int) string {
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

// TestRoleWithFewConnections: a busy node whose role has a connection limit has heartbeats and commits steps.
func TestRoleWithFewConnections(t *testing.T) {
	for limit := 1; limit <= 4; limit++ {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			n := newBusyNode(t, "a", limitedRole(t, limit))
			n.waitForBeat()
			n.waitForWork()
		})
	}
}

// TestNodesOfARoleWithFewConnections: two nodes share the connections of a limited role. The second starts when the
// first has taken all.
func TestNodesOfARoleWithFewConnections(t *testing.T) {
	dsn := limitedRole(t, 3)
	a := newBusyNode(t, "a", dsn)
	a.waitForBeat()
	a.waitForWork()
	b := newBusyNode(t, "b", dsn)
	b.waitForBeat()
	for range 100 {
		for _, n := range []*busyNode{a, b} {
			if err := n.beat(); err != nil {
				t.Fatalf("node %s gives no sign of life: %v", n.name, err)
			}
		}
	}
	a.waitForWork()
	b.waitForWork()
}

// TestFewConnectionsAllowed: a node has no more connections than its DSN allows.
func TestFewConnectionsAllowed(t *testing.T) {
	for _, limit := range []int{1, 2, 5, 6} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			dsn := cluster.Migrated(t)
			n := newBusyNode(t, "a", dsn+fmt.Sprintf(" application_name=counted pool_max_conns=%d", limit))
			n.waitForBeat()
			for range 5 {
				n.waitForWork()
				open, err := pgtest.QueryInt(t.Context(), dsn, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'counted' AND datname = current_database()")
				if err != nil || open > int64(limit) {
					t.Fatalf("%d connections, at most %d are allowed: %v", open, limit, err)
				}
			}
			if c := n.store.Connections(); c.Max > limit {
				t.Errorf("said to have up to %d connections, at most %d are allowed", c.Max, limit)
			}
		})
	}
}

// busyNode is a node that uses many connections at once during the test.
type busyNode struct {
	testing.TB
	name  string
	store *postgres.Store
	steps atomic.Int64
	reads atomic.Int64
}

func newBusyNode(t *testing.T, name, dsn string) *busyNode {
	t.Helper()
	n := &busyNode{TB: t, name: name, store: openAt(t, dsn)}
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
		_ = n.store.Listen(ctx, func(string, int64) {})
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
		}
	})
	again(func() { _, _ = n.store.Revs(ctx, []string{name}) })
	for range 4 {
		again(func() {
			if _, err := n.store.Load(ctx, name); err == nil {
				n.reads.Add(1)
			}
		})
	}
	f := storetest.NewModel(name)
	var step *store.Step
	again(func() {
		if step == nil {
			f.Submit(nil)
			step = f.Next()
		}
		if err := n.store.Commit(ctx, step); err == nil {
			n.steps.Add(1)
			step = nil
		} else if errors.Is(err, store.ErrInDoubt) {
			cancel()
		}
	})
	return n
}

func (n *busyNode) beat() error {
	_, err := n.store.Heartbeat(n.Context(), n.name, store.NodeConfig{})
	return err
}

// waitForBeat waits for the first heartbeat.
func (n *busyNode) waitForBeat() {
	n.Helper()
	var err error
	n.waitFor("a sign of life", &err, func() bool {
		err = n.beat()
		return err == nil
	})
}

// waitForWork waits for steps and reads.
func (n *busyNode) waitForWork() {
	n.Helper()
	steps, reads := n.steps.Load(), n.reads.Load()
	n.waitFor("steps", nil, func() bool { return n.steps.Load() > steps+1 })
	n.waitFor("reads", nil, func() bool { return n.reads.Load() > reads+1 })
}

func (n *busyNode) waitFor(what string, last *error, is func() bool) {
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

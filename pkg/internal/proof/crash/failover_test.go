//go:build linux

package crash_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/proof"
	"github.com/parkd-dev/parkd/pkg/store/postgres"
	"github.com/parkd-dev/parkd/pkg/store/postgres/server"
)

// standby is the application name of a standby server.
const standby = "standby"

// TestFailover kills the primary server again and again, and promotes its synchronous standby. Every other time the
// standby was stopped before, for longer than a node waits for a step, so that steps which only the primary has are
// sent again. All acknowledged tasks must exist afterwards and end once.
func TestFailover(t *testing.T) {
	if !server.Installed() {
		cluster.Migrated(t) // skips or fails
	}
	c := proof.Begin(t, "synchronous-failover")
	const (
		healthy = "failovers to a standby in step"
		away    = "failovers to a standby that was away"
	)
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(1+c.Target(healthy, 1, 1, 25)+c.Target(away, 1, 1, 25))*2*proof.Patience)
	defer cancel()
	leader, err := server.Start(ctx, "fsync=off", "max_connections=300")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = leader.Stop() })
	dsn, err := leader.Create(ctx, "parkd", "template1")
	if err == nil {
		_, err = postgres.MigrateUp(ctx, dsn, false)
	}
	if err != nil {
		t.Fatal(err)
	}
	follower, err := leader.Standby(ctx, standby)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = follower.Stop() })

	s := newFailoverCluster(c, leader, follower, 2)
	for (c.More(healthy) || c.More(away)) && !c.Failed() {
		if err := leader.WaitForStandby(ctx, standby); err != nil {
			t.Fatal(err)
		}
		what := healthy
		if c.Count(away) <= c.Count(healthy) {
			what = away
		}
		s.failOver(leader, follower, what == away)
		c.Add(what, 1)
		leader, follower = follower, leader
		if !c.More(healthy) && !c.More(away) {
			break
		}
		if err := follower.Follow(ctx, leader, standby); err != nil {
			t.Fatal(err)
		}
	}
	s.endFaults()
}

// newFailoverCluster starts nodes that know both servers, and clients.
func newFailoverCluster(c *proof.Campaign, leader, follower *server.Server, nodes int) *nodeCluster {
	seed := proof.SeedOr(rand.Uint64())
	c.Seed(strconv.FormatUint(seed, 10))
	s := &nodeCluster{harness: newHarness(c), rng: rand.New(rand.NewPCG(seed, 0))}
	s.dsn = fmt.Sprintf("host=%s,%s user=parkd dbname=parkd target_session_attrs=read-write", leader.Dir(), follower.Dir())
	s.ctx, s.stop = context.WithCancel(context.Background())
	c.Cleanup(s.stopClients)
	for range nodes {
		dir := s.TempDir()
		n := newNode(s, dir, nodeConfig(dir, s.dsn))
		n.start()
		s.nodes = append(s.nodes, n)
	}
	for who := range 4 {
		s.clients.Go(func() { s.submitLoop(who) })
	}
	return s
}

// failOver kills the leader and promotes the follower. With away, the follower was stopped before, for longer than a
// node waits for an answer, and comes back when the leader is killed.
func (s *nodeCluster) failOver(leader, follower *server.Server, away bool) {
	s.Helper()
	before := s.ledger.count()
	s.waitFor("five more tasks that are acknowledged", func() bool { return s.ledger.count() >= before+5 })
	if away {
		follower.Quit()
		time.Sleep(s.between(5*time.Second, 12*time.Second))
	}
	leader.Kill()
	if away {
		s.restartServer(follower)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := follower.Promote(ctx); err != nil {
		s.Fatal(err)
	}
	if err := follower.WaitForStandby(ctx, ""); err != nil {
		s.Fatal(err)
	}
}

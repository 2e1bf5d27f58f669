//go:build linux

package crash_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/proof"
	"github.com/parkd-dev/parkd/pkg/internal/proof/faultproxy"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store/postgres/pgtest"
)

const (
	nodeTTL = time.Second
	// takeoverTime is how long a node must be silent before the others have its tasks: the TTL, the grace for a
	// kill_grace of 200 ms, and a margin.
	takeoverTime = nodeTTL + 2200*time.Millisecond + 800*time.Millisecond
)

// nodeCluster is several nodes on one database, each with a proxy in front of the database.
type nodeCluster struct {
	*harness
	dsn     string
	nodes   []*node
	proxies []*faultproxy.Proxy
	rng     *rand.Rand // of the faults; used by one goroutine

	ctx     context.Context
	stop    context.CancelFunc
	clients sync.WaitGroup
}

// newCluster starts nodes on a database, and clients that submit tasks to them.
func newCluster(c *proof.Campaign, dsn string, nodes int) *nodeCluster {
	seed := proof.SeedOr(rand.Uint64())
	c.Seed(strconv.FormatUint(seed, 10))
	s := &nodeCluster{harness: newHarness(c), dsn: dsn, rng: rand.New(rand.NewPCG(seed, 0))}
	s.ctx, s.stop = context.WithCancel(context.Background())
	c.Cleanup(s.stopClients)
	for range nodes {
		s.addNode()
	}
	for who := range 4 {
		s.clients.Go(func() { s.submitLoop(who) })
	}
	return s
}

// stopClients stops the clients.
func (s *nodeCluster) stopClients() {
	s.stop()
	s.clients.Wait()
}

func (s *nodeCluster) addNode() {
	dir, socket := s.TempDir(), shortDir(s)
	host := regexp.MustCompile(`host=(\S+)`).FindStringSubmatch(s.dsn)[1]
	p, err := faultproxy.New(pgtest.SocketPath(socket), pgtest.SocketPath(host))
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(p.Close)
	n := newNode(s, dir, nodeConfig(dir, pgtest.WithSocketDir(s.dsn, socket)))
	n.start()
	s.nodes, s.proxies = append(s.nodes, n), append(s.proxies, p)
}

// nodeConfig returns the configuration of a node whose socket is in dir.
func nodeConfig(dir, dsn string) string {
	return fmt.Sprintf(`{"listen":"127.0.0.1:0","socket":%s,"node_ttl":%q,"audit":"postgres","drain_timeout":"300ms",
		"backends":{"postgres":{"dsn":%s}},"pools":{
		"sim":{"max_units":%d,"max_queue_depth":%d,"default_timeout_secs":60,"queue":"postgres","mailbox":"postgres","executor":{"type":"simulate"}},
		"work":{"max_units":%d,"max_queue_depth":%d,"default_timeout_secs":0,"queue":"postgres","mailbox":"postgres","executor":{"type":"exec","kill_grace":"200ms"}}}}`,
		quote(dir+"/s"), nodeTTL, quote(dsn), simUnits, depth, workUnits, depth)
}

// shortDir returns a folder whose path is short enough for a socket.
func shortDir(t testing.TB) string {
	dir, err := os.MkdirTemp("", "pk-") //nolint:usetesting // that one's path is longer than a socket's may be
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// submitLoop submits tasks to all nodes in turn until the clients are stopped. A task whose answer was lost is
// submitted again, to another node; so is every other task that was refused because the store was unavailable.
func (s *nodeCluster) submitLoop(who int) {
	for i := 0; s.ctx.Err() == nil; i++ {
		o := s.simTask(fmt.Sprintf("t%d-%d", who, i), 1+i%3, "box-"+strconv.Itoa(who))
		if who == 0 {
			o = s.lockTask("w-"+strconv.Itoa(i), 1+i%2, time.Duration(10+i%7*40)*time.Millisecond)
		}
		for at := i; s.ctx.Err() == nil; at++ {
			call, cancel := context.WithTimeout(context.Background(), time.Second)
			err := s.ledger.submit(call, s.nodes[at%len(s.nodes)].apiClient(), o)
			cancel()
			if err == nil || i%2 == 0 && park.CodeOf(err) == park.StorageUnavailable {
				break
			}
			sleep(s.ctx, 20*time.Millisecond)
		}
		rest := 10 * time.Millisecond
		if who == 0 {
			rest = 80 * time.Millisecond // about as long as a lock holder runs
		}
		sleep(s.ctx, rest)
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// between returns a random duration.
func (s *nodeCluster) between(from, to time.Duration) time.Duration {
	return from + time.Duration(s.rng.Int64N(int64(to-from)))
}

// randomNode returns a node and its proxy.
func (s *nodeCluster) randomNode() (*node, *faultproxy.Proxy) {
	i := s.rng.IntN(len(s.nodes))
	return s.nodes[i], s.proxies[i]
}

// endFaults ends all faults, waits until every node completes a task, and checks everything.
func (s *nodeCluster) endFaults() {
	s.Helper()
	for _, p := range s.proxies {
		p.LoseReply(nil)
		p.Refuse(false)
		p.Block(faultproxy.ToServer, false)
		p.Block(faultproxy.ToClient, false)
	}
	for _, n := range s.nodes {
		s.wantServes(n)
	}
	s.stopClients()
	s.checkAll(s.nodes[s.rng.IntN(len(s.nodes))])
	if n := s.ledger.count(); n < 20 {
		s.Errorf("only %d tasks were acknowledged: too few to prove anything", n)
	}
}

// wantServes fails the test unless the node accepts a task and the task ends.
func (s *nodeCluster) wantServes(n *node) {
	s.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), proof.Patience)
	defer cancel()
	o := s.simTask(fmt.Sprintf("through-%d", rand.Uint64()), 1, "box-through")
	for {
		err := s.ledger.submit(ctx, n.apiClient(), o)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			s.Fatalf("a node takes no tasks %s after all harm has ended: %v", proof.Patience, err)
		}
		sleep(ctx, 50*time.Millisecond)
	}
	if t, err := n.apiClient().Task(ctx, o.pool, o.TaskID, proof.Patience); err != nil || !t.Status.Ended() {
		s.Fatalf("a task does not end %s after all harm has ended: %s %v", proof.Patience, t.Status, err)
	}
}

// admin runs statements on the database itself, and waits for it if it is unavailable.
func (s *nodeCluster) admin(statements ...string) {
	s.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), proof.Patience)
	defer cancel()
	var err error
	for ctx.Err() == nil {
		if err = pgtest.Exec(ctx, s.dsn, statements...); err == nil {
			return
		}
		sleep(ctx, 50*time.Millisecond)
	}
	s.Fatal(errors.Join(err, ctx.Err()))
}

// countRefusals counts the statements that the trigger refused. A sequence is not rolled back.
func (s *nodeCluster) countRefusals() {
	ctx, cancel := context.WithTimeout(context.Background(), proof.Patience)
	defer cancel()
	n, err := pgtest.QueryInt(ctx, s.dsn, `SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM refusals`)
	if err != nil {
		s.Fatal(err)
	}
	if n == 0 {
		s.Error("the trigger refused nothing")
	}
	s.Add("errors 40001 and 40P01", int(n))
}

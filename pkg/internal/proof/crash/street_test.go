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
	// takeover is how long a node has to be silent before the others have its tasks: the TTL, the grace that goes with
	// a kill_grace of 200 ms, and some more.
	takeover = nodeTTL + 2200*time.Millisecond + 800*time.Millisecond
)

// street is a few nodes on one database, each with a proxy before it.
type street struct {
	*site
	dsn     string
	nodes   []*node
	proxies []*faultproxy.Proxy
	rng     *rand.Rand // of the harm; used by one goroutine

	ctx     context.Context
	stop    context.CancelFunc
	clients sync.WaitGroup
}

// newStreet starts nodes on a database and clients that offer tasks to them.
func newStreet(c *proof.Campaign, dsn string, nodes int) *street {
	seed := proof.SeedOr(rand.Uint64())
	c.Seed(strconv.FormatUint(seed, 10))
	s := &street{site: newSite(c), dsn: dsn, rng: rand.New(rand.NewPCG(seed, 0))}
	s.ctx, s.stop = context.WithCancel(context.Background())
	c.Cleanup(s.rest)
	for range nodes {
		s.add()
	}
	for who := range 4 {
		s.clients.Go(func() { s.offer(who) })
	}
	return s
}

// rest has the clients stop.
func (s *street) rest() {
	s.stop()
	s.clients.Wait()
}

func (s *street) add() {
	dir, socket := s.TempDir(), shortDir(s)
	host := regexp.MustCompile(`host=(\S+)`).FindStringSubmatch(s.dsn)[1]
	p, err := faultproxy.New(pgtest.Socket(socket), pgtest.Socket(host))
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(p.Close)
	n := newNode(s, dir, nodeConfig(dir, pgtest.Through(s.dsn, socket)))
	n.start()
	s.nodes, s.proxies = append(s.nodes, n), append(s.proxies, p)
}

// nodeConfig is the configuration of a node whose socket is in dir.
func nodeConfig(dir, dsn string) string {
	return fmt.Sprintf(`{"listen":"127.0.0.1:0","socket":%s,"node_ttl":%q,"audit":"postgres","drain_timeout":"300ms",
		"backends":{"postgres":{"dsn":%s}},"pools":{
		"sim":{"max_units":%d,"max_queue_depth":%d,"default_timeout_secs":60,"queue":"postgres","mailbox":"postgres","executor":{"type":"simulate"}},
		"work":{"max_units":%d,"max_queue_depth":%d,"default_timeout_secs":0,"queue":"postgres","mailbox":"postgres","executor":{"type":"exec","kill_grace":"200ms"}}}}`,
		quote(dir+"/s"), nodeTTL, quote(dsn), simUnits, depth, workUnits, depth)
}

// shortDir returns a folder whose path leaves room for the name of a socket.
func shortDir(t testing.TB) string {
	dir, err := os.MkdirTemp("", "pk-") //nolint:usetesting // that one's path is longer than a socket's may be
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// offer offers tasks at all nodes in turn until the street rests. One whose answer was lost is offered again,
// elsewhere; of those that were refused because the store was away, every other one is not.
func (s *street) offer(who int) {
	for i := 0; s.ctx.Err() == nil; i++ {
		o := s.sim(fmt.Sprintf("t%d-%d", who, i), 1+i%3, "box-"+strconv.Itoa(who))
		if who == 0 {
			o = s.work("w-"+strconv.Itoa(i), 1+i%2, time.Duration(10+i%7*40)*time.Millisecond)
		}
		for at := i; s.ctx.Err() == nil; at++ {
			call, cancel := context.WithTimeout(context.Background(), time.Second)
			err := s.ledger.submit(call, s.nodes[at%len(s.nodes)].reach(), o)
			cancel()
			if err == nil || i%2 == 0 && park.CodeOf(err) == park.StorageUnavailable {
				break
			}
			pause(s.ctx, 20*time.Millisecond)
		}
		rest := 10 * time.Millisecond
		if who == 0 {
			rest = 80 * time.Millisecond // about as long as a witness keeps others out
		}
		pause(s.ctx, rest)
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// between returns a random time.
func (s *street) between(from, to time.Duration) time.Duration {
	return from + time.Duration(s.rng.Int64N(int64(to-from)))
}

// live returns a node that is to be harmed, and its proxy.
func (s *street) some() (*node, *faultproxy.Proxy) {
	i := s.rng.IntN(len(s.nodes))
	return s.nodes[i], s.proxies[i]
}

// heal ends all harm, waits until a task gets through at every node, and checks everything.
func (s *street) heal() {
	s.Helper()
	for _, p := range s.proxies {
		p.LoseReply(nil)
		p.Refuse(false)
		p.Block(faultproxy.ToServer, false)
		p.Block(faultproxy.ToClient, false)
	}
	for _, n := range s.nodes {
		s.wantThrough(n)
	}
	s.rest()
	s.settle(s.nodes[s.rng.IntN(len(s.nodes))])
	if n := s.ledger.acknowledged(); n < 20 {
		s.Errorf("only %d tasks were acknowledged: too few to prove anything", n)
	}
}

// wantThrough fails the test unless the node takes a task, and that ends.
func (s *street) wantThrough(n *node) {
	s.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), proof.Patience)
	defer cancel()
	o := s.sim(fmt.Sprintf("through-%d", rand.Uint64()), 1, "box-through")
	for {
		err := s.ledger.submit(ctx, n.reach(), o)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			s.Fatalf("a node takes no tasks %s after all harm has ended: %v", proof.Patience, err)
		}
		pause(ctx, 50*time.Millisecond)
	}
	if t, err := n.reach().Task(ctx, o.pool, o.TaskID, proof.Patience); err != nil || !t.Status.Ended() {
		s.Fatalf("a task does not end %s after all harm has ended: %s %v", proof.Patience, t.Status, err)
	}
}

// admin runs statements on the database itself. A server that is away is waited for.
func (s *street) admin(statements ...string) {
	s.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), proof.Patience)
	defer cancel()
	var err error
	for ctx.Err() == nil {
		if err = pgtest.Exec(ctx, s.dsn, statements...); err == nil {
			return
		}
		pause(ctx, 50*time.Millisecond)
	}
	s.Fatal(errors.Join(err, ctx.Err()))
}

// countRefusals counts the statements that the trigger refused. A sequence does not roll back.
func (s *street) countRefusals() {
	ctx, cancel := context.WithTimeout(context.Background(), proof.Patience)
	defer cancel()
	n, err := pgtest.Number(ctx, s.dsn, `SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM refusals`)
	if err != nil {
		s.Fatal(err)
	}
	if n == 0 {
		s.Error("the trigger refused nothing")
	}
	s.Add("errors 40001 and 40P01", int(n))
}

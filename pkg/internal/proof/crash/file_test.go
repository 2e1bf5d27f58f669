//go:build linux

package crash_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/client"
	"github.com/parkd-dev/parkd/pkg/internal/proof"
)

// roundsPerDatabase limits the age of a database, because the final check of all its data becomes slow.
const roundsPerDatabase = 100

// fileNode returns a node that keeps everything in a file in the folder data.
func fileNode(t testing.TB, data string) *node {
	return fileNodeOf(t, data, workUnits, 200*time.Millisecond, "")
}

// fileNodeOf is fileNode with the given units and kill grace for commands. more are further pools, each after a comma.
func fileNodeOf(t testing.TB, data string, units int, grace time.Duration, more string) *node {
	dir := t.TempDir()
	return newNode(t, dir, fmt.Sprintf(`{"listen":"127.0.0.1:0","socket":%s,"audit":"file","drain_timeout":"300ms",
		"backends":{"file":{"path":%s}},"pools":{
		"sim":{"max_units":%d,"max_queue_depth":%d,"default_timeout_secs":60,"queue":"file","mailbox":"file","executor":{"type":"simulate"}},
		"work":{"max_units":%d,"max_queue_depth":%d,"default_timeout_secs":0,"queue":"file","mailbox":"file","executor":{"type":"exec","kill_grace":"%s"}}%s}}`,
		quote(dir+"/s"), quote(data+"/parkd.db"), simUnits, depth, units, depth, grace, more))
}

// submitLoad submits tasks from several clients until stop is called, which waits for them.
func (s *harness) submitLoad(n *node, round int, rng *rand.Rand) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var clients sync.WaitGroup
	reach := n.apiClient()
	for c := range 5 {
		clients.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				o := s.simTask(fmt.Sprintf("r%d-c%d-%d", round, c, i), 1+i%3, "box-"+strconv.Itoa(c))
				if err := s.ledger.submit(context.Background(), reach, o); errors.Is(err, client.ErrUnreachable) {
					return
				}
			}
		})
	}
	long := time.Duration(rng.IntN(60)) * time.Millisecond
	if rng.IntN(4) == 0 {
		long = 500 * time.Millisecond // outlives a drain
	}
	clients.Go(func() {
		for i := 0; ctx.Err() == nil && i < 3; i++ {
			o := s.lockTask(fmt.Sprintf("w%d-%d", round, i), 1+i%2, long)
			if err := s.ledger.submit(context.Background(), reach, o); errors.Is(err, client.ErrUnreachable) {
				return
			}
		}
	})
	return func() {
		cancel()
		clients.Wait()
	}
}

// runRounds harms a daemon on a file again and again, at random moments under load.
func runRounds(c *proof.Campaign, what string, harm func(s *harness, n *node)) {
	seed := proof.SeedOr(rand.Uint64())
	c.Seed(strconv.FormatUint(seed, 10))
	rng := rand.New(rand.NewPCG(seed, 0))
	for c.More(what) && !c.Failed() {
		s := newHarness(c)
		n := fileNode(c, c.TempDir())
		for round := 0; round < roundsPerDatabase && c.More(what); round++ {
			n.start()
			stop := s.submitLoad(n, round, rng)
			time.Sleep(time.Duration(10+rng.IntN(140)) * time.Millisecond)
			harm(s, n)
			stop()
			wantGone(c, s.marker)
			c.Add(what, 1)
		}
		n.start()
		s.checkAll(n)
		n.kill()
	}
}

// TestSIGKILL kills the daemon under load. Every acknowledged task ends once, with one message; no process outlives its
// daemon by two seconds; no task runs without capacity.
func TestSIGKILL(t *testing.T) {
	c := proof.Begin(t, "sigkill-file")
	c.Target("kills", 6, 40, 2000)
	runRounds(c, "kills", func(_ *harness, n *node) { n.kill() })
}

// TestSIGTERM stops the daemon at random moments. It ends by itself, with exit code 0, and loses nothing.
func TestSIGTERM(t *testing.T) {
	c := proof.Begin(t, "sigterm-file")
	c.Target("stops", 3, 12, 500)
	runRounds(c, "stops", func(_ *harness, n *node) {
		n.signal(syscall.SIGTERM)
		if code := n.wait(); code != 0 {
			c.Broken("a daemon that was asked to stop ended with exit code %d", code)
		}
	})
}

package daemon_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/client"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store/postgres/pgtest"
)

var cluster pgtest.Cluster

func TestMain(m *testing.M) { os.Exit(cluster.Run(m)) }

// nodeRounds is how many faults the nodes see; PARKD_NODE_ROUNDS sets another number.
const nodeRounds = 9

const (
	nodes     = 3
	workUnits = 3
	nodeTTL   = time.Second
	// takeover is how long a node has to be silent before the others have its tasks, and some more.
	takeover = nodeTTL + 2200*time.Millisecond + time.Second
)

// street is a few houses on one database.
type street struct {
	testing.TB
	houses []*house
	ledger *ledger
	marker string

	mu   sync.Mutex
	busy int // the most commands that were seen to run at once
}

func newStreet(t testing.TB) *street {
	dsn := cluster.Migrated(t)
	s := &street{
		TB: t, ledger: &ledger{acked: make(map[string]string)},
		marker: fmt.Sprintf("0.05%06d", rand.N(1_000_000)),
	}
	binary := build(t)
	for range nodes {
		h := &house{TB: t, dir: t.TempDir(), binary: binary, marker: s.marker, pools: map[string]int64{"sim": simUnits, "work": workUnits}}
		h.furnish(fmt.Sprintf(`{"listen":"127.0.0.1:0","socket":%q,"node_ttl":%q,"backends":{"postgres":{"dsn":%q}},"pools":{
			"sim":{"max_units":%d,"max_queue_depth":100000,"default_timeout_secs":60,"queue":"postgres","executor":{"type":"simulate"}},
			"work":{"max_units":%d,"max_queue_depth":100000,"default_timeout_secs":0,"queue":"postgres","executor":{"type":"exec","kill_grace":"200ms"}}}}`,
			filepath.Join(h.dir, "s"), nodeTTL, dsn, simUnits, workUnits))
		h.start()
		s.houses = append(s.houses, h)
	}
	return s
}

// submit offers tasks at all nodes in turn until ctx ends. One whose answer was lost is offered again, elsewhere.
func (s *street) submit(ctx context.Context, who int) {
	for i := 0; ctx.Err() == nil; i++ {
		t := park.Submission{
			TaskID: fmt.Sprintf("t%d-%d", who, i), MailboxKey: park.MailboxRef{Key: fmt.Sprint("box", who)},
			Payload: json.RawMessage(`{"durationMs":5}`), ResourceCost: park.Cost{Units: park.Units(1 + i%3)},
		}
		pool := "sim"
		if who == 0 {
			pool, t.Payload, t.ResourceCost, t.Command = "work", nil, park.Cost{}, []string{"sleep", s.marker}
		}
		for at := i; ; at++ {
			call, cancel := context.WithTimeout(context.Background(), 2*time.Second)
			err := s.ledger.submit(call, s.clientOf(at%nodes), pool, t)
			cancel()
			if err == nil || ctx.Err() != nil {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (s *street) clientOf(i int) *client.Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.houses[i].client
}

// watch counts, until ctx ends, the commands that really run.
func (s *street) watch(ctx context.Context) {
	for ctx.Err() == nil {
		if n := s.houses[0].survivors(); n > s.busy {
			s.busy = n
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// harm does one kind of harm after the other.
func (s *street) harm(round int) {
	h := s.houses[rand.N(nodes)]
	switch round % 3 {
	case 0:
		h.kill()
		time.Sleep(rand.N(2 * takeover))
		s.mu.Lock()
		h.start()
		s.mu.Unlock()
	case 1:
		_ = h.process.Process.Signal(syscall.SIGSTOP)
		time.Sleep(takeover + rand.N(time.Second))
		_ = h.process.Process.Signal(syscall.SIGCONT)
	case 2:
		cluster.Server().Quit()
		time.Sleep(rand.N(500 * time.Millisecond))
		if err := cluster.Server().Run(context.Background()); err != nil {
			s.Fatal(err)
		}
	}
	time.Sleep(time.Second)
}

// TestNodesSurviveAnything kills and freezes nodes that share a database, and restarts that. Every acknowledged task
// ends once, with one message; the log of all nodes breaks no rule; and no more commands run at once than there are
// units, by a look at the processes.
func TestNodesSurviveAnything(t *testing.T) {
	rounds := nodeRounds
	if s := os.Getenv("PARKD_NODE_ROUNDS"); s != "" {
		rounds, _ = strconv.Atoi(s)
	}
	s := newStreet(t)
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	for who := range 4 {
		work.Go(func() { s.submit(ctx, who) })
	}
	work.Go(func() { s.watch(ctx) })
	for round := range rounds {
		s.harm(round)
	}
	cancel()
	work.Wait()
	s.houses[rand.N(nodes)].settle(s.ledger)
	if s.busy > workUnits {
		t.Errorf("%d commands ran at once, on %d units", s.busy, workUnits)
	}
	if s.busy == 0 {
		t.Error("no command was seen to run")
	}
	t.Logf("%d faults, %d acknowledged tasks, each ended once with one message; at most %d commands at once", rounds, len(s.ledger.acked), s.busy)
}

//go:build linux

package crash_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/client"
	"github.com/parkd-dev/parkd/pkg/internal/proof"
	"github.com/parkd-dev/parkd/pkg/park"
)

// TestDescriptors runs daemons with few file descriptors while clients use up as many as they can with idle
// connections, event streams and waits, and with many commands at once. Starts without descriptors are deferred; no
// task fails because of it, and all end once the clients have gone.
func TestDescriptors(t *testing.T) {
	c := proof.Begin(t, "descriptors")
	c.Target("daemons", 1, 2, 60)
	c.Target("starts put off", 1, 2, 60)
	seed := proof.SeedOr(rand.Uint64())
	c.Seed(strconv.FormatUint(seed, 10))
	rng := rand.New(rand.NewPCG(seed, 0))
	limits := []int{64, 96, 160, 256, 128, 512, 1024}
	for i := 0; c.More("daemons") && !c.Failed(); i++ {
		fewDescriptors(c, limits[i%len(limits)], rng)
		c.Add("daemons", 1)
	}
}

// fewDescriptors tests one daemon with a limit of descriptors. A command needs more than two, so there are not enough
// for as many commands as units allow.
func fewDescriptors(c *proof.Campaign, limit int, rng *rand.Rand) {
	units := limit / 2
	s := newHarnessWith(c, units)
	n := fileNodeOf(c, c.TempDir(), units, 200*time.Millisecond, "")
	n.wrapper = []string{"sh", "-c", fmt.Sprintf(`ulimit -n %d; exec "$@"`, limit), "sh"}
	n.start()
	crowd := newFlood(n, limit)
	defer crowd.stopAll()
	for i := range units + 8 {
		s.submitUntilAccepted(n, s.lockTask(fmt.Sprintf("few-%d-%d", limit, i), 1, time.Duration(300+rng.IntN(300))*time.Millisecond))
		if i%8 == 0 {
			s.submitUntilAccepted(n, s.simTask(fmt.Sprintf("sim-%d-%d", limit, i), 1, "box-sim"))
		}
	}
	if rng.IntN(2) == 0 { // else tasks run despite the flood
		crowd.stopAll()
	}
	s.Add("starts put off", s.waitIdle(n))
	crowd.stopAll()
	for id, t := range s.checkAll(n) {
		if t.Status != park.Completed {
			s.Broken("with %d descriptors task %s is %s: %s %s", limit, id, t.Status, t.Reason, t.Message)
		}
	}
	n.kill()
}

// submitUntilAccepted submits a task until it is acknowledged; a daemon without free descriptors refuses it.
func (s *harness) submitUntilAccepted(n *node, o submission) {
	s.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), proof.Patience)
	defer cancel()
	for {
		err := s.ledger.submit(ctx, n.apiClient(), o)
		if err == nil {
			return
		}
		if code := park.CodeOf(err); ctx.Err() != nil || code != park.Overloaded && !errors.Is(err, client.ErrUnreachable) {
			s.Fatalf("task %s is not accepted: %v", o.TaskID, err)
		}
		sleep(ctx, 20*time.Millisecond)
	}
}

// waitIdle waits until nothing is parked or runs, and returns how many starts were deferred.
func (s *harness) waitIdle(n *node) int {
	s.Helper()
	s.waitUntilIdle(context.Background(), n.apiClient())
	return int(metric(s, n, "parkd_starts_deferred_total"))
}

// flood uses up a daemon's descriptors.
type flood struct {
	stop func()
	all  sync.WaitGroup
	once sync.Once
}

// newFlood opens twice as many connections as the daemon has descriptors, and event streams and waits; it reopens those
// that the daemon closes.
func newFlood(n *node, limit int) *flood {
	ctx, stop := context.WithCancel(context.Background())
	w := &flood{stop: stop}
	w.all.Go(func() { holdIdle(ctx, strings.TrimPrefix(n.url, "http://"), 2*limit) })
	for i := range 12 {
		path := "/events"
		if i%2 == 0 {
			path = "/pools/" + simPool + "/tasks/sim-" + strconv.Itoa(limit) + "-0?wait=5m"
		}
		w.all.Go(func() { holdRequests(ctx, n.url+path) })
	}
	return w
}

// stopAll closes all of them.
func (w *flood) stopAll() {
	w.once.Do(func() {
		w.stop()
		w.all.Wait()
	})
}

// holdIdle keeps idle connections open and closes the oldest beyond the limit.
func holdIdle(ctx context.Context, address string, enough int) {
	var open []net.Conn
	defer func() {
		for _, c := range open {
			_ = c.Close()
		}
	}()
	for ctx.Err() == nil {
		c, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", address)
		if err == nil {
			open = append(open, c)
		}
		if len(open) > enough {
			_ = open[0].Close()
			open = open[1:]
		}
		if err != nil || len(open) == enough {
			sleep(ctx, 100*time.Millisecond)
		}
	}
}

// holdRequests repeats a request that does not end.
func holdRequests(ctx context.Context, url string) {
	alone := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for ctx.Err() == nil {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return
		}
		if r, err := alone.Do(req); err == nil {
			_, _ = io.Copy(io.Discard, r.Body)
			_ = r.Body.Close()
		}
		sleep(ctx, 300*time.Millisecond)
	}
}

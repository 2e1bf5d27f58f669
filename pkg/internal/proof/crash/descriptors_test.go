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

// TestDescriptors has daemons do with few descriptors while others take what they can get: connections that do nothing,
// streams of events, waits, and commands that may all run at once. A start for which there is none is put off; no task fails
// of it, and all have ended once the others have gone.
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

// fewDescriptors is one daemon with so many descriptors. A command takes more than two, so that there are none for as many
// commands as may run at once.
func fewDescriptors(c *proof.Campaign, limit int, rng *rand.Rand) {
	units := limit / 2
	s := newSiteOf(c, units)
	n := fileNodeOf(c, c.TempDir(), units, 200*time.Millisecond, "")
	n.via = []string{"sh", "-c", fmt.Sprintf(`ulimit -n %d; exec "$@"`, limit), "sh"}
	n.start()
	crowd := newCrowd(n, limit)
	defer crowd.leave()
	for i := range units + 8 {
		s.insist(n, s.work(fmt.Sprintf("few-%d-%d", limit, i), 1, time.Duration(300+rng.IntN(300))*time.Millisecond))
		if i%8 == 0 {
			s.insist(n, s.sim(fmt.Sprintf("sim-%d-%d", limit, i), 1, "box-sim"))
		}
	}
	if rng.IntN(2) == 0 { // else they get on with it beside the crowd
		crowd.leave()
	}
	s.Add("starts put off", s.idleAndPutOff(n))
	crowd.leave()
	for id, t := range s.settle(n) {
		if t.Status != park.Completed {
			s.Broken("with %d descriptors task %s is %s: %s %s", limit, id, t.Status, t.Reason, t.Message)
		}
	}
	n.kill()
}

// insist offers a task until it is acknowledged. A daemon without room says so.
func (s *site) insist(n *node, o offer) {
	s.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), proof.Patience)
	defer cancel()
	for {
		err := s.ledger.submit(ctx, n.reach(), o)
		if err == nil {
			return
		}
		if code := park.CodeOf(err); ctx.Err() != nil || code != park.Overloaded && !errors.Is(err, client.ErrUnreachable) {
			s.Fatalf("task %s is not accepted: %v", o.TaskID, err)
		}
		pause(ctx, 20*time.Millisecond)
	}
}

// idleAndPutOff waits until nothing is parked or runs, and returns how many starts were put off.
func (s *site) idleAndPutOff(n *node) int {
	s.Helper()
	s.idle(context.Background(), n.reach())
	return int(metric(s, n, "parkd_starts_deferred_total"))
}

// crowd is what takes a daemon's descriptors.
type crowd struct {
	stop func()
	all  sync.WaitGroup
	once sync.Once
}

// newCrowd opens twice as many connections as the daemon has descriptors, and streams and waits beside them; what the
// daemon closes is opened again.
func newCrowd(n *node, limit int) *crowd {
	ctx, stop := context.WithCancel(context.Background())
	w := &crowd{stop: stop}
	w.all.Go(func() { idlers(ctx, strings.TrimPrefix(n.url, "http://"), 2*limit) })
	for i := range 12 {
		path := "/events"
		if i%2 == 0 {
			path = "/pools/" + played + "/tasks/sim-" + strconv.Itoa(limit) + "-0?wait=5m"
		}
		w.all.Go(func() { linger(ctx, n.url+path) })
	}
	return w
}

// leave closes all.
func (w *crowd) leave() {
	w.once.Do(func() {
		w.stop()
		w.all.Wait()
	})
}

// idlers keeps connections open that say nothing: the oldest goes when there are enough.
func idlers(ctx context.Context, address string, enough int) {
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
			pause(ctx, 100*time.Millisecond)
		}
	}
}

// linger asks for what does not end, again and again.
func linger(ctx context.Context, url string) {
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
		pause(ctx, 300*time.Millisecond)
	}
}

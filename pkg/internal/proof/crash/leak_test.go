//go:build linux

package crash_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/client"
	"github.com/parkd-dev/parkd/pkg/internal/proof"
	"github.com/parkd-dev/parkd/pkg/park"
)

// holdings is what a daemon holds on to.
type holdings struct {
	goroutines int
	files      int
	children   int // zombies among them
	temporary  int
}

func (h holdings) within(most holdings) bool {
	return h.goroutines <= most.goroutines && h.files <= most.files && h.children <= most.children && h.temporary <= most.temporary
}

// TestLeaks does a thousand things to a daemon that go wrong. Afterwards it holds no more goroutines, files, processes
// and temporary files than after the first hundred.
func TestLeaks(t *testing.T) {
	c := proof.Begin(t, "leaks")
	n := c.Target("fault cycles", 200, 400, 20_000)
	s := newSite(c)
	node := fileNode(c, c.TempDir())
	tmp := filepath.Join(node.dir, "tmp")
	if err := os.Mkdir(tmp, 0o700); err != nil {
		t.Fatal(err)
	}
	node.tmp = tmp
	node.start()
	s.faults(node, 100)
	s.readAll(node)
	before := settled(s, node, nil)
	s.faults(node, n)
	after := settled(s, node, &before)
	if !after.within(before) {
		c.Broken("before %d faults the daemon held %+v, after them %+v: %v", n, before, after, targets(node))
	}
	c.Note("goroutines %d, then %d; files %d, then %d; processes %d, then %d", before.goroutines, after.goroutines, before.files, after.files, before.children, after.children)
	s.settle(node)
}

// readAll has the daemon open as many connections to its file as it ever does.
func (s *site) readAll(n *node) {
	ctx, cancel := context.WithTimeout(context.Background(), proof.Patience)
	defer cancel()
	var readers sync.WaitGroup
	for range 32 {
		readers.Go(func() {
			for range 20 {
				if _, err := n.reach().Tasks(ctx, witnessed, park.TaskQuery{Limit: 1000}); err != nil {
					s.Error(err)
					return
				}
			}
		})
	}
	readers.Wait()
}

// faults does n things that go wrong, several at once.
func (s *site) faults(n *node, many int) {
	var next atomic.Int64
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			reach, err := client.New(client.Config{Socket: n.dir + "/s"})
			if err != nil {
				s.Error(err)
				return
			}
			defer reach.Close()
			for i := next.Add(1); i <= int64(many) && !s.Spent(); i = next.Add(1) {
				s.fault(n, reach, int(i), s.Count("fault cycles"))
				s.Add("fault cycles", 1)
			}
		})
	}
	workers.Wait()
}

func (s *site) fault(n *node, c *client.Client, i, serial int) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	id := fmt.Sprintf("fault-%d-%d", serial, i)
	o := s.work(id, 1, time.Minute)
	switch i % 8 {
	case 0: // a task that is stopped
		if s.ledger.submit(context.Background(), c, o) == nil {
			s.cancel(c, o)
		}
		return
	case 1:
		o.Command = []string{"sh", "-c", "kill -9 $$"}
	case 2:
		o.Command = []string{"/no/such/program"}
	case 3: // a task that leaves something behind
		o.Command = []string{"sh", "-c", "setsid sleep 600 & setsid sleep 600 & exit 3"}
	case 4: // waits that are given up
		_, _ = c.Task(ctx, played, "nobody", time.Minute)
		_, _ = c.Mailbox(ctx, park.MailboxQuery{Tenant: "nobody", Key: "nothing", Wait: time.Minute})
		return
	case 5: // a stream that is left
		for range c.Watch(ctx, park.AuditQuery{}) {
			break
		}
		return
	case 6: // half a request
		if raw, err := net.Dial("unix", n.dir+"/s"); err == nil {
			_, _ = io.WriteString(raw, "POST /pools/sim/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n{\"taskId\":")
			_ = raw.Close()
		}
		return
	case 7: // a log that is followed and left
		o.Command = []string{"sh", "-c", "echo here; exit 1"}
		if s.ledger.submit(context.Background(), c, o) == nil {
			if log, err := c.Log(ctx, o.pool, id, park.LogQuery{Follow: true}); err == nil {
				_, _ = io.CopyN(io.Discard, log, 1)
				_ = log.Close()
			}
		}
		return
	}
	_ = s.ledger.submit(context.Background(), c, o)
}

// cancel cancels a task, which may have ended.
func (s *site) cancel(c *client.Client, o offer) {
	ctx, cancel := context.WithTimeout(context.Background(), proof.Patience)
	defer cancel()
	if _, err := c.Cancel(ctx, o.pool, o.TaskID); err != nil && park.CodeOf(err) != park.TaskFinished {
		s.Errorf("cancel task %s: %v", o.TaskID, err)
	}
}

// settled returns what the daemon holds once nothing runs, and that has become as little as most, or does not change.
func settled(s *site, n *node, most *holdings) holdings {
	s.Helper()
	s.idle(context.Background(), n.reach())
	n.reach().Close()
	var held holdings
	for began := time.Now(); time.Since(began) < proof.Patience; time.Sleep(100 * time.Millisecond) {
		now := hold(s, n)
		if most != nil && now.within(*most) || most == nil && now == held && time.Since(began) > 3*time.Second {
			return now
		}
		held = now
	}
	return held
}

func hold(s *site, n *node) (h holdings) {
	pid := n.pid()
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		s.Fatal(err)
	}
	h.files, h.goroutines = len(files), int(metric(s, n, "go_goroutines"))
	if h.goroutines == 0 {
		s.Fatal("the daemon does not say how many goroutines it has")
	}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, f := range stats {
		b, _ := os.ReadFile(f)
		// The name, in brackets, may hold anything.
		fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		if len(fields) > 1 && fields[1] == strconv.Itoa(pid) {
			h.children++
		}
	}
	left, err := os.ReadDir(n.tmp)
	if err != nil {
		s.Fatal(err)
	}
	h.temporary = len(left)
	return h
}

// targets returns what the daemon's descriptors are of.
func targets(n *node) (all []string) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", n.pid()))
	for _, f := range files {
		to, _ := os.Readlink(f)
		all = append(all, to)
	}
	return all
}

// metric asks the daemon for a metric, the sum of all its labels, over a connection that is closed again.
func metric(s *site, n *node, name string) (sum float64) {
	s.Helper()
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", n.dir+"/s")
	}
	c := http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}, Timeout: proof.Patience}
	r, err := c.Get("http://localhost/metrics")
	if err != nil {
		s.Fatal(err)
	}
	defer r.Body.Close()
	for lines := bufio.NewScanner(r.Body); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), " ")
		if family, _, _ := strings.Cut(key, "{"); family != name {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			s.Fatal(err)
		}
		sum += v
	}
	return sum
}

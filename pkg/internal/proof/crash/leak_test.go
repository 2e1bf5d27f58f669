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

// resources are those that a daemon holds.
type resources struct {
	goroutines int
	files      int
	children   int // zombies among them
	temporary  int
}

func (h resources) atMost(most resources) bool {
	return h.goroutines <= most.goroutines && h.files <= most.files && h.children <= most.children && h.temporary <= most.temporary
}

// TestLeaks causes many faults in a daemon. Afterwards it must not hold more goroutines, files, processes and temporary
// files than after the first hundred.
func TestLeaks(t *testing.T) {
	c := proof.Begin(t, "leaks")
	n := c.Target("fault cycles", 200, 400, 20_000)
	s := newHarness(c)
	node := fileNode(c, c.TempDir())
	tmp := filepath.Join(node.dir, "tmp")
	if err := os.Mkdir(tmp, 0o700); err != nil {
		t.Fatal(err)
	}
	node.tmp = tmp
	node.start()
	s.causeFaults(node, 100)
	s.readAll(node)
	before := stableResources(s, node, nil)
	s.causeFaults(node, n)
	after := stableResources(s, node, &before)
	if !after.atMost(before) {
		c.Broken("before %d faults the daemon held %+v, after them %+v: %v", n, before, after, openFiles(node))
	}
	c.Note("goroutines %d, then %d; files %d, then %d; processes %d, then %d", before.goroutines, after.goroutines, before.files, after.files, before.children, after.children)
	s.checkAll(node)
}

// readAll makes the daemon open its maximum number of connections to its file.
func (s *harness) readAll(n *node) {
	ctx, cancel := context.WithTimeout(context.Background(), proof.Patience)
	defer cancel()
	var readers sync.WaitGroup
	for range 32 {
		readers.Go(func() {
			for range 20 {
				if _, err := n.apiClient().Tasks(ctx, workPool, park.TaskQuery{Limit: 1000}); err != nil {
					s.Error(err)
					return
				}
			}
		})
	}
	readers.Wait()
}

// causeFaults causes faults, several at once.
func (s *harness) causeFaults(n *node, many int) {
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
				s.causeFault(n, reach, int(i), s.Count("fault cycles"))
				s.Add("fault cycles", 1)
			}
		})
	}
	workers.Wait()
}

func (s *harness) causeFault(n *node, c *client.Client, i, serial int) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	id := fmt.Sprintf("fault-%d-%d", serial, i)
	o := s.lockTask(id, 1, time.Minute)
	switch i % 8 {
	case 0: // a task that is cancelled
		if s.ledger.submit(context.Background(), c, o) == nil {
			s.cancel(c, o)
		}
		return
	case 1:
		o.Command = []string{"sh", "-c", "kill -9 $$"}
	case 2:
		o.Command = []string{"/no/such/program"}
	case 3: // a task that leaves processes behind
		o.Command = []string{"sh", "-c", "setsid sleep 600 & setsid sleep 600 & exit 3"}
	case 4: // waits that are given up
		_, _ = c.Task(ctx, simPool, "nobody", time.Minute)
		_, _ = c.Mailbox(ctx, park.MailboxQuery{Tenant: "nobody", Key: "nothing", Wait: time.Minute})
		return
	case 5: // an abandoned stream
		for range c.Watch(ctx, park.AuditQuery{}) {
			break
		}
		return
	case 6: // an incomplete request
		if raw, err := net.Dial("unix", n.dir+"/s"); err == nil {
			_, _ = io.WriteString(raw, "POST /pools/sim/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n{\"taskId\":")
			_ = raw.Close()
		}
		return
	case 7: // an abandoned log
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
func (s *harness) cancel(c *client.Client, o submission) {
	ctx, cancel := context.WithTimeout(context.Background(), proof.Patience)
	defer cancel()
	if _, err := c.Cancel(ctx, o.pool, o.TaskID); err != nil && park.CodeOf(err) != park.TaskFinished {
		s.Errorf("cancel task %s: %v", o.TaskID, err)
	}
}

// stableResources returns the daemon's resources once nothing runs, and they are at most the given ones, or do not
// change.
func stableResources(s *harness, n *node, most *resources) resources {
	s.Helper()
	s.waitUntilIdle(context.Background(), n.apiClient())
	n.apiClient().Close()
	var held resources
	for began := time.Now(); time.Since(began) < proof.Patience; time.Sleep(100 * time.Millisecond) {
		now := readResources(s, n)
		if most != nil && now.atMost(*most) || most == nil && now == held && time.Since(began) > 3*time.Second {
			return now
		}
		held = now
	}
	return held
}

func readResources(s *harness, n *node) (h resources) {
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
		// The name, in brackets, may contain any character.
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

// openFiles returns the targets of the daemon's descriptors.
func openFiles(n *node) (all []string) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", n.pid()))
	for _, f := range files {
		to, _ := os.Readlink(f)
		all = append(all, to)
	}
	return all
}

// metric returns the sum of a metric over all labels, over a connection that is closed again.
func metric(s *harness, n *node, name string) (sum float64) {
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

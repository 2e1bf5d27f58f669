package main

// The load generator: closed and open loops, each client with a connection of its own.

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/parkd-dev/parkd/pkg/loadtest/transport"
)

// load describes the requests and their servers.
type load struct {
	urls     []string // of the servers, among which the clients are distributed
	clients  int
	batch    int     // tasks in a request; 0: one, by the path for single submissions
	rate     float64 // requests per second of an open loop; 0: a closed loop
	noIDs    bool    // the daemon makes the ids
	maxTasks int     // tasks in all; 0: unlimited
	prefix   string  // of the ids, which must not be used twice
	priority string  // default: high
	units    int64   // default: 1
}

// measurement is the result of one run of a variant.
type measurement struct {
	tasks     int
	elapsed   time.Duration
	latencies []time.Duration // of the requests, sorted; in an open loop from the time that each was due
	loadCPU   time.Duration   // processor time of this process
	serverCPU time.Duration   // and of the servers
}

func (m *measurement) perSecond() float64 { return float64(m.tasks) / m.elapsed.Seconds() }

// latency returns a quantile of the latencies.
func (m *measurement) latency(q float64) time.Duration { return quantile(m.latencies, q) }

func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// body appends the JSON of task i: about 300 bytes, as in the documentation.
func (l *load) body(b []byte, i int64) []byte {
	b = append(b, '{')
	if !l.noIDs {
		b = append(append(append(b, `"taskId":"`...), l.prefix...), '-')
		b = append(strconv.AppendInt(b, i, 10), `",`...)
	}
	b = append(append(b, `"tenant":"tenant-`...), byte('0'+i%8))
	b = append(append(append(b, `","priority":"`...), cmp.Or(l.priority, "high")...), `","resourceCost":{"kind":"mixed","units":`...)
	b = append(strconv.AppendInt(b, cmp.Or(l.units, 1), 10), `},"timeoutSecs":600,"mailboxKey":"user-`...)
	b = append(strconv.AppendInt(b, i%64, 10), `","payload":`...)
	return append(append(b, rawPayload...), '}')
}

// request appends the JSON of a request and returns its path.
func (l *load) request(b []byte, first int64) (body []byte, path string) {
	if l.batch == 0 {
		return l.body(b, first), tasksPath
	}
	b = append(b, `{"tasks":[`...)
	for i := range l.batch {
		if i > 0 {
			b = append(b, ',')
		}
		b = l.body(b, first+int64(i))
	}
	return append(b, "]}"...), tasksPath + ":batch"
}

// driver sends a load.
type driver struct {
	load
	began time.Time
	until time.Time
	next  atomic.Int64
	mu    sync.Mutex
	times []time.Duration
	due   chan time.Time // of an open loop
}

// drive sends the load for a time.
func (l load) drive(ctx context.Context, length time.Duration, servers ...*process) (*measurement, error) {
	d := &driver{load: l, began: time.Now(), due: make(chan time.Time, 1<<20)}
	d.until = d.began.Add(length)
	own, theirs := ownCPU(), cpuOf(servers)
	group, ctx := errgroup.WithContext(ctx)
	for n := range l.clients {
		group.Go(func() error { return d.client(ctx, n) })
	}
	if l.rate > 0 {
		group.Go(func() error { return d.scheduleRequests(ctx) })
	}
	err := group.Wait()
	slices.Sort(d.times)
	return &measurement{
		tasks: len(d.times) * max(1, l.batch), elapsed: time.Since(d.began), latencies: d.times,
		loadCPU: ownCPU() - own, serverCPU: cpuOf(servers) - theirs,
	}, err
}

func cpuOf(all []*process) (sum time.Duration) {
	for _, p := range all {
		sum += p.cpuTime()
	}
	return sum
}

// scheduleRequests tells the clients when requests are due, at random intervals.
func (d *driver) scheduleRequests(ctx context.Context) error {
	defer close(d.due)
	for at := d.began; at.Before(d.until) && ctx.Err() == nil; {
		at = at.Add(time.Duration(rand.ExpFloat64() / d.rate * float64(time.Second)))
		if wait := time.Until(at); wait > 0 {
			time.Sleep(wait)
		}
		d.due <- at
	}
	return ctx.Err()
}

func (d *driver) client(ctx context.Context, n int) error {
	url := d.urls[n%len(d.urls)]
	k := transport.NewConn(ctx)
	defer k.Close()
	c := http.Client{Transport: k, Timeout: time.Minute}
	var times []time.Duration
	var buf []byte
	for {
		began, more := d.nextRequest()
		n := int64(max(1, d.batch))
		first := d.next.Add(n) - n
		if !more || d.maxTasks > 0 && first >= int64(d.maxTasks) {
			break
		}
		body, path := d.request(buf[:0], first)
		buf = body
		resp, err := c.Post(url+path, "application/json", bytes.NewReader(body))
		if err != nil {
			return err
		}
		answer, err := io.ReadAll(resp.Body)
		if err != nil {
			return err
		}
		if status, want := resp.StatusCode, http.StatusAccepted; status != want && (d.batch == 0 || status != http.StatusOK) {
			return fmt.Errorf("answered %d, not %d: %.300s", status, want, answer)
		}
		times = append(times, time.Since(began))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.times = append(d.times, times...)
	return nil
}

// nextRequest returns when the next request of a client begins.
func (d *driver) nextRequest() (time.Time, bool) {
	if d.rate > 0 {
		at, ok := <-d.due
		return at, ok
	}
	now := time.Now()
	return now, now.Before(d.until)
}

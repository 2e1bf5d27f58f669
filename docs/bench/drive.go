package main

// The load: closed and open loops over connections of their own.

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

// load is what is sent where.
type load struct {
	urls     []string // of the servers, which the clients are spread over
	clients  int
	batch    int     // tasks in a request; 0: one, by the route for one
	rate     float64 // requests a second of an open loop; 0: a closed one
	noIDs    bool    // the daemon names the tasks
	most     int     // tasks in all; 0: no bound
	prefix   string  // of the ids, which must not be used twice
	priority string  // default: high
	units    int64   // default: 1
}

// outcome is how it went.
type outcome struct {
	tasks   int
	took    time.Duration
	times   []time.Duration // of the requests, sorted; in an open loop from the time that each was due
	own     time.Duration   // processor time of this process
	servers time.Duration   // and of the servers
}

func (o *outcome) perSecond() float64 { return float64(o.tasks) / o.took.Seconds() }

// at returns a quantile of the times.
func (o *outcome) at(q float64) time.Duration { return quantile(o.times, q) }

func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// body appends the JSON of task i: some 300 bytes, as in the documentation.
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

// driver is a load under way.
type driver struct {
	load
	began time.Time
	until time.Time
	next  atomic.Int64
	mu    sync.Mutex
	times []time.Duration
	due   chan time.Time // of an open loop
}

// drive sends the load for so long.
func (l load) drive(ctx context.Context, length time.Duration, servers ...*process) (*outcome, error) {
	d := &driver{load: l, began: time.Now(), due: make(chan time.Time, 1<<20)}
	d.until = d.began.Add(length)
	own, theirs := ownCPU(), cpuOf(servers)
	group, ctx := errgroup.WithContext(ctx)
	for n := range l.clients {
		group.Go(func() error { return d.client(ctx, n) })
	}
	if l.rate > 0 {
		group.Go(func() error { return d.arrivals(ctx) })
	}
	err := group.Wait()
	slices.Sort(d.times)
	return &outcome{
		tasks: len(d.times) * max(1, l.batch), took: time.Since(d.began), times: d.times,
		own: ownCPU() - own, servers: cpuOf(servers) - theirs,
	}, err
}

func cpuOf(all []*process) (sum time.Duration) {
	for _, p := range all {
		sum += p.cpu()
	}
	return sum
}

// arrivals tells the clients when a request is due, at random distances.
func (d *driver) arrivals(ctx context.Context) error {
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
		began, more := d.turn()
		n := int64(max(1, d.batch))
		first := d.next.Add(n) - n
		if !more || d.most > 0 && first >= int64(d.most) {
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

// turn returns when the next request of a client begins.
func (d *driver) turn() (time.Time, bool) {
	if d.rate > 0 {
		at, ok := <-d.due
		return at, ok
	}
	now := time.Now()
	return now, now.Before(d.until)
}

package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/internal/parktest"
	"github.com/parkd-dev/parkd/pkg/park"
)

// counted counts how often the log is read.
type counted struct {
	park.Service
	audits, watches atomic.Int64
}

func (c *counted) Audit(ctx context.Context, q park.AuditQuery) (park.EventPage, error) {
	c.audits.Add(1)
	return c.Service.Audit(ctx, q)
}

func (c *counted) Watch(ctx context.Context, q park.AuditQuery) iter.Seq2[park.Event, error] {
	c.watches.Add(1)
	return c.Service.Watch(ctx, q)
}

// logged returns the ids of all events that a query selects.
func logged(t *testing.T, svc park.Service, q park.AuditQuery) (all []string) {
	t.Helper()
	for {
		page, err := svc.Audit(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Events {
			all = append(all, e.EventID)
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			return all
		}
	}
}

// submits sends tasks to two pools at once, of two tenants.
func submits(t *testing.T, svc park.Service, n int) {
	t.Helper()
	var all sync.WaitGroup
	for _, pool := range []string{"wide", "work"} {
		all.Go(func() {
			for i := range n {
				s := park.Submission{TaskID: fmt.Sprintf("%s-%d", pool, i), Tenant: []string{"acme", "zeta"}[i%2]}
				r, err := svc.Submit(t.Context(), pool, []park.Submission{s})
				if err != nil || r[0].Err != nil {
					t.Error(err, r)
					return
				}
				if _, err := svc.Task(t.Context(), pool, s.TaskID, 1<<40); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}

// TestStreamsShareOneReading: however many follow, and whatever they ask for, the log is read once; each gets what it asked
// for, all of it, in the order of the log.
func TestStreamsShareOneReading(t *testing.T) {
	svc := &counted{Service: start(t)}
	s := serve(t, newAPI(t, Config{Service: svc}))
	filters := map[string]park.AuditQuery{
		"": {}, "?pool=wide": {PoolID: "wide"}, "?tenant=acme": {Tenant: "acme"}, "?action=complete": {Action: park.ActComplete},
		"?task=work-7": {TaskID: "work-7"}, "?action=requeue": {Action: park.ActRequeue}, "?changes=true&pool=work": {PoolID: "work", Changes: true},
	}
	streams := make(map[string]*reading)
	for filter := range filters {
		streams[filter] = listen(t, s, "/events"+filter, "")
	}
	submits(t, svc, 40)
	if w, a := svc.watches.Load(), svc.audits.Load(); w != 1 || a != 0 {
		t.Errorf("the log is watched %d times, and read %d times", w, a)
	}
	for filter, q := range filters {
		want := logged(t, svc.Service, q)
		if got := streams[filter].take(len(want)); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", filter, got, want)
		}
	}
}

// TestStreamsThatFallBehind: a stream that the list has left behind reads the log, and misses nothing on its way back.
func TestStreamsThatFallBehind(t *testing.T) {
	for _, most := range []int{1, 3, 50} {
		a := newAPI(t, Config{})
		a.feed.limit = most
		s := serve(t, a)
		live, filtered := listen(t, s, "/events", ""), listen(t, s, "/events?tenant=zeta", "")
		submits(t, a.cfg.Service, 100)
		for f, q := range map[*reading]park.AuditQuery{live: {}, filtered: {Tenant: "zeta"}, listen(t, s, "/events?since=2000-01-01T00:00:00Z", ""): {}} {
			want := logged(t, a.cfg.Service, q)
			if got := f.take(len(want)); !slices.Equal(got, want) {
				t.Errorf("a list of %d: got %v, want %v", most, got, want)
			}
		}
	}
}

// TestStreamAheadOfTheFeed: what a stream has read of the log comes no second time, however often it falls behind a feed
// that has not come so far yet.
func TestStreamAheadOfTheFeed(t *testing.T) {
	for query, q := range map[string]park.AuditQuery{"": {}, "?tenant=zeta": {Tenant: "zeta"}} {
		a := newAPI(t, Config{})
		a.feed.limit = 1
		w := httptest.NewRecorder()
		c := &call{api: a, svc: a.cfg.Service, w: w, r: httptest.NewRequest(http.MethodGet, "/events"+query, http.NoBody), start: time.Now()}
		s := stream{call: c, conn: http.NewResponseController(w), query: q}
		s.query.Since = park.At(time.Unix(0, 0))
		catchUp := func() {
			if !s.catchUp(t.Context()) {
				t.Fatal("the stream ended")
			}
		}
		submits(t, a.cfg.Service, 20)
		catchUp()
		page, err := a.cfg.Service.Audit(t.Context(), park.AuditQuery{Changes: true, Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		for i := range page.Events {
			a.feed.add(t.Context(), &page.Events[i])
			if i%3 == 0 {
				continue // so that the list leaves it behind
			}
			var ok bool
			if s.next, _, ok = a.feed.since(s.next, s.deliver); !ok {
				catchUp()
			}
		}
		s.flush()
		var got []string
		for line := range strings.Lines(w.Body.String()) {
			if id, ok := strings.CutPrefix(line, "id: "); ok {
				got = append(got, strings.TrimSpace(id))
			}
		}
		if want := logged(t, a.cfg.Service, q); !slices.Equal(got, want) {
			t.Errorf("%q: got %v, want %v", query, got, want)
		}
	}
}

// TestPlaceMovesOn: also where the feed began after all that a stream has read of the log, whoever asks for few of the events
// goes on from the newest. The old ones may be pruned by the time that a client comes again.
func TestPlaceMovesOn(t *testing.T) {
	a := newAPI(t, Config{})
	c := &call{api: a, svc: a.cfg.Service, w: httptest.NewRecorder(), r: httptest.NewRequest(http.MethodGet, "/events", http.NoBody), start: time.Now()}
	s := stream{call: c, conn: http.NewResponseController(c.w), query: park.AuditQuery{TaskID: "work-3", Since: park.At(time.Unix(0, 0))}}
	submits(t, a.cfg.Service, 10)
	if !s.catchUp(t.Context()) {
		t.Fatal("the stream ended")
	}
	before := len(logged(t, a.cfg.Service, park.AuditQuery{}))
	submits(t, a.cfg.Service, 20)
	page, err := a.cfg.Service.Audit(t.Context(), park.AuditQuery{Changes: true, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for i := range page.Events[before:] {
		a.feed.add(t.Context(), &page.Events[before+i])
	}
	var ok bool
	if s.next, _, ok = a.feed.since(s.next, s.deliver); !ok {
		t.Fatal("the list has left it behind")
	}
	if want := "id: " + page.Events[len(page.Events)-1].EventID + "\n"; s.position() != want {
		t.Errorf("goes on from %q, want %q", s.position(), want)
	}
}

// away is a service whose log cannot be read at first.
type away struct {
	park.Service
	back atomic.Bool
}

var errAway = &park.Error{Code: park.StorageUnavailable, Detail: "the store is away"}

func (a *away) Audit(ctx context.Context, q park.AuditQuery) (park.EventPage, error) {
	if !a.back.Load() {
		return park.EventPage{}, errAway
	}
	return a.Service.Audit(ctx, q)
}

func (a *away) Watch(ctx context.Context, q park.AuditQuery) iter.Seq2[park.Event, error] {
	if !a.back.Load() {
		return func(yield func(park.Event, error) bool) { yield(park.Event{}, errAway) }
	}
	return a.Service.Watch(ctx, q)
}

// TestStreamsOutlastTheStore: while the log cannot be read streams wait, and then have what came meanwhile.
func TestStreamsOutlastTheStore(t *testing.T) {
	svc := &away{Service: start(t)}
	s := serve(t, newAPI(t, Config{Service: svc}))
	f := listen(t, s, "/events?pool=wide", "")
	submits(t, svc, 3)
	svc.back.Store(true)
	want := logged(t, svc, park.AuditQuery{PoolID: "wide"})
	if got := f.take(len(want)); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestStopIsNoWarning: streams that end with the daemon are told of once.
func TestStopIsNoWarning(t *testing.T) {
	var out lockedBuffer
	closing := make(chan struct{})
	e := open(t)
	s := serve(t, newAPI(t, Config{Service: e, Closing: closing, Log: logTo(&out)}))
	var streams []*reading
	for range 5 {
		streams = append(streams, listen(t, s, "/events", ""))
	}
	stop(t, e) // as the daemon does, before it closes the door
	close(closing)
	for _, f := range streams {
		if e, ok := f.next(); ok || f.lines.Err() != nil {
			t.Errorf("%+v, %v", e, f.lines.Err())
		}
	}
	if text := out.String(); strings.Contains(text, "WARN") || strings.Contains(text, "ERROR") {
		t.Errorf("log:\n%s", text)
	}
}

// TestStopIsNoWarningOfALog: nor are logs that end with the daemon, also where what is read breaks off for it.
func TestStopIsNoWarningOfALog(t *testing.T) {
	var out lockedBuffer
	closing := make(chan struct{})
	s := serve(t, newAPI(t, Config{Closing: closing, Log: logTo(&out), Service: logs{open: func(ctx context.Context, _ bool) io.ReadCloser {
		from, to := io.Pipe()
		go func() {
			_, _ = io.WriteString(to, "first")
			<-ctx.Done()
			to.CloseWithError(errors.New("closed"))
		}()
		return from
	}}}))
	var open []io.ReadCloser
	for range 5 {
		resp, err := s.Client().Get(s.URL + "/pools/p/tasks/a/log?follow=true")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if _, err := io.ReadFull(resp.Body, make([]byte, 5)); err != nil {
			t.Fatal(err)
		}
		open = append(open, resp.Body)
	}
	close(closing)
	for _, log := range open {
		_, _ = io.Copy(io.Discard, log)
	}
	if text := out.String(); strings.Contains(text, "WARN") || strings.Contains(text, "ERROR") {
		t.Errorf("log:\n%s", text)
	}
}

// lockedBuffer is a log that several write to.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// BenchmarkFollowers is a task's whole life over HTTP, with streams of events beside it.
func BenchmarkFollowers(b *testing.B) {
	for _, parked := range []int{0, 30_000} {
		for _, c := range []struct {
			followers int
			filter    string
		}{{0, ""}, {50, ""}, {5, "?action=complete"}} {
			b.Run(fmt.Sprintf("parked=%d/followers=%d%s", parked, c.followers, c.filter), func(b *testing.B) {
				benchmarkFollowers(b, parked, c.followers, c.filter)
			})
		}
	}
}

func benchmarkFollowers(b *testing.B, parked, followers int, filter string) {
	lot := parktest.Pools()[1]
	lot.ID, lot.MaxUnits, lot.MaxQueueDepth = "lot", 1, 100_000
	e := open(b, engine.Pool{PoolSpec: lot, Executor: parktest.Executor()})
	defer stop(b, e)
	a := newAPI(b, Config{Service: e})
	s := httptest.NewUnstartedServer(nil)
	s.Config = Server(a.TCP(), nil)
	s.Start()
	defer s.Close()
	if _, err := e.Submit(b.Context(), "lot", []park.Submission{{Payload: []byte(`{"hold":true}`)}}); err != nil {
		b.Fatal(err)
	}
	for n := 0; n < parked; n += 1000 {
		if _, err := e.Submit(b.Context(), "lot", make([]park.Submission, 1000)); err != nil {
			b.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	for range followers {
		follow(ctx, b, s.URL+"/events"+filter)
	}
	h := a.Socket()
	b.ResetTimer()
	before := processor(b)
	defer func() { b.ReportMetric(float64(processor(b)-before)/float64(b.N), "cpu-ns/op") }()
	for b.Loop() {
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, ask{method: "POST", path: "/pools/wide/tasks", body: `{"payload":{"n":1}}`}.request()); w.Code != 202 {
			b.Fatal(w.Code, w.Body)
		}
	}
}

// processor returns how long the process has computed, in nanoseconds: on a machine that does other things too the time
// that passes says little.
func processor(b *testing.B) int64 {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// follow reads a stream and throws it away.
func follow(ctx context.Context, b *testing.B, url string) {
	b.Helper()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		b.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(q) //nolint:bodyclose // the goroutine below does
	if err != nil {
		b.Fatal(err)
	}
	r := resp.Body
	go func() {
		buf := make([]byte, 64<<10)
		for err == nil {
			_, err = r.Read(buf)
		}
		if !errors.Is(err, context.Canceled) && ctx.Err() == nil {
			b.Error(err)
		}
		r.Close()
	}()
}

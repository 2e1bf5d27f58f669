package api

import (
	"bufio"
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// frame is one server-sent event.
type frame struct{ id, event, data string }

// reading reads a stream of events.
type reading struct {
	*testing.T
	resp  *http.Response
	lines *bufio.Scanner
	alive int    // heartbeats so far
	retry string // what the stream says of it
}

func listen(t *testing.T, s *httptest.Server, path, last string) *reading {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	resp, err := s.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" || resp.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%s: %s %v", path, resp.Status, resp.Header)
	}
	return &reading{T: t, resp: resp, lines: bufio.NewScanner(resp.Body)}
}

// next returns the next event; ok is false at the stream's end.
func (f *reading) next() (e frame, ok bool) {
	for f.lines.Scan() {
		name, value, _ := strings.Cut(f.lines.Text(), ": ")
		switch name {
		case "id":
			e.id = value
		case "event":
			e.event = value
		case "data":
			e.data = value
		case "retry":
			f.retry = value
		case "":
			if value == "alive" {
				f.alive++
			} else if e.data != "" {
				return e, true
			}
		default:
			f.Errorf("unknown line %q", f.lines.Text())
		}
	}
	return e, false
}

// take returns the ids of the next n events, having looked at them.
func (f *reading) take(n int) []string {
	f.Helper()
	var ids []string
	for range n {
		e, ok := f.next()
		if !ok {
			f.Fatalf("the stream ended after %v", ids)
		}
		var event park.Event
		if err := json.Unmarshal([]byte(e.data), &event); err != nil || event.EventID != e.id || string(event.Action) != e.event {
			f.Errorf("frame %+v: %v", e, err)
		}
		ids = append(ids, e.id)
	}
	return ids
}

// serve serves an API as the daemon does.
func serve(t *testing.T, a *API) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(nil)
	s.Config = Server(a.TCP(), nil)
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// TestEventsResume breaks a stream off at every event: nothing is left out and nothing comes twice.
func TestEventsResume(t *testing.T) {
	a := newAPI(t, Config{})
	s := serve(t, a)
	h := a.TCP()
	live := listen(t, s, "/events?pool=wide", "")
	for i := range 4 {
		ask{method: "POST", path: "/pools/wide/tasks", body: `{"taskId":"t` + strconv.Itoa(i) + `"}`}.to(t, h).is(202, nil)
		ask{method: "POST", path: "/pools/work/tasks"}.to(t, h).is(202, nil)
	}
	all := live.take(12)
	if live.retry == "" {
		t.Error("the stream does not say when to come back")
	}
	for i, id := range all {
		if rest := all[i+1:]; len(rest) > 0 {
			if got := listen(t, s, "/events?pool=wide", id).take(len(rest)); !slices.Equal(got, rest) {
				t.Errorf("after %s: %v, want %v", id, got, rest)
			}
		}
	}
	// What the browser knows wins over the address that it began with.
	if got := listen(t, s, "/events?pool=wide&cursor="+all[0], all[9]).take(2); !slices.Equal(got, all[10:]) {
		t.Errorf("got %v", got)
	}
	if got := listen(t, s, "/events?pool=wide&cursor="+all[9], "").take(2); !slices.Equal(got, all[10:]) {
		t.Errorf("by cursor: %v", got)
	}
	since := listen(t, s, "/events?task=t2&since=2000-01-01T00:00:00Z&action=start", "").take(1)
	if e := all[slices.Index(all, since[0])]; e != since[0] {
		t.Errorf("got %v", since)
	}
	var page park.EventPage
	ask{method: "GET", path: "/audit?pool=wide"}.to(t, h).is(200, &page)
	for i, e := range page.Events {
		if e.EventID != all[i] {
			t.Errorf("event %d of the log is %s, of the stream %s", i, e.EventID, all[i])
		}
	}
}

// TestQuietStreamsLive: heartbeats come, and the stream ends when the daemon is about to go.
func TestQuietStreamsLive(t *testing.T) {
	closing := make(chan struct{})
	f := listen(t, serve(t, newAPI(t, Config{Heartbeat: time.Millisecond, Closing: closing})), "/events", "")
	for f.alive < 3 && f.lines.Scan() {
		if f.lines.Text() == ": alive" {
			f.alive++
		}
	}
	close(closing)
	if e, ok := f.next(); ok {
		t.Errorf("an event out of nothing: %+v", e)
	}
	if err := f.lines.Err(); err != nil {
		t.Errorf("the stream broke off: %v", err)
	}
}

// endless yields events for ever, and says when it was left.
type endless struct {
	park.Service
	left chan struct{}
}

func (s endless) Watch(ctx context.Context, _ park.AuditQuery) iter.Seq2[park.Event, error] {
	return func(yield func(park.Event, error) bool) {
		defer close(s.left)
		for rev := int64(1); ctx.Err() == nil; rev++ {
			if !yield(long(rev), nil) {
				return
			}
			time.Sleep(time.Millisecond) // so that a reader can keep up
		}
	}
}

// Audit has one more event after any.
func (s endless) Audit(_ context.Context, q park.AuditQuery) (park.EventPage, error) {
	_, rev, _, _ := park.ParseEventID(q.Cursor)
	return park.EventPage{Events: []park.Event{long(rev + 1)}}, nil
}

func long(rev int64) park.Event {
	return park.Event{
		EventID: park.EventID("p", rev, 0), Rev: rev, At: park.FromMicro(1), Action: park.ActUpdate, PoolID: "p",
		Detail: json.RawMessage(`"` + strings.Repeat("x", 64<<10) + `"`),
	}
}

// TestReaderWhoGoesIsLeft: a stream holds nothing once its reader has gone.
func TestReaderWhoGoesIsLeft(t *testing.T) {
	svc := endless{left: make(chan struct{})}
	f := listen(t, serve(t, newAPI(t, Config{Service: svc})), "/events?changes=true", "")
	f.lines.Buffer(nil, 1<<20)
	f.take(3)
	f.resp.Body.Close()
	<-svc.left
}

// TestSlowReaderIsDropped: who does not read is given up once a write has lasted too long.
func TestSlowReaderIsDropped(t *testing.T) {
	t.Parallel()
	svc := endless{left: make(chan struct{})}
	listen(t, serveHastily(t, newAPI(t, Config{Service: svc})), "/events?changes=true", "") // and read nothing
	<-svc.left
}

// TestLongStreamsLast: the time of one write is not that of the stream.
func TestLongStreamsLast(t *testing.T) {
	t.Parallel()
	f := listen(t, serveHastily(t, newAPI(t, Config{Heartbeat: 100 * time.Millisecond})), "/events", "")
	for f.alive < 40 {
		if !f.lines.Scan() {
			t.Fatalf("the stream ended after %d heartbeats: %v", f.alive, f.lines.Err())
		}
		if f.lines.Text() == ": alive" {
			f.alive++
		}
	}
}

func serveHastily(t *testing.T, a *API) *httptest.Server {
	s := httptest.NewUnstartedServer(nil)
	s.Config = Server(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.TCP().ServeHTTP(&hasty{w}, r)
	}), nil)
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// hasty is a connection whose time runs ten times as fast: a write still has seconds, for a busy machine may take long
// to come to it.
type hasty struct{ http.ResponseWriter }

func (h *hasty) Unwrap() http.ResponseWriter { return h.ResponseWriter }

func (h *hasty) SetWriteDeadline(at time.Time) error {
	if left := time.Until(at); left > 0 {
		at = time.Now().Add(left / 10)
	}
	return http.NewResponseController(h.ResponseWriter).SetWriteDeadline(at)
}

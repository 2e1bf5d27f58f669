package api

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// TestLongPolls: each kind of wait is answered by what it waits for.
func TestLongPolls(t *testing.T) {
	a := newAPI(t, Config{})
	s := serve(t, a)
	h := a.TCP()
	ask{method: "POST", path: "/pools/work/tasks", body: `{"taskId":"a","mailboxKey":"k","payload":{"hold":true}}`}.to(t, h).is(202, nil)
	answers := make(chan string, 3)
	get := func(method, path, body string) {
		r, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, strings.NewReader(body))
		if err != nil {
			answers <- err.Error()
			return
		}
		if body != "" {
			r.Header.Set("Content-Type", "application/json")
		}
		resp, err := s.Client().Do(r)
		if err != nil {
			answers <- err.Error()
			return
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		answers <- string(b)
	}
	go get("GET", "/pools/work/tasks/a?wait=9m", "")
	go get("GET", "/mailbox/default/k?wait=9m", "")
	go get("POST", "/pools/remote/leases", `{"wait":"9m"}`)
	ask{method: "DELETE", path: "/pools/work/tasks/a"}.to(t, h).is(200, nil)
	ask{method: "POST", path: "/pools/remote/tasks", body: `{"taskId":"leased"}`}.to(t, h).is(202, nil)
	got := <-answers + <-answers + <-answers
	for _, want := range []string{`"status":"dropped"`, `"messages":[{`, `"leases":[{`} {
		if !strings.Contains(got, want) {
			t.Errorf("%s lacks %s", got, want)
		}
	}
}

// TestWaitEnds: a wait that brings nothing ends, with what there is.
func TestWaitEnds(t *testing.T) {
	h := newAPI(t, Config{}).TCP()
	ask{method: "POST", path: "/pools/work/tasks", body: `{"taskId":"a","payload":{"hold":true}}`}.to(t, h).is(202, nil)
	var task park.Task
	ask{method: "GET", path: "/pools/work/tasks/a?wait=1ms"}.to(t, h).is(200, &task)
	if task.Status != park.Running {
		t.Errorf("task %+v", task)
	}
	if r := (ask{method: "GET", path: "/mailbox/t/k?wait=1ms"}).to(t, h).is(200, nil); !strings.HasPrefix(r.body, `{"messages":[]`) {
		t.Errorf("mailbox %s", r.body)
	}
	if r := (ask{method: "POST", path: "/pools/remote/leases", body: `{"wait":"1ms"}`}).to(t, h).is(200, nil); !strings.HasPrefix(r.body, `{"leases":[]`) {
		t.Errorf("leases %s", r.body)
	}
}

// patience records what it was asked to wait for.
type patience struct {
	park.Service
	waits chan time.Duration
}

func (p patience) Task(_ context.Context, _, _ string, wait time.Duration) (park.Task, error) {
	p.waits <- wait
	return park.Task{}, nil
}

func (p patience) Lease(_ context.Context, _ string, r park.LeaseRequest) ([]park.Lease, error) {
	p.waits <- time.Duration(r.Wait)
	return nil, nil
}

func (p patience) Mailbox(_ context.Context, q park.MailboxQuery) (park.MessagePage, error) {
	p.waits <- q.Wait
	return park.MessagePage{}, nil
}

func TestWaitsAreBounded(t *testing.T) {
	p := patience{waits: make(chan time.Duration, 1)}
	h := newAPI(t, Config{Service: p}).TCP()
	for wait, want := range map[string]time.Duration{"": 0, "0": 0, "30s": 30 * time.Second, "10m": maxWait, "11m": maxWait, "9d": maxWait} {
		ask{method: "GET", path: "/pools/p/tasks/a?wait=" + wait}.to(t, h).is(200, nil)
		if got := <-p.waits; got != want {
			t.Errorf("wait=%s of a task: %s", wait, got)
		}
		ask{method: "GET", path: "/mailbox/t/k?wait=" + wait}.to(t, h).is(200, nil)
		if got := <-p.waits; got != want {
			t.Errorf("wait=%s of a mailbox: %s", wait, got)
		}
		if wait != "" {
			ask{method: "POST", path: "/pools/p/leases", body: `{"wait":"` + wait + `"}`}.to(t, h).is(200, nil)
			if got := <-p.waits; got != want {
				t.Errorf("wait %s of a lease: %s", wait, got)
			}
		}
	}
}

// TestClosingAnswersWhoWaits: a daemon that goes answers with what there is, and does not wait.
func TestClosingAnswersWhoWaits(t *testing.T) {
	closing := make(chan struct{})
	h := newAPI(t, Config{Closing: closing}).TCP()
	ask{method: "POST", path: "/pools/work/tasks", body: `{"taskId":"a","payload":{"hold":true}}`}.to(t, h).is(202, nil)
	bodies := make(chan string, 3)
	for _, q := range []ask{
		{method: "GET", path: "/pools/work/tasks/a?wait=9m"},
		{method: "GET", path: "/mailbox/t/k?wait=9m"},
		{method: "POST", path: "/pools/remote/leases", body: `{"wait":"9m"}`},
	} {
		go func() {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, q.request())
			bodies <- fmt.Sprint(w.Code, " ", w.Body)
		}()
	}
	close(closing)
	got := <-bodies + <-bodies + <-bodies
	for _, want := range []string{`200 {"taskId":"a"`, `200 {"messages":[]`, `200 {"leases":[]`} {
		if !strings.Contains(got, want) {
			t.Errorf("%s lacks %s", got, want)
		}
	}
}

// logs is a service with one log.
type logs struct {
	park.Service
	open func(ctx context.Context, follow bool) io.ReadCloser
}

func (l logs) Log(ctx context.Context, _, _ string, q park.LogQuery) (*park.Log, error) {
	return &park.Log{ReadCloser: l.open(ctx, q.Follow), Attempt: 1}, nil
}

func TestLogComesAsItIsWritten(t *testing.T) {
	from, to := io.Pipe()
	s := serve(t, newAPI(t, Config{Service: logs{open: func(_ context.Context, follow bool) io.ReadCloser {
		if !follow {
			return io.NopCloser(strings.NewReader("so far"))
		}
		return from
	}}}))
	resp, err := s.Client().Get(s.URL + "/pools/p/tasks/a/log")
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if string(b) != "so far" || resp.Header.Get("Content-Type") != "text/plain; charset=utf-8" || resp.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%q %v", b, resp.Header)
	}
	resp, err = s.Client().Get(s.URL + "/pools/p/tasks/a/log?follow=true")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewReader(resp.Body)
	for _, line := range []string{"one\n", "two\n"} {
		_, _ = io.WriteString(to, line)
		if got, err := lines.ReadString('\n'); got != line {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	to.Close()
	if rest, err := io.ReadAll(lines); err != nil || len(rest) > 0 {
		t.Errorf("at its end: %q, %v", rest, err)
	}
}

// TestBrokenLogIsNotWhole: a log that cannot be read to its end does not look as if it had been.
func TestBrokenLogIsNotWhole(t *testing.T) {
	s := serve(t, newAPI(t, Config{Service: logs{open: func(context.Context, bool) io.ReadCloser {
		return io.NopCloser(io.MultiReader(strings.NewReader("half"), errorReader{}))
	}}}))
	resp, err := s.Client().Get(s.URL + "/pools/p/tasks/a/log")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("%q came as a whole log", b)
	}
}

type errorReader struct{}

func (errorReader) Read([]byte) (int, error) { return 0, errors.New("disk on fire") }

// TestClientWhoGoesEndsTheLog: what was opened for a reader who has gone is closed.
func TestClientWhoGoesEndsTheLog(t *testing.T) {
	ended := make(chan struct{})
	s := serve(t, newAPI(t, Config{Service: logs{open: func(ctx context.Context, _ bool) io.ReadCloser {
		from, to := io.Pipe()
		go func() {
			_, _ = io.WriteString(to, "first")
			<-ctx.Done()
			to.CloseWithError(ctx.Err())
			close(ended)
		}()
		return from
	}}}))
	resp, err := s.Client().Get(s.URL + "/pools/p/tasks/a/log?follow=true")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(resp.Body, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	<-ended
}

// stuck is a service whose submissions end with their context.
type stuck struct{ park.Service }

func (stuck) Submit(ctx context.Context, _ string, _ []park.Submission) ([]park.SubmitResult, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestUnknownOutcomeIsNoAnswer: a submission that was cut short is not answered as if something were known.
func TestUnknownOutcomeIsNoAnswer(t *testing.T) {
	s := httptest.NewUnstartedServer(nil)
	s.Config = Server(newAPI(t, Config{Service: stuck{}}).TCP(), nil)
	life, end := context.WithCancel(t.Context())
	s.Config.BaseContext = func(net.Listener) context.Context { return life }
	s.Start()
	t.Cleanup(s.Close)
	end()
	resp, err := s.Client().Post(s.URL+"/pools/p/tasks", "application/json", strings.NewReader("{}"))
	if err == nil {
		resp.Body.Close()
		t.Errorf("answered %s", resp.Status)
	}
}

// TestLogSaysWhereItBegins: an attempt's log is asked for from a byte on, and the answer says where it begins.
func TestLogSaysWhereItBegins(t *testing.T) {
	var asked park.LogQuery
	h := newAPI(t, Config{Service: kept{asked: &asked}}).TCP()
	r := ask{method: "GET", path: "/pools/p/tasks/a/log?attempt=2&offset=10&follow=true"}.to(t, h)
	if want := (park.LogQuery{Attempt: 2, Offset: 10, Follow: true}); asked != want {
		t.Errorf("%+v was asked for, not %+v", asked, want)
	}
	if r.code != 200 || r.Get("Parkd-Log-Attempt") != "2" || r.Get("Parkd-Log-Offset") != "4096" || r.body != "kept" {
		t.Errorf("%d %v %q", r.code, r.Header, r.body)
	}
	headers := readSpec(t, h).Paths["/pools/{poolId}/tasks/{taskId}/log"]["get"].Responses["200"].Headers
	for _, name := range []string{"Parkd-Log-Attempt", "Parkd-Log-Offset"} {
		if headers[name].Schema["type"] != "integer" {
			t.Errorf("%s is not documented: %v", name, headers)
		}
	}
	for query, want := range map[string]string{
		"attempt=0": "attempt must be a whole number of at least 1", "attempt=all": "attempt must be", "attempt=-1": "attempt must be",
		"attempt=9999999999999999999": "attempt must be", "offset=-1": "offset must be a whole number of at least 0", "offset=1.5": "offset must be",
		"attempt=1&attempt=2": "attempt is given 2 times",
	} {
		r := ask{method: "GET", path: "/pools/p/tasks/a/log?" + query}.to(t, h)
		if r.code != 400 || !strings.Contains(r.body, want) {
			t.Errorf("%s: %d %s", query, r.code, r.body)
		}
	}
}

// kept is a service with a log whose beginning was rotated away.
type kept struct {
	park.Service
	asked *park.LogQuery
}

func (k kept) Log(_ context.Context, _, _ string, q park.LogQuery) (*park.Log, error) {
	*k.asked = q
	return &park.Log{ReadCloser: io.NopCloser(strings.NewReader("kept")), Attempt: q.Attempt, Offset: 4096}, nil
}

// TestLogDoesNotEndWithTheDaemon: a log that the end of the daemon cuts off does not look as if it had come to its end.
func TestLogDoesNotEndWithTheDaemon(t *testing.T) {
	closing := make(chan struct{})
	s := serve(t, newAPI(t, Config{Closing: closing, Service: logs{open: func(ctx context.Context, _ bool) io.ReadCloser {
		from, to := io.Pipe()
		go func() {
			_, _ = io.WriteString(to, "first")
			<-ctx.Done()
			to.CloseWithError(ctx.Err())
		}()
		return from
	}}}))
	resp, err := s.Client().Get(s.URL + "/pools/p/tasks/a/log?follow=true")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadFull(resp.Body, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	close(closing)
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("it ended as if it were whole")
	}
}

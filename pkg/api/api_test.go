package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/internal/parktest"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/memory"
)

// start returns an engine with the pools of parktest over a memory store.
func start(t testing.TB) *engine.Engine {
	t.Helper()
	e := open(t)
	t.Cleanup(func() { stop(t, e) })
	return e
}

// stop ends an engine, and what it runs.
func stop(t testing.TB, e *engine.Engine) {
	t.Helper()
	over, cancel := context.WithCancel(context.Background())
	cancel()
	if err := e.Close(over); err != nil {
		t.Error(err)
	}
}

// open is start for a test that stops the engine itself.
func open(t testing.TB, more ...engine.Pool) *engine.Engine {
	t.Helper()
	c := engine.Config{Stores: map[park.Backend]store.Store{park.InMemory: memory.New()}}
	for _, spec := range parktest.Pools() {
		p := engine.Pool{PoolSpec: spec}
		if !spec.Runtime.Leased() {
			p.Executor = parktest.Executor()
		}
		c.Pools = append(c.Pools, p)
	}
	c.Pools = append(c.Pools, more...)
	e, err := engine.Open(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func newAPI(t testing.TB, c Config) *API {
	t.Helper()
	if c.Service == nil {
		c.Service = start(t)
	}
	a, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func token(secret, tenant string) Token {
	return Token{Name: secret, Tenant: tenant, SHA256: sha256.Sum256([]byte(secret))}
}

func forMetrics(secret string) Token {
	t := token(secret, "")
	t.Role = RoleMetrics
	return t
}

// ask is one request of a test, to a daemon at 127.0.0.1:7275.
type ask struct {
	method, path, body string
	header             http.Header
	host               string
}

func (q ask) with(name, value string) ask {
	q.header = q.header.Clone()
	if q.header == nil {
		q.header = http.Header{}
	}
	q.header.Set(name, value)
	return q
}

// and gives a header once more.
func (q ask) and(name, value string) ask {
	q.header = q.header.Clone()
	q.header.Add(name, value)
	return q
}

func (q ask) as(secret string) ask { return q.with("Authorization", "Bearer "+secret) }

// request returns it with its body marked as JSON, unless a test says otherwise.
func (q ask) request() *http.Request {
	var body io.Reader
	if q.body != "" {
		body = strings.NewReader(q.body)
	}
	r := httptest.NewRequest(q.method, q.path, body)
	r.Host = "127.0.0.1:7275"
	if q.host != "" {
		r.Host = q.host
	}
	if q.body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	maps.Copy(r.Header, q.header)
	return r
}

// reply is what came back.
type reply struct {
	*testing.T
	asked string
	code  int
	http.Header
	body string
}

func (q ask) to(t *testing.T, h http.Handler) reply {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, q.request())
	r := reply{t, q.method + " " + q.path + " " + quote(q.body), w.Code, w.Header(), w.Body.String()}
	for name := range w.Header() {
		if strings.HasPrefix(name, "Access-Control-") {
			t.Errorf("%s: a web page is given %s", r.asked, name)
		}
	}
	return r
}

// is checks the status of an answer and reads it into v, unless that is nil.
func (r reply) is(status int, v any) reply {
	r.Helper()
	if r.code != status {
		r.Fatalf("%s: got %d %s, want %d", r.asked, r.code, r.body, status)
	}
	if v != nil {
		if err := json.Unmarshal([]byte(r.body), v); err != nil {
			r.Fatalf("%s: %v in %s", r.asked, err, r.body)
		}
	}
	return r
}

// refused checks that an answer is a whole problem with this code, and that its detail has these words.
func (r reply) refused(code park.Code, words ...string) reply {
	r.Helper()
	if got := r.Get("Content-Type"); got != "application/problem+json" {
		r.Fatalf("%s: got %d %s %s, want a problem %s", r.asked, r.code, got, r.body, code)
	}
	var p problem
	d := json.NewDecoder(strings.NewReader(r.body))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		r.Fatalf("%s: %v in %s", r.asked, err, r.body)
	}
	if p.Code != code || p.Status != r.code || p.Status != code.HTTPStatus() || p.Title != code.Title() || !strings.HasSuffix(p.Type, string(code)) {
		r.Errorf("%s: got %d %s, want %s", r.asked, r.code, r.body, code)
	}
	for _, w := range words {
		if !strings.Contains(p.Detail, w) {
			r.Errorf("%s: %q does not say %q", r.asked, p.Detail, w)
		}
	}
	return r
}

// at returns the route's path with names of things that exist, or could, in the place of the braces.
func (rt *route) at() string {
	return strings.NewReplacer(
		"{poolId}", parktest.Remote, "{taskId}", "a", "{tenant}", "acme", "{mailboxKey}", "box", "{leaseId}", "remote.1.00.a",
	).Replace(rt.path)
}

// sample returns a body that the route takes.
func (rt *route) sample() string {
	switch rt.body {
	case nil:
		return ""
	case typeOf[batch]():
		return `{"tasks":[{}]}`
	case typeOf[park.PoolPatch]():
		return `{"state":"active"}`
	case typeOf[park.LeaseResult]():
		return `{"status":"completed"}`
	}
	return `{}`
}

func TestNewNeedsAService(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("an API without a service")
	}
}

func TestNowhere(t *testing.T) {
	h := newAPI(t, Config{}).TCP()
	for _, path := range []string{"/", "/nowhere", "/pools/", "/pools//tasks", "/pools/../audit", "/pools/work/tasks/a/b", "/favicon.ico"} {
		ask{method: "GET", path: path}.to(t, h).refused(park.RouteNotFound, "/openapi.json")
	}
	ask{method: "OPTIONS", path: "*"}.to(t, h).refused(park.RouteNotFound)
}

func TestEscapedNames(t *testing.T) {
	h := newAPI(t, Config{}).Socket()
	key := `"a/b c%2F?é:s"`
	body := `{"taskId":"t:1","tenant":"x/y","mailboxKey":` + key + `,"payload":{"fail":true}}`
	ask{method: "POST", path: "/pools/work/tasks", body: body}.to(t, h).is(202, nil)
	ask{method: "GET", path: "/pools/work/tasks/t%3A1?wait=1m"}.to(t, h).is(200, nil)
	var page park.MessagePage
	ask{method: "GET", path: "/mailbox/x%2Fy/a%2Fb%20c%252F%3F%C3%A9%3As?wait=1m"}.to(t, h).is(200, &page)
	if len(page.Messages) != 1 || page.Messages[0].TaskID != "t:1" {
		t.Errorf("messages %+v", page.Messages)
	}
	for _, dots := range []string{"%2E", "%2E%2E", "%2e%2e"} {
		ask{method: "GET", path: "/mailbox/t/" + dots}.to(t, h).is(200, nil)
	}
	ask{method: "GET", path: "/mailbox/t/%00"}.to(t, h).refused(park.InvalidRequest, "mailboxKey")
	ask{method: "GET", path: "/mailbox/%FF/k"}.to(t, h).refused(park.InvalidRequest, "tenant")
	ask{method: "GET", path: "/pools/work/tasks/%00"}.to(t, h).refused(park.TaskNotFound)
	ask{method: "POST", path: "/pools/work/tasks%3Abatch", body: `{"tasks":[{}]}`}.to(t, h).is(200, nil)
}

func TestHeadIsGetWithoutBody(t *testing.T) {
	s := httptest.NewServer(newAPI(t, Config{}).TCP())
	defer s.Close()
	for _, path := range []string{"/pools", "/health", "/openapi.json", "/audit", "/events", "/pools/work/tasks/none"} {
		resp, err := http.Head(s.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if len(b) > 0 || resp.Header.Get("Content-Type") == "" {
			t.Errorf("%s: %s %q", path, resp.Header, b)
		}
	}
}

func TestHealth(t *testing.T) {
	var trouble error
	a := newAPI(t, Config{
		Version: "1.2.3", Ready: func() error { return trouble },
		Health:  func() map[string]any { return map[string]any{"node": "n1", "status": "not to be said"} },
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "up 1\n") }),
	})
	h := a.TCP()
	var facts map[string]any
	ask{method: "GET", path: "/health"}.to(t, h).is(200, &facts)
	if facts["status"] != "ok" || facts["version"] != "1.2.3" || facts["node"] != "n1" {
		t.Errorf("health %v", facts)
	}
	ask{method: "GET", path: "/readyz"}.to(t, h).is(200, nil)
	trouble = io.ErrClosedPipe
	ask{method: "GET", path: "/livez"}.to(t, h).is(200, nil)
	ask{method: "GET", path: "/readyz"}.to(t, h).refused(park.StorageUnavailable, io.ErrClosedPipe.Error())
	trouble = park.Errorf(park.PoolHalted, "pool gpu has halted")
	ask{method: "GET", path: "/health"}.to(t, h).refused(park.PoolHalted, "gpu")
	if r := (ask{method: "GET", path: "/metrics"}).to(t, h).is(200, nil); r.body != "up 1\n" {
		t.Errorf("metrics %q", r.body)
	}
	ask{method: "GET", path: "/metrics"}.to(t, newAPI(t, Config{}).TCP()).refused(park.RouteNotFound)
}

// broken is a service that answers every submission with err, or panics.
type broken struct {
	park.Service
	err error
}

func (b broken) Submit(context.Context, string, []park.Submission) ([]park.SubmitResult, error) {
	if b.err == nil {
		panic("broken")
	}
	return nil, b.err
}

func TestRetryAfter(t *testing.T) {
	for _, c := range []struct {
		after string
		err   *park.Error
	}{
		{"", &park.Error{Code: park.CapacityZero}},
		{"1", &park.Error{Code: park.QueueFull, RetryAfter: 1}},
		{"1", &park.Error{Code: park.QueueFull, RetryAfter: 1e9}},
		{"3", &park.Error{Code: park.StorageUnavailable, RetryAfter: 2_000_000_001}},
	} {
		r := ask{method: "POST", path: "/pools/p/tasks"}.to(t, newAPI(t, Config{Service: broken{err: c.err}}).TCP()).refused(c.err.Code)
		if got := r.Get("Retry-After"); got != c.after {
			t.Errorf("%s after %s: Retry-After %q, want %q", c.err.Code, c.err.RetryAfter, got, c.after)
		}
	}
}

func TestQueueFullTellsWhenToComeBack(t *testing.T) {
	h := newAPI(t, Config{}).TCP()
	ask{method: "POST", path: "/pools/now/tasks", body: `{"payload":{"hold":true}}`}.to(t, h).is(202, nil)
	r := ask{method: "POST", path: "/pools/now/tasks"}.to(t, h).refused(park.QueueFull)
	if r.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	var batch struct{ Results []problem }
	ask{method: "POST", path: "/pools/now/tasks:batch", body: `{"tasks":[{}]}`}.to(t, h).is(200, &batch)
	if batch.Results[0].Code != park.QueueFull || batch.Results[0].RetryAfterSecs == 0 {
		t.Errorf("in a batch: %+v", batch.Results[0])
	}
	ask{method: "POST", path: "/pools/zero/tasks"}.to(t, h).refused(park.CapacityZero)
}

func TestInternalErrorsAreLoggedAndNotTold(t *testing.T) {
	for _, err := range []error{io.ErrNoProgress, nil} {
		var out bytes.Buffer
		h := newAPI(t, Config{Service: broken{err: err}, Log: logTo(&out)}).TCP()
		r := ask{method: "POST", path: "/pools/p/tasks"}.to(t, h).refused(park.Internal)
		var p problem
		r.is(500, &p)
		id := p.Detail[strings.LastIndexByte(p.Detail, ' ')+1:]
		if strings.Contains(r.body, "multiple Read") || strings.Contains(r.body, "broken") {
			t.Errorf("told: %s", r.body)
		}
		if !strings.Contains(out.String(), id) {
			t.Errorf("log %s does not have %s", &out, id)
		}
	}
}

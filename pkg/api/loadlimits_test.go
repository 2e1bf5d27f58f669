package api

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// full checks that an answer says that the daemon has as much at hand as it takes, and when to come back.
func (r reply) full(words ...string) {
	r.Helper()
	if r.refused(park.Overloaded, words...).Get("Retry-After") == "" {
		r.Errorf("%s: no Retry-After", r.asked)
	}
}

// lasting sends a request that lasts until the end of the test, and returns once it is under way.
func lasting(t *testing.T, h http.Handler, q ask, b *budget) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done, before := make(chan struct{}), b.inUse()
	go func() {
		defer close(done)
		defer func() { _ = recover() }() // net/http's own, for an answer that nobody reads
		h.ServeHTTP(httptest.NewRecorder(), q.request().WithContext(ctx))
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	eventually(t, "the request is under way", func() bool { return b.inUse() > before })
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// TestCrowds: of all that lasts there is so much at once; the next is told to come back, other requests are answered, and
// what has ended makes room.
func TestCrowds(t *testing.T) {
	a := newAPI(t, Config{Tokens: []Token{token("right", ""), token("acme", "acme"), token("zeta", "zeta")}})
	get := func(path string) ask { return ask{method: "GET", path: path} }
	wait := get("/mailbox/acme/k?wait=10m")
	for _, c := range []struct {
		what  string
		q     ask
		of    func(*budgets) *budget
		words string
	}{
		{"waits for a message", wait, func(n *budgets) *budget { return &n.waits }, "waiting requests"},
		{"waits for a lease", ask{method: "POST", path: "/pools/remote/leases", body: `{"wait":"10m"}`}, func(n *budgets) *budget { return &n.waits }, "waiting requests"},
		{"streams", get("/events"), func(n *budgets) *budget { return &n.streams }, "streams"},
	} {
		t.Run(c.what, func(t *testing.T) {
			n := newBudgets(LoadLimits{Waits: 2, Streams: 2, Logs: 2})
			h := a.handler(a.guardTCP, n)
			for range 2 {
				lasting(t, h, c.q.as("right"), c.of(n))
			}
			c.q.as("right").to(t, h).full(c.words, "2")
			get("/mailbox/acme/k").as("right").to(t, h).is(200, nil)
			get("/pools").as("right").to(t, h).is(200, nil)
		})
	}
	t.Run("one tenant has no more than half", func(t *testing.T) {
		n := newBudgets(LoadLimits{Waits: 4})
		h := a.handler(a.guardTCP, n)
		for range 2 {
			lasting(t, h, wait.as("acme"), &n.waits)
		}
		wait.as("acme").to(t, h).full("acme")
		lasting(t, h, get("/mailbox/zeta/k?wait=10m").as("zeta"), &n.waits)
		lasting(t, h, wait.as("right"), &n.waits)
	})
}

// TestWaitsMakeRoom: a wait that has ended, however it did, is a wait no more.
func TestWaitsMakeRoom(t *testing.T) {
	a := newAPI(t, Config{})
	n := newBudgets(LoadLimits{Waits: 1, Logs: 1})
	h := a.handler(a.guardSocket, n)
	for range 3 {
		ask{method: "GET", path: "/mailbox/t/k?wait=1ms"}.to(t, h).is(200, nil)
		ask{method: "GET", path: "/pools/work/tasks/none?wait=1ms"}.to(t, h).refused(park.TaskNotFound)
		ask{method: "GET", path: "/pools/work/tasks/none/log"}.to(t, h)
		ask{method: "POST", path: "/pools/work/leases", body: `{"wait":"1s"}`}.to(t, h).refused(park.PoolNotLeased)
	}
	for _, b := range []*budget{&n.waits, &n.logs} {
		if b.inUse() != 0 || len(b.byTenant) != 0 {
			t.Errorf("%d %s", b.inUse(), b.name)
		}
	}
}

// TestBodiesInFlight: bodies that are being read and worked on have so many bytes together, told or not.
func TestBodiesInFlight(t *testing.T) {
	a := newAPI(t, Config{})
	n := newBudgets(LoadLimits{Bytes: 1 << 20})
	h := a.handler(a.guardSocket, n)
	ask{method: "POST", path: "/pools/wide/tasks:batch", body: `{"tasks":[{}]}`}.to(t, h).is(200, nil)
	release, err := n.bytes.acquire("", 1<<20-100_000)
	if err != nil {
		t.Fatal(err)
	}
	long := `{"payload":"` + strings.Repeat("x", 200_000) + `"}`
	ask{method: "POST", path: "/pools/wide/tasks", body: long}.to(t, h).full("bytes")
	r := ask{method: "POST", path: "/pools/wide/tasks", body: "{}"}.request()
	r.ContentLength, r.Body = -1, io.NopCloser(bytes.NewReader([]byte(`{}`)))
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, r); w.Code != 503 { // it may become as long as any
		t.Errorf("of a length that is not told: %d %s", w.Code, w.Body)
	}
	ask{method: "POST", path: "/pools/wide/tasks", body: `{"taskId":"small"}`}.to(t, h).is(202, nil)
	release()
	ask{method: "POST", path: "/pools/wide/tasks", body: long}.to(t, h).is(202, nil)
	if n.bytes.inUse() != 0 {
		t.Errorf("%d bytes are left", n.bytes.inUse())
	}
	// A body that is longer than all room is taken where there is nothing else.
	ask{method: "POST", path: "/pools/wide/tasks:batch", body: fmt.Sprintf(`{"tasks":[%s{}]}`, strings.Repeat(long+",", 8))}.to(t, h).is(200, nil)
}

// TestHeld: what lasts is counted for the way that it came in.
func TestHeld(t *testing.T) {
	a := newAPI(t, Config{})
	lasting(t, a.Socket(), ask{method: "GET", path: "/mailbox/acme/k?wait=10m"}, &a.socket.waits)
	lasting(t, a.Socket(), ask{method: "GET", path: "/events"}, &a.socket.streams)
	want := map[string]InFlight{"tcp": {}, "unix": {Waits: 1, Streams: 1}}
	if got := a.InFlight(); !maps.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/parkd-dev/parkd/pkg/park"
)

// TestProbes: what watches a daemon from outside has neither a token nor the daemon's name, and is told one word.
func TestProbes(t *testing.T) {
	var trouble error
	a := newAPI(t, Config{
		Version: "1.2.3", Tokens: []Token{token("right", ""), forMetrics("metrics")}, Ready: func() error { return trouble },
	})
	h := a.TCP()
	live, ready := ask{method: "GET", path: "/livez", host: "10.0.0.7:7275"}, ask{method: "GET", path: "/readyz", host: "10.0.0.7:7275"}
	word := func(q ask, status int, want string) {
		t.Helper()
		for _, q := range []ask{q, q.as("wrong"), q.as("metrics")} {
			if r := q.to(t, h).is(status, nil); r.body != want || !strings.HasPrefix(r.Get("Content-Type"), "text/plain") {
				t.Errorf("%s: %s %q, want %q", r.asked, r.Get("Content-Type"), r.body, want)
			}
		}
	}
	word(live, 200, "ok\n")
	word(ready, 200, "ok\n")
	trouble = errors.New("db1.internal refuses parkd's password")
	word(live, 200, "ok\n")
	word(ready, 503, "not ready\n")
	ask{method: "GET", path: "/readyz"}.as("right").to(t, h).refused(park.StorageUnavailable, "db1.internal")
	ask{method: "GET", path: "/health"}.to(t, h).refused(park.Unauthorized)
}

// TestProbesOfOld: a load balancer may speak HTTP/1.0, which needs no name.
func TestProbesOfOld(t *testing.T) {
	s := serve(t, newAPI(t, Config{Tokens: []Token{token("right", "")}}))
	for _, path := range []string{"/livez", "/readyz"} {
		_, back := raw(t, s, "GET "+path+" HTTP/1.0\r\n\r\n")
		resp, err := http.ReadResponse(back, nil)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != 200 || string(b) != "ok\n" {
			t.Errorf("%s: %s %q", path, resp.Status, b)
		}
	}
}

// TestReadyPoolByPool: a daemon is ready while a pool of it takes work, and says which do.
func TestReadyPoolByPool(t *testing.T) {
	h := newAPI(t, Config{
		Tokens: []Token{token("right", ""), token("acme", "acme")},
		Pools:  func() map[string]error { return map[string]error{"b": errors.New("db1 is away"), "a": nil} },
	}).TCP()
	ready := ask{method: "GET", path: "/readyz"}
	for secret, detail := range map[string]string{"right": "db1 is away", "acme": ""} {
		var got health
		ready.as(secret).to(t, h).is(200, &got)
		if want := []readiness{{PoolID: "a", Ready: true}, {PoolID: "b", Detail: detail}}; got.Status != "ok" || !slices.Equal(got.Pools, want) {
			t.Errorf("%s: %+v, want %+v", secret, got, want)
		}
	}
	if r := ready.to(t, h).is(200, nil); r.body != "ok\n" {
		t.Errorf("without a token: %q", r.body)
	}
}

// TestMetricsRole: a token for metrics reads them, whole.
func TestMetricsRole(t *testing.T) {
	h := newAPI(t, Config{
		Tokens:  []Token{token("right", ""), token("acme", "acme"), forMetrics("metrics")},
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "up 1\n") }),
	}).TCP()
	metrics := ask{method: "GET", path: "/metrics"}
	for _, secret := range []string{"right", "metrics"} {
		if r := metrics.as(secret).to(t, h).is(200, nil); r.body != "up 1\n" {
			t.Errorf("%s: %q", secret, r.body)
		}
	}
	metrics.to(t, h).refused(park.Unauthorized)
	metrics.as("acme").to(t, h).refused(park.Forbidden)
	ask{method: "GET", path: "/pools"}.as("metrics").to(t, h).refused(park.Forbidden, "/metrics")
}

// TestOtherUsers: without tokens a request over TCP has to be of the daemon's user; with tokens that is no question, and
// at the socket the file system has answered it.
func TestOtherUsers(t *testing.T) {
	type user struct{}
	own := func(r *http.Request) bool { return r.Context().Value(user{}) == "own" }
	as := func(h http.Handler, name string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), user{}, name)))
		})
	}
	pools := ask{method: "GET", path: "/pools"}
	open, closed := newAPI(t, Config{Owner: own}), newAPI(t, Config{Owner: own, Tokens: []Token{token("right", "")}})
	pools.to(t, as(open.TCP(), "own")).is(200, nil)
	pools.to(t, as(open.TCP(), "other")).refused(park.Forbidden, "token")
	ask{method: "DELETE", path: "/pools/work/tasks/a"}.to(t, as(open.TCP(), "other")).refused(park.Forbidden)
	pools.to(t, as(open.Socket(), "other")).is(200, nil)
	pools.as("right").to(t, as(closed.TCP(), "other")).is(200, nil)
}

// TestHeadersGivenTwice: of two values each reader would choose another.
func TestHeadersGivenTwice(t *testing.T) {
	h := newAPI(t, Config{}).Socket()
	ask{method: "POST", path: "/pools/work/tasks", body: "{}"}.with("Content-Type", "application/json").and("Content-Type", "text/plain").to(t, h).refused(park.UnsupportedMediaType)
	ask{method: "GET", path: "/events"}.with("Last-Event-ID", "work:1:0").and("Last-Event-ID", "work:2:0").to(t, h).refused(park.InvalidRequest, "Last-Event-ID")
}

package api

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/parkd-dev/parkd/pkg/park"
)

func logTo(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

// methods are those of the routes and others.
func methods() []string {
	return []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"}
}

// guarded calls f with every method at every path, also where there is nothing.
func guarded(a *API, f func(ask)) {
	paths := map[string]bool{"/": true, "/nowhere": true, "//": true}
	for _, rt := range a.routes {
		paths[rt.at()] = true
	}
	for path := range paths {
		for _, m := range methods() {
			f(ask{method: m, path: path})
		}
	}
}

// untouched is a service that must not be reached: any call panics, which is a 500.
type untouched struct{ park.Service }

// TestEverythingIsGuarded sends to every route, with every method, what must not get in.
func TestEverythingIsGuarded(t *testing.T) {
	closed := newAPI(t, Config{Service: untouched{}, Hosts: []string{"gpu-box"}, Tokens: []Token{token("right", ""), token("acme", "acme"), forMetrics("metrics")}})
	open := newAPI(t, Config{Service: untouched{}, Hosts: []string{"gpu-box"}})
	others := newAPI(t, Config{Service: untouched{}, Owner: func(*http.Request) bool { return false }})
	for _, c := range []struct {
		name string
		code park.Code
		api  *API
		ask  func(ask) ask
	}{
		{"no token", park.Unauthorized, closed, func(q ask) ask { return q }},
		{"wrong token", park.Unauthorized, closed, func(q ask) ask { return q.as("wrong") }},
		{"token cut short", park.Unauthorized, closed, func(q ask) ask { return q.as("righ") }},
		{"empty token", park.Unauthorized, closed, func(q ask) ask { return q.with("Authorization", "Bearer ") }},
		{"other scheme", park.Unauthorized, closed, func(q ask) ask { return q.with("Authorization", "Basic right") }},
		{"bare token", park.Unauthorized, closed, func(q ask) ask { return q.with("Authorization", "right") }},
		{"foreign host", park.Forbidden, open, to("evil.example")},
		{"rebound name", park.Forbidden, open, to("localhost.evil.example:7275")},
		{"host with the right token", park.Forbidden, closed, func(q ask) ask { return to("evil.example")(q.as("right")) }},
		{"any address", park.Forbidden, open, to("0.0.0.0:7275")},
		{"another address", park.Forbidden, open, to("192.168.1.7:7275")},
		{"number as address", park.Forbidden, open, to("2130706433:7275")},
		{"user in host", park.Forbidden, open, to("localhost@evil.example")},
		{"foreign origin", park.Forbidden, open, origin("http://evil.example")},
		{"origin on another port", park.Forbidden, open, origin("http://127.0.0.1:3000")},
		{"null origin", park.Forbidden, open, origin("null")},
		{"origin of no scheme", park.Forbidden, open, origin("127.0.0.1:7275")},
		{"origin with the right token", park.Forbidden, closed, func(q ask) ask { return origin("http://evil.example")(q.as("right")) }},
		{"cross-site", park.Forbidden, open, func(q ask) ask { return q.with("Sec-Fetch-Site", "cross-site") }},
		{"same-site", park.Forbidden, open, func(q ask) ask { return q.with("Sec-Fetch-Site", "same-site") }},
		{"foreign origin behind the own", park.Forbidden, open, func(q ask) ask {
			return origin("http://127.0.0.1:7275")(q).and("Origin", "http://evil.example")
		}},
		{"own origin twice", park.Forbidden, open, func(q ask) ask {
			return origin("http://127.0.0.1:7275")(q).and("Origin", "http://127.0.0.1:7275")
		}},
		{"empty origin", park.Forbidden, open, origin("")},
		{"cross-site behind none", park.Forbidden, open, func(q ask) ask { return q.with("Sec-Fetch-Site", "none").and("Sec-Fetch-Site", "cross-site") }},
		{"right token behind a wrong one", park.Unauthorized, closed, func(q ask) ask { return q.as("wrong").and("Authorization", "Bearer right") }},
		{"right token before a wrong one", park.Unauthorized, closed, func(q ask) ask { return q.as("right").and("Authorization", "Bearer wrong") }},
		{"another user", park.Forbidden, others, func(q ask) ask { return q }},
	} {
		t.Run(c.name, func(t *testing.T) {
			guarded(c.api, func(q ask) {
				probe := c.api.publicPaths[q.path] && (q.method == http.MethodGet || q.method == http.MethodHead)
				if probe && !strings.Contains(c.name, "origin") && !strings.Contains(c.name, "-site") {
					c.ask(q).to(t, c.api.TCP()).is(200, nil) // for anybody: see TestProbes
					return
				}
				c.ask(q).barred(t, c.api.TCP(), c.code)
			})
		})
	}
	t.Run("for metrics alone", func(t *testing.T) {
		guarded(closed, func(q ask) {
			get := q.method == http.MethodGet || q.method == http.MethodHead
			if !get || q.path != "/metrics" && !closed.publicPaths[q.path] {
				q.as("metrics").barred(t, closed.TCP(), park.Forbidden)
			}
		})
	})
	t.Run("a page at the socket", func(t *testing.T) {
		guarded(open, func(q ask) {
			origin("http://127.0.0.1:7275")(q).barred(t, open.Socket(), park.Forbidden)
			q.with("Sec-Fetch-Site", "cross-site").barred(t, open.Socket(), park.Forbidden)
		})
	})
}

func to(host string) func(ask) ask {
	return func(q ask) ask { q.host = host; return q }
}

func origin(o string) func(ask) ask {
	return func(q ask) ask { return q.with("Origin", o) }
}

// barred checks a refusal; that of a HEAD has no body to look at.
func (q ask) barred(t *testing.T, h http.Handler, code park.Code) {
	t.Helper()
	r := q.to(t, h)
	if q.method == http.MethodHead {
		r.is(code.HTTPStatus(), nil)
	} else {
		r.refused(code)
	}
	if (r.Get("WWW-Authenticate") != "") != (code == park.Unauthorized) {
		t.Errorf("%s: WWW-Authenticate %q", r.asked, r.Get("WWW-Authenticate"))
	}
}

// TestOwnNames lets in whoever addresses the daemon by a name of its own.
func TestOwnNames(t *testing.T) {
	h := newAPI(t, Config{Hosts: []string{"GPU-box:443", "10.1.2.3"}}).TCP()
	for _, host := range []string{
		"localhost", "localhost:7275", "LOCALHOST.:80", "127.0.0.1", "127.0.0.1:8080", "127.3.2.1:1", "[::1]", "[::1]:7275",
		"gpu-box", "gpu-box:7275", "10.1.2.3:7275",
	} {
		to(host)(ask{method: "GET", path: "/pools"}).to(t, h).is(200, nil)
		origin("http://"+host)(to(host)(ask{method: "GET", path: "/pools"})).to(t, h).is(200, nil)
	}
	same := ask{method: "GET", path: "/pools"}
	same.with("Sec-Fetch-Site", "same-origin").to(t, h).is(200, nil)
	same.with("Sec-Fetch-Site", "none").to(t, h).is(200, nil)
}

// TestAddressItCameInAt takes an address as the daemon's own where the connection says so, and without tokens
// only on loopback.
func TestAddressItCameInAt(t *testing.T) {
	at := func(a *API, ip, secret string) reply {
		q := to(ip + ":7275")(ask{method: "GET", path: "/pools"})
		if secret != "" {
			q = q.as(secret)
		}
		var got reply
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			local := &net.TCPAddr{IP: net.ParseIP("192.0.2.9"), Port: 7275}
			a.TCP().ServeHTTP(w, r.WithContext(contextAt(r, local)))
		})
		got = q.to(t, h)
		return got
	}
	closed := newAPI(t, Config{Tokens: []Token{token("right", "")}})
	at(closed, "192.0.2.9", "right").is(200, nil)
	at(closed, "192.0.2.10", "right").refused(park.Forbidden)
	at(newAPI(t, Config{}), "192.0.2.9", "").refused(park.Forbidden, "without tokens")
}

// TestEveryRoute asks of every route what all have in common.
func TestEveryRoute(t *testing.T) {
	a := newAPI(t, Config{
		Tokens: []Token{token("other", ""), token("right", ""), token("acme", "acme")}, Limits: Limits{MaxBody: 1000, MaxResult: 2000, MaxBatch: 3000},
		Metrics: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}),
	})
	h := a.TCP()
	for _, rt := range a.routes {
		q := ask{method: rt.method, path: rt.at(), body: rt.sample()}
		t.Run(rt.method+" "+rt.path, func(t *testing.T) {
			if rt.content != "text/event-stream" {
				r := q.as("right").to(t, h)
				if r.code == 401 || r.code == 403 || r.code == 405 || r.code == 500 || strings.Contains(r.body, "route_not_found") {
					t.Errorf("the right token: %d %s", r.code, r.body)
				}
				if rt.operatorOnly {
					q.as("acme").to(t, h).refused(park.Forbidden, "acme")
				} else if r := q.as("acme").to(t, h); r.code == 401 || r.code == 403 {
					t.Errorf("a tenant's token: %d %s", r.code, r.body)
				}
			}
			q.queries(t, rt, h)
			if rt.body != nil {
				q.bodies(t, rt, h)
			}
		})
	}
	allowed := map[string]string{}
	for _, rt := range a.routes {
		allowed[rt.at()] += rt.method + " "
	}
	for path, offered := range allowed {
		for _, m := range methods() {
			if strings.Contains(offered, m) || m == http.MethodHead && strings.Contains(offered, http.MethodGet) {
				continue
			}
			r := ask{method: m, path: path}.as("right").to(t, h)
			if m == http.MethodHead {
				r.is(405, nil)
			} else {
				r.refused(park.MethodNotAllowed, m)
			}
			for o := range strings.FieldsSeq(offered) {
				if !strings.Contains(r.Get("Allow"), o) {
					t.Errorf("%s: Allow %q lacks %s", r.asked, r.Get("Allow"), o)
				}
			}
		}
	}
}

func (q ask) queries(t *testing.T, rt *route, h http.Handler) {
	q = q.as("right")
	at := q.path
	q.path = at + "?foo=1&bar=2"
	q.to(t, h).refused(park.InvalidRequest, `"foo"`, `"bar"`)
	q.path = at + "?%zz"
	q.to(t, h).refused(park.InvalidRequest, "query")
	for _, name := range rt.query {
		q.path = fmt.Sprintf("%s?%s=1&%s=1", at, name, name)
		q.to(t, h).refused(park.InvalidRequest, name+" is given 2 times")
		q.path = fmt.Sprintf("%s?%s=%%00", at, name)
		q.to(t, h).refused(park.InvalidRequest, name)
	}
}

func (q ask) bodies(t *testing.T, rt *route, h http.Handler) {
	q = q.as("right")
	for _, kind := range []string{"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonx", "application/json, text/plain"} {
		q.with("Content-Type", kind).to(t, h).refused(park.UnsupportedMediaType, "application/json")
	}
	if r := q.with("Content-Type", "application/JSON; charset=utf-8").to(t, h); r.code == 415 {
		t.Errorf("JSON with a charset: %s", r.body)
	}
	long := q
	long.body = `{"x":"` + strings.Repeat("x", int(rt.maxBody)) + `"}`
	long.to(t, h).refused(park.PayloadTooLarge, fmt.Sprint(rt.maxBody))
	// Of a body whose length is not told, no more than the limit is read.
	r := long.request()
	r.ContentLength = -1
	r.Body = io.NopCloser(strings.NewReader(long.body))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != 413 {
		t.Errorf("a long body in chunks: %d %s", w.Code, w.Body)
	}
	for _, wrong := range []string{"null", "[]", `"x"`, "1", "true"} {
		q.body = wrong
		q.to(t, h).refused(park.InvalidRequest, "the body must be an object")
	}
	for _, wrong := range []string{"{", "{}{}", "{} x", `{"a":}`, "\xef\xbb\xbf{}", "{\"a\":\"\n\"}"} {
		q.body = wrong
		q.to(t, h).refused(park.InvalidRequest, "not JSON")
	}
	q.body = "{\"a\":\"\xff\"}"
	q.to(t, h).refused(park.InvalidRequest, "UTF-8")
	q.body = `{"unheardOf":{"a":1},"unheardOf2":[]}`
	q.to(t, h).refused(park.InvalidRequest, "unheardOf is not a known field", "unheardOf2 is not a known field")
}

// TestCommands: over TCP a task's own command needs a token.
func TestCommands(t *testing.T) {
	const command = `{"command":["id"],"workDir":"/"}`
	one := ask{method: "POST", path: "/pools/remote/tasks", body: command}
	many := ask{method: "POST", path: "/pools/remote/tasks:batch", body: `{"tasks":[` + command + `,{},{"command":[]}]}`}
	var results struct{ Results []map[string]any }

	open := newAPI(t, Config{}).TCP()
	one.to(t, open).refused(park.Forbidden, "command")
	many.to(t, open).is(200, &results)
	if r := results.Results; r[0]["code"] != "forbidden" || !strings.Contains(fmt.Sprint(r[0]["detail"]), "tasks[0].command") ||
		r[1]["status"] != "queued" || r[2]["status"] != "queued" {
		t.Errorf("results %v", r)
	}
	for _, h := range []http.Handler{newAPI(t, Config{}).Socket(), newAPI(t, Config{Tokens: []Token{token("right", "")}}).TCP()} {
		one.as("right").to(t, h).is(202, nil)
		results.Results = nil
		many.as("right").to(t, h).is(200, &results)
		if results.Results[0]["status"] != "queued" {
			t.Errorf("results %v", results.Results)
		}
	}
}

// TestTokensAreNotLogged sends a token that is wrong.
func TestTokensAreNotLogged(t *testing.T) {
	var out bytes.Buffer
	h := newAPI(t, Config{Service: broken{err: io.ErrNoProgress}, Tokens: []Token{token("right-secret", "")}, Log: logTo(&out)}).TCP()
	wrong := ask{method: "POST", path: "/pools/p/tasks"}.as("wrong-secret").to(t, h).refused(park.Unauthorized)
	ask{method: "POST", path: "/pools/p/tasks"}.as("right-secret").to(t, h).refused(park.Internal)
	if strings.Contains(out.String()+wrong.body, "secret") {
		t.Errorf("log %s, answer %s", &out, wrong.body)
	}
}

func contextAt(r *http.Request, local net.Addr) context.Context {
	return context.WithValue(r.Context(), http.LocalAddrContextKey, local)
}

// Package api offers a [park.Service] over HTTP: JSON, problems after RFC 9457, long polls, server-sent events.
//
// One table of routes (routes.go) makes the handler, the OpenAPI document and the tests of who may do what, so
// that none of them can forget a route.
//
// The Go package is no API: it may change with any release.
package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path"
	"sync"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// Config is what an API is made from. Only Service is needed, or Closed.
type Config struct {
	Service park.Service
	// Tokens are needed over TCP once there is one. Without any, everything but a task's own command is open
	// over loopback, and nothing over another address.
	Tokens  []Token
	Hosts   []string // further names that a request may address the daemon by
	Version string
	Limits  Limits
	TCP     Crowd        // bounds what comes in over TCP
	Socket  Crowd        // and by the socket, so that one cannot use up the other
	Metrics http.Handler // of GET /metrics; nil for none
	// Ready says why the daemon should not be sent work just now; nil when it should. What is a [park.Error]
	// is told with its code.
	Ready func() error
	// Closed is the answer to every request but GET /livez and GET /readyz while there is nothing behind the API yet, and
	// the reason why it is not ready; nil once there is a Service.
	Closed *park.Error
	// Observe is told of each request that has been answered: its route as the OpenAPI document has it ("" for none), its
	// method, the status, and how long it took. lasting says that it waited, or was a stream. Nil for nobody.
	Observe func(route, method string, status int, took time.Duration, lasting bool)
	// Pools says of each pool why it takes no work just now, or nil; nil for nothing to say.
	Pools func() map[string]error
	// LastEvent returns the id of the newest event of the audit log, "" for an empty log. With it a stream of events that
	// begins now says after which event, so that one that breaks off at once can go on there too. Nil where none knows.
	LastEvent func(context.Context) (string, error)
	// Health says more for GET /health; nil for nothing.
	Health func() map[string]any
	// Owner reports whether the other end of a request's connection belongs to the user that the daemon runs as, or to
	// root. It is asked of requests over TCP where there are no tokens. Nil where that cannot be told: then whoever
	// reaches loopback counts as that user.
	Owner func(*http.Request) bool
	// Closing is closed when the daemon is about to go: whoever waits is then answered, and streams end.
	Closing <-chan struct{}
	// Heartbeat is how often a stream of events shows that it lives. Default 15s.
	Heartbeat time.Duration
	Log       *slog.Logger // default: none
}

// Token lets its bearer in.
type Token struct {
	Name   string
	Tenant string // the only tenant that the bearer sees; "" for all, and for what concerns whole pools
	Role   Role
	SHA256 [32]byte
}

// Role is what a token is for.
type Role string

// RoleMetrics opens GET /metrics and nothing else. No role opens all that the token's tenant sees.
const RoleMetrics Role = "metrics"

// API is the service over HTTP.
type API struct {
	cfg         Config
	routes      []*route
	fields      fields // of bodies
	hosts       map[string]bool
	open        map[string]bool // paths that anybody may get
	closing     context.Context
	feed        feed // of all streams of events
	tcp, socket *counters
	openapi     []byte
	buffers     sync.Pool
	// Headers of every answer, shared by all of them: net/http only reads them.
	nosniff, noStore []string
}

const defaultHeartbeat = 15 * time.Second

// New makes an API.
func New(c Config) (*API, error) {
	if c.Service == nil && c.Closed == nil {
		return nil, errors.New("an API needs a service")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Heartbeat == 0 {
		c.Heartbeat = defaultHeartbeat
	}
	if c.Closed != nil {
		c.Ready = func() error { return c.Closed }
	}
	if c.Ready == nil {
		c.Ready = func() error { return nil }
	}
	if c.Health == nil {
		c.Health = func() map[string]any { return nil }
	}
	c.Limits = c.Limits.orDefault()
	a := &API{
		cfg: c, routes: routes(c.Limits), fields: make(fields),
		hosts: make(map[string]bool), open: make(map[string]bool), closing: closing(c.Closing),
		tcp: newCounters(c.TCP), socket: newCounters(c.Socket),
		nosniff: []string{"nosniff"}, noStore: []string{"no-store"},
	}
	a.feed.api, a.feed.most = a, maxItems
	a.buffers.New = func() any { return new(bytes.Buffer) }
	for _, h := range c.Hosts {
		a.hosts[hostOf(h)] = true
	}
	a.fields.add(typeOf[mailboxObject]())
	for _, rt := range a.routes {
		if rt.body != nil {
			a.fields.add(rt.body)
		}
		if rt.open {
			a.open[rt.path] = true
		}
	}
	var err error
	if a.openapi, err = document(c.Version, a.routes); err != nil {
		return nil, fmt.Errorf("make the OpenAPI document: %w", err)
	}
	return a, nil
}

// closing returns a context that ends when done is closed.
func closing(done <-chan struct{}) context.Context {
	if done == nil {
		return context.Background()
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-done
		cancel()
	}()
	return ctx
}

// TCP returns the handler for callers that may be anybody on the network.
func (a *API) TCP() http.Handler { return a.handler(a.guardTCP, a.tcp) }

// Socket returns the handler for callers that may open the daemon's own socket: they are its operator.
func (a *API) Socket() http.Handler { return a.handler(a.guardSocket, a.socket) }

// handler returns the routes behind a guard. They are registered by path and not by method, so that a wrong
// method is told from a wrong path.
func (a *API) handler(g guard, n *counters) http.Handler {
	byPath := make(map[string]map[string]*route)
	for _, rt := range a.routes {
		if byPath[rt.path] == nil {
			byPath[rt.path] = make(map[string]*route)
		}
		byPath[rt.path][rt.method] = rt
	}
	mux := http.NewServeMux()
	for pattern, methods := range byPath {
		allowed := allow(methods)
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			a.enter(w, r, g, n, func(c *call) error { return c.dispatch(methods, allowed) })
		})
	}
	notFound := func(w http.ResponseWriter, r *http.Request) { a.enter(w, r, g, n, (*call).notFound) }
	mux.HandleFunc("/", notFound)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The mux would answer with a redirect, which clients of an API do not expect, and to OPTIONS * by itself.
		if p := r.URL.EscapedPath(); p != path.Clean(p) || p == "*" {
			notFound(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

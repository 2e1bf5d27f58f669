// Package api offers a [park.Service] over HTTP: JSON, problems after RFC 9457, long polls, server-sent events.
//
// One table of routes (routes.go) defines the handler, the OpenAPI document and the tests of permissions, so that none of
// them can omit a route.
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

// Config configures an API. Only Service is required, or Closed.
type Config struct {
	Service park.Service
	// Tokens are needed over TCP once there is one. Without any, everything but a task's own command is open
	// over loopback, and nothing over another address.
	Tokens  []Token
	Hosts   []string // additional names by which a request may address the daemon
	Version string
	Limits  Limits
	TCP     LoadLimits   // for requests over TCP
	Socket  LoadLimits   // for requests over the socket; separate, so that neither can exhaust the other
	Metrics http.Handler // of GET /metrics; nil for none
	// Ready returns why the daemon should get no work at present, or nil if it should. A [park.Error] is sent with its code.
	Ready func() error
	// Closed is the answer to every request but GET /livez and GET /readyz as long as there is no Service, and the reason
	// why the daemon is not ready. It is nil if there is a Service.
	Closed *park.Error
	// Observe is called for each answered request, with its route as in the OpenAPI document ("" for none), its method, the
	// status and the duration. lasting is set if the request waited or was a stream. It may be nil.
	Observe func(route, method string, status int, took time.Duration, lasting bool)
	// Pools returns for each pool why it takes no work at present, or nil if it does. Pools itself may be nil.
	Pools func() map[string]error
	// LastEvent returns the id of the newest event of the audit log, or "" for an empty log. With it, a new stream of events
	// names the event after which it begins, so that it can continue there even if it breaks off at once. It may be nil.
	LastEvent func(context.Context) (string, error)
	// Health returns additional fields for GET /health. It may be nil.
	Health func() map[string]any
	// Owner reports whether the other end of a request's connection belongs to the user that runs the daemon, or to root. It
	// is called for requests over TCP if there are no tokens. If it is nil, because the owner cannot be found out, every
	// caller on loopback counts as that user.
	Owner func(*http.Request) bool
	// Closing is closed when the daemon is about to stop: then waiting requests are answered, and streams end.
	Closing <-chan struct{}
	// Heartbeat is how often a stream of events sends a sign of life. Default 15s.
	Heartbeat time.Duration
	Log       *slog.Logger // default: none
}

// Token grants its bearer access.
type Token struct {
	Name   string
	Tenant string // the only tenant that the bearer sees; "" for all tenants and for whole pools
	Role   Role
	SHA256 [32]byte
}

// Role says what a token may be used for.
type Role string

// RoleMetrics allows only GET /metrics. A token without a role allows everything that its tenant sees.
const RoleMetrics Role = "metrics"

// API is the service over HTTP.
type API struct {
	cfg         Config
	routes      []*route
	fields      fields // of the types of bodies
	hosts       map[string]bool
	publicPaths map[string]bool // paths that may be read without authentication
	closing     context.Context
	feed        feed // for all streams of events
	tcp, socket *budgets
	openapi     []byte
	buffers     sync.Pool
	// Headers that all answers share: net/http only reads them.
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
		hosts: make(map[string]bool), publicPaths: make(map[string]bool), closing: closing(c.Closing),
		tcp: newBudgets(c.TCP), socket: newBudgets(c.Socket),
		nosniff: []string{"nosniff"}, noStore: []string{"no-store"},
	}
	a.feed.api, a.feed.limit = a, maxItems
	a.buffers.New = func() any { return new(bytes.Buffer) }
	for _, h := range c.Hosts {
		a.hosts[hostOf(h)] = true
	}
	a.fields.add(typeOf[mailboxObject]())
	for _, rt := range a.routes {
		if rt.body != nil {
			a.fields.add(rt.body)
		}
		if rt.public {
			a.publicPaths[rt.path] = true
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

// TCP returns the handler for callers on the network, who may be anyone.
func (a *API) TCP() http.Handler { return a.handler(a.guardTCP, a.tcp) }

// Socket returns the handler for callers that can open the daemon's own socket: they are its operators.
func (a *API) Socket() http.Handler { return a.handler(a.guardSocket, a.socket) }

// handler returns the routes behind a guard. They are registered by path and not by method, so that a wrong method and
// a wrong path get different answers.
func (a *API) handler(g guard, n *budgets) http.Handler {
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
			a.serve(w, r, g, n, func(c *call) error { return c.dispatch(methods, allowed) })
		})
	}
	notFound := func(w http.ResponseWriter, r *http.Request) { a.serve(w, r, g, n, (*call).notFound) }
	mux.HandleFunc("/", notFound)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// For these paths the mux would send a redirect, which clients of an API do not expect. It would answer OPTIONS * itself.
		if p := r.URL.EscapedPath(); p != path.Clean(p) || p == "*" {
			notFound(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

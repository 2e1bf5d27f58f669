// Package api offers a [park.Service] over HTTP: JSON, problems after RFC 9457, long polls, server-sent events.
//
// One table of routes (routes.go) makes the handler, the OpenAPI document and the tests of who may do what, so
// that none of them can forget a route.
package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// Config is what an API is made from. Only Service is needed.
type Config struct {
	Service park.Service
	// Tokens are needed over TCP once there is one; without any, everything but a task's own command is open.
	Tokens  []Token
	Hosts   []string // further names that a request may address the daemon by
	Version string
	Metrics http.Handler // of GET /metrics; nil for none
	// Ready says why the daemon should not be sent work just now; nil when it should.
	Ready func() error
	// Closing is closed when the daemon is about to go: whoever waits is then answered.
	Closing <-chan struct{}
	// Heartbeat is how often a stream of events shows that it lives. Default 15s.
	Heartbeat time.Duration
	Log       *slog.Logger // default: none
}

// Token lets its bearer in.
type Token struct {
	Name   string
	Tenant string // the only tenant that the bearer sees; "" for all, and for what concerns whole pools
	SHA256 [32]byte
}

// API is the service over HTTP.
type API struct {
	cfg     Config
	hosts   map[string]bool
	closing context.Context
	openapi []byte
	buffers sync.Pool
}

const defaultHeartbeat = 15 * time.Second

// New makes an API.
func New(c Config) (*API, error) {
	if c.Service == nil {
		return nil, errors.New("an API needs a service")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Heartbeat == 0 {
		c.Heartbeat = defaultHeartbeat
	}
	if c.Ready == nil {
		c.Ready = func() error { return nil }
	}
	a := &API{cfg: c, hosts: make(map[string]bool), closing: context.Background()}
	a.buffers.New = func() any { return new(bytes.Buffer) }
	for _, h := range c.Hosts {
		a.hosts[hostOf(h)] = true
	}
	if c.Closing != nil {
		ctx, cancel := context.WithCancel(context.Background())
		a.closing = ctx
		go func() {
			<-c.Closing
			cancel()
		}()
	}
	var err error
	if a.openapi, err = document(c.Version); err != nil {
		return nil, fmt.Errorf("make the OpenAPI document: %w", err)
	}
	return a, nil
}

// TCP returns the handler for callers that may be anybody on the network.
func (a *API) TCP() http.Handler { return a.handler(a.guardTCP) }

// Socket returns the handler for callers that may open the daemon's own socket: they are its operator.
func (a *API) Socket() http.Handler { return a.handler(a.guardSocket) }

// Limits of a connection. There is none on a whole request, for it may wait or follow; what is read and
// written has limits of its own.
const (
	headersWithin = 5 * time.Second
	idleWithin    = 2 * time.Minute
	bodyWithin    = 30 * time.Second
	writeWithin   = 30 * time.Second
	maxHeaders    = 16 << 10
)

// Server returns a server for one of the handlers.
func Server(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: headersWithin, IdleTimeout: idleWithin, MaxHeaderBytes: maxHeaders,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// call is one request on its way.
type call struct {
	api *API
	w   http.ResponseWriter
	r   *http.Request
	who caller
	svc park.Service // as the caller may see it
}

// A guard says who calls, or why the call is refused.
type guard func(*http.Request) (caller, error)

// handler returns the routes behind a guard. They are registered by path and not by method, so that a wrong
// method is told from a wrong path.
func (a *API) handler(g guard) http.Handler {
	byPath := make(map[string]map[string]route)
	for _, rt := range routes() {
		if byPath[rt.path] == nil {
			byPath[rt.path] = make(map[string]route)
		}
		byPath[rt.path][rt.method] = rt
	}
	mux := http.NewServeMux()
	for pattern, methods := range byPath {
		allowed := allow(methods)
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			a.enter(w, r, g, func(c *call) error { return c.dispatch(methods, allowed) })
		})
	}
	nowhere := func(w http.ResponseWriter, r *http.Request) { a.enter(w, r, g, (*call).nowhere) }
	mux.HandleFunc("/", nowhere)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The mux would answer with a redirect, which clients of an API do not expect.
		if p := r.URL.EscapedPath(); p != path.Clean(p) {
			nowhere(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// enter lets a request in, or says why not.
func (a *API) enter(w http.ResponseWriter, r *http.Request, g guard, do func(*call) error) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	c := &call{api: a, w: w, r: r, svc: a.cfg.Service}
	var err error
	if c.who, err = g(r); err == nil {
		if c.who.tenant != "" {
			c.svc = tenantView{a.cfg.Service, c.who.tenant}
		}
		err = do(c)
	}
	if err != nil {
		c.fail(err)
	}
}

func (c *call) nowhere() error {
	return park.Errorf(park.RouteNotFound, "there is nothing at %s; GET /openapi.json lists what there is", c.r.URL.Path)
}

// dispatch finds the method's route and checks what all routes ask for.
func (c *call) dispatch(methods map[string]route, allowed string) error {
	method := c.r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	rt, ok := methods[method]
	if !ok {
		c.w.Header().Set("Allow", allowed)
		return park.Errorf(park.MethodNotAllowed, "%s is not offered at %s, only %s", c.r.Method, c.r.URL.Path, allowed)
	}
	if rt.operator && c.who.tenant != "" {
		return park.Errorf(park.Forbidden, "this concerns a whole pool, and the token is bound to tenant %s", c.who.tenant)
	}
	if err := c.checkQuery(rt); err != nil {
		return err
	}
	return rt.handle(c)
}

func allow(methods map[string]route) string {
	names := slices.Sorted(maps.Keys(methods))
	if _, ok := methods[http.MethodGet]; ok {
		names = append(names, http.MethodHead)
	}
	return strings.Join(names, ", ")
}

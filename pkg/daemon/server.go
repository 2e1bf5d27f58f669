package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parkd-dev/parkd/pkg/api"
	"github.com/parkd-dev/parkd/pkg/config"
	"github.com/parkd-dev/parkd/pkg/park"
)

// server serves the API on the daemon's listeners. It answers from the first connection on. Until the daemon's parts are
// open it serves an API without a service, which answers that the daemon is starting.
type server struct {
	listeners *listeners
	handlers  map[string]*handler // by way: tcp or unix
	servers   map[net.Listener]*http.Server
	serving   sync.WaitGroup
	failed    chan error // a listener that failed
	draining  atomic.Bool
	stopped   atomic.Bool
	limited   map[string]*limitListener
	closing   chan struct{} // closed at the end, so that waiting requests return

	limits  connLimits
	metrics *httpMetrics
	base    api.Config // the part that does not depend on the opened parts
}

// handler is an [http.Handler] that can be replaced while connections are open.
type handler struct{ current atomic.Pointer[http.Handler] }

// ServeHTTP implements [http.Handler].
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	(*h.current.Load()).ServeHTTP(w, r)
}

var errDraining = errors.New("the daemon is stopping")

// errOpening is the answer while the parts of the daemon are not open yet.
var errOpening = &park.Error{
	Code: park.StorageUnavailable, Detail: "not ready: the daemon is starting and has not loaded its pools yet; nothing was accepted", RetryAfter: time.Second,
}

func newServer(c *config.Config, o Options, l *listeners) (*server, error) {
	s := &server{
		listeners: l, servers: make(map[net.Listener]*http.Server), failed: make(chan error, 2), closing: make(chan struct{}),
		limited: make(map[string]*limitListener), handlers: make(map[string]*handler), limits: connLimitsFor(descriptors()),
	}
	s.metrics = newHTTPMetrics(o.Version, s.limited)
	s.base = api.Config{
		Tokens: tokens(c), Hosts: hosts(c), Version: o.Version, Log: o.Log, Closing: s.closing,
		TCP: heldLimits(s.limits.tcp), Socket: heldLimits(s.limits.unix), Owner: ownerCheck(c, l, o.Log), Observe: s.metrics.observe,
		Limits: api.Limits{MaxResult: maxResultBody(c)},
	}
	if l.tcp != nil {
		s.open("tcp", l.tcp, s.limits.tcp, o.Log)
	}
	if l.unix != nil {
		s.open("unix", l.unix, s.limits.unix, o.Log)
	}
	opening := s.base
	opening.Closed = errOpening
	return s, s.setAPI(opening)
}

func (s *server) open(way string, l net.Listener, limit int, log *slog.Logger) {
	ll, h := newLimitListener(l, limit), &handler{}
	hs := api.Server(h, log)
	hs.ConnState = connStateChanged
	s.limited[way], s.servers[ll], s.handlers[way] = ll, hs, h
}

// setAPI has a new API answer all further requests, also on open connections.
func (s *server) setAPI(c api.Config) error {
	a, err := api.New(c)
	if err != nil {
		return fmt.Errorf("make the API: %w", err)
	}
	s.metrics.held = a.InFlight
	for way, h := range s.handlers {
		next := a.TCP()
		if way == "unix" {
			next = a.Socket()
		}
		h.current.Store(&next)
	}
	return nil
}

// attach connects the API with the opened parts of the daemon.
func (s *server) attach(p *parts) error {
	s.metrics.poolErrors = p.engine.PoolErrors
	c := s.base
	c.Service, c.Pools, c.LastEvent = p.engine, p.engine.PoolErrors, p.engine.LastEvent
	c.Metrics = &exposition{
		families: slices.Concat(p.meter.families(), s.metrics.families()),
		gauges:   []func(gauge){newStateMetrics(p.engine, p.stores).read, s.metrics.gauges},
	}
	c.Ready = func() error {
		if s.draining.Load() {
			return errDraining
		}
		return p.engine.Ready()
	}
	return s.setAPI(c)
}

// ownerCheck returns a function that reports whether a request over TCP comes from the daemon's user. It is nil if tokens
// identify the caller, and if the system cannot tell.
func ownerCheck(c *config.Config, l *listeners, log *slog.Logger) func(*http.Request) bool {
	if l.tcp == nil || len(c.Tokens) > 0 {
		return nil
	}
	if p := newOwnerChecker(log); p != nil {
		return p.isOwner
	}
	return nil
}

// hosts are the valid host names of requests, in addition to those of loopback.
func hosts(c *config.Config) []string {
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil || host == "" {
		return c.AllowedHosts
	}
	return append([]string{host}, c.AllowedHosts...)
}

func tokens(c *config.Config) []api.Token {
	out := make([]api.Token, len(c.Tokens))
	for i, t := range c.Tokens {
		out[i] = api.Token{Name: t.Name, Tenant: t.Tenant, Role: api.Role(t.Role), SHA256: t.SHA256}
	}
	return out
}

// serve starts to answer requests. They end with ctx at the latest.
func (s *server) serve(ctx context.Context) {
	for ln, hs := range s.servers {
		hs.BaseContext = func(net.Listener) context.Context { return ctx }
		hs.ConnContext = connContext
		s.serving.Go(func() {
			if err := hs.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
				s.failed <- fmt.Errorf("serve on %s: %w", ln.Addr(), err)
			}
		})
	}
}

// shutdownTimeout bounds the wait for requests in progress.
const shutdownTimeout = 5 * time.Second

// shutdown waits for requests in progress, and closes. It may be called again.
func (s *server) shutdown(ctx context.Context) {
	if !s.stopped.CompareAndSwap(false, true) {
		return
	}
	close(s.closing)
	ctx, cancel := context.WithTimeout(ctx, shutdownTimeout)
	defer cancel()
	var all sync.WaitGroup
	for _, hs := range s.servers {
		all.Go(func() {
			if hs.Shutdown(ctx) != nil {
				_ = hs.Close()
			}
		})
	}
	all.Wait()
	s.serving.Wait()
	s.listeners.close()
}

// maxResultBody returns the maximum body size of a request that ends a lease. It is larger than the results that pools keep,
// so that a result that is too large fails the task and not the request.
func maxResultBody(c *config.Config) int64 {
	limit := int64(minResultBody)
	for _, p := range c.Pools {
		limit = max(limit, 2*p.MaxResultBytes)
	}
	return limit
}

const minResultBody = 4 << 20

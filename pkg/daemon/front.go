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

// front is what the outside meets: the API on its listeners. It answers from the first connection on. Until the daemon's
// parts are open that is an API without a service, which says so.
type front struct {
	listeners *listeners
	handlers  map[string]*handler // by way in
	servers   map[net.Listener]*http.Server
	serving   sync.WaitGroup
	broken    chan error // a listener that failed
	draining  atomic.Bool
	over      atomic.Bool
	doors     map[string]*door
	closing   chan struct{} // closed once nothing more will happen: nobody need wait for it

	room room
	in   *entrance
	api  api.Config // what does not depend on the parts
}

// handler is an [http.Handler] that another one may replace while connections are open.
type handler struct{ now atomic.Pointer[http.Handler] }

// ServeHTTP implements [http.Handler].
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { (*h.now.Load()).ServeHTTP(w, r) }

var errDraining = errors.New("the daemon is stopping")

// errOpening is the answer of a daemon whose parts are not open yet.
var errOpening = &park.Error{
	Code: park.StorageUnavailable, Detail: "not ready: the daemon is starting and has not loaded its pools yet; nothing was accepted", RetryAfter: time.Second,
}

func newFront(c *config.Config, o Options, l *listeners) (*front, error) {
	f := &front{
		listeners: l, servers: make(map[net.Listener]*http.Server), broken: make(chan error, 2), closing: make(chan struct{}),
		doors: make(map[string]*door), handlers: make(map[string]*handler), room: shareOut(descriptors()),
	}
	f.in = newEntrance(o.Version, f.doors)
	f.api = api.Config{
		Tokens: tokens(c), Hosts: hosts(c), Version: o.Version, Log: o.Log, Closing: f.closing,
		TCP: crowd(f.room.tcp), Socket: crowd(f.room.unix), Owner: owner(c, l, o.Log), Observe: f.in.observe,
		Limits: api.Limits{MaxResult: maxResultBody(c)},
	}
	if l.tcp != nil {
		f.open("tcp", l.tcp, f.room.tcp, o.Log)
	}
	if l.unix != nil {
		f.open("unix", l.unix, f.room.unix, o.Log)
	}
	closed := f.api
	closed.Closed = errOpening
	return f, f.answer(closed)
}

func (f *front) open(way string, l net.Listener, most int, log *slog.Logger) {
	d, h := newDoor(l, most), &handler{}
	s := api.Server(h, log)
	s.ConnState = changed
	f.doors[way], f.servers[d], f.handlers[way] = d, s, h
}

// answer has an API answer from now on, also on connections that are open.
func (f *front) answer(c api.Config) error {
	a, err := api.New(c)
	if err != nil {
		return fmt.Errorf("make the API: %w", err)
	}
	f.in.held = a.Held
	for way, h := range f.handlers {
		next := a.TCP()
		if way == "unix" {
			next = a.Socket()
		}
		h.now.Store(&next)
	}
	return nil
}

// offer puts the parts of the daemon behind the API.
func (f *front) offer(p *parts) error {
	f.in.troubles = p.engine.Troubles
	c := f.api
	c.Service, c.Pools, c.LastEvent = p.engine, p.engine.Troubles, p.engine.LastEvent
	c.Metrics = &exposition{
		families: slices.Concat(p.meter.families(), f.in.families()),
		gauges:   []func(gauge){newGauges(p.engine, p.stores).read, f.in.gauges},
	}
	c.Ready = func() error {
		if f.draining.Load() {
			return errDraining
		}
		return p.engine.Ready()
	}
	return f.answer(c)
}

// owner returns what tells whether a request over TCP comes from the daemon's user; nil where tokens tell who asks, and
// where nothing does.
func owner(c *config.Config, l *listeners, log *slog.Logger) func(*http.Request) bool {
	if l.tcp == nil || len(c.Tokens) > 0 {
		return nil
	}
	if p := newPeers(log); p != nil {
		return p.owner
	}
	return nil
}

// hosts are the names beside those of loopback by which the daemon may be addressed.
func hosts(c *config.Config) []string {
	own, _, err := net.SplitHostPort(c.Listen)
	if err != nil || own == "" {
		return c.AllowedHosts
	}
	return append([]string{own}, c.AllowedHosts...)
}

func tokens(c *config.Config) []api.Token {
	out := make([]api.Token, len(c.Tokens))
	for i, t := range c.Tokens {
		out[i] = api.Token{Name: t.Name, Tenant: t.Tenant, Role: api.Role(t.Role), SHA256: t.SHA256}
	}
	return out
}

// serve begins to answer. Requests end with ctx at the latest.
func (f *front) serve(ctx context.Context) {
	for ln, s := range f.servers {
		s.BaseContext = func(net.Listener) context.Context { return ctx }
		s.ConnContext = connContext
		f.serving.Go(func() {
			if err := s.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
				f.broken <- fmt.Errorf("serve on %s: %w", ln.Addr(), err)
			}
		})
	}
}

// shutdownWithin bounds the wait for answers that are under way.
const shutdownWithin = 5 * time.Second

// shutdown lets answers that are under way be finished, and closes. It may be called again.
func (f *front) shutdown(ctx context.Context) {
	if !f.over.CompareAndSwap(false, true) {
		return
	}
	close(f.closing)
	ctx, cancel := context.WithTimeout(ctx, shutdownWithin)
	defer cancel()
	var all sync.WaitGroup
	for _, s := range f.servers {
		all.Go(func() {
			if s.Shutdown(ctx) != nil {
				_ = s.Close()
			}
		})
	}
	all.Wait()
	f.serving.Wait()
	f.listeners.close()
}

// maxResultBody returns how large the body may be that ends a lease: with a result a little beyond what pools keep, so that
// it is the task that fails of it, and not the call.
func maxResultBody(c *config.Config) int64 {
	most := int64(leastResultBody)
	for _, p := range c.Pools {
		most = max(most, 2*p.MaxResultBytes)
	}
	return most
}

const leastResultBody = 4 << 20

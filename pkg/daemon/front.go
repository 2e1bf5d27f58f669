package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/parkd-dev/parkd/pkg/api"
	"github.com/parkd-dev/parkd/pkg/config"
	"github.com/parkd-dev/parkd/pkg/engine"
)

// front is what the outside meets: the API on its listeners.
type front struct {
	listeners *listeners
	servers   map[net.Listener]*http.Server
	serving   sync.WaitGroup
	broken    chan error // a listener that failed
	draining  atomic.Bool
	doors     map[string]*door
	closing   chan struct{} // closed once nothing more will happen: nobody need wait for it
}

var errDraining = errors.New("the daemon is stopping")

func newFront(c *config.Config, o Options, eng *engine.Engine, m *meter, l *listeners) (*front, error) {
	f := &front{
		listeners: l, servers: make(map[net.Listener]*http.Server), broken: make(chan error, 2), closing: make(chan struct{}),
		doors: make(map[string]*door),
	}
	share := shareOut(descriptors())
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	registry.MustRegister(m.collectors()...)
	registry.MustRegister(gauges{eng})
	in := newEntrance(o.Version, f.doors, eng.Troubles)
	registry.MustRegister(in.collectors()...)
	a, err := api.New(api.Config{
		Service: eng, Tokens: tokens(c), Hosts: hosts(c), Version: o.Version, Log: o.Log, Closing: f.closing,
		TCP: crowd(share.tcp), Socket: crowd(share.unix),
		Owner:   owner(c, l, o.Log),
		Limits:  api.Limits{MaxResult: maxResultBody(c)},
		Metrics: promhttp.HandlerFor(registry, promhttp.HandlerOpts{}),
		Pools:   eng.Troubles, Observe: in.observe,
		Ready: func() error {
			if f.draining.Load() {
				return errDraining
			}
			return eng.Ready()
		},
	})
	if err != nil {
		return nil, fmt.Errorf("make the API: %w", err)
	}
	if l.tcp != nil {
		f.open("tcp", l.tcp, share.tcp, api.Server(a.TCP(), o.Log))
	}
	if l.unix != nil {
		f.open("unix", l.unix, share.unix, api.Server(a.Socket(), o.Log))
	}
	return f, nil
}

func (f *front) open(way string, l net.Listener, most int, s *http.Server) {
	d := newDoor(l, most)
	s.ConnState = changed
	f.doors[way], f.servers[d] = d, s
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

// shutdown lets answers that are under way be finished, and closes.
func (f *front) shutdown(ctx context.Context) {
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

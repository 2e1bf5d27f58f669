package client_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/api"
	"github.com/parkd-dev/parkd/pkg/client"
	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/internal/parktest"
	"github.com/parkd-dev/parkd/pkg/loadtest/transport"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/memory"
)

// TestService is the suite that the engine passes in process, here through client, HTTP, API and engine.
func TestService(t *testing.T) {
	parktest.Run(t, func(t *testing.T) park.Service { return service(t) })
}

// TestConn runs the same suite with the submissions over a separate connection.
func TestConn(t *testing.T) {
	parktest.Run(t, func(t *testing.T) park.Service {
		svc := service(t)
		return &overConn{Client: svc, conn: svc.WithTransport(transport.NewConn(t.Context()))}
	})
}

type overConn struct {
	*client.Client
	mu   sync.Mutex
	conn *client.Client
}

func (o *overConn) Submit(ctx context.Context, pool string, tasks []park.Submission) ([]park.SubmitResult, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.conn.Submit(ctx, pool, tasks)
}

func service(t *testing.T) *client.Client {
	c := engine.Config{Stores: map[park.Backend]store.Store{park.InMemory: memory.New()}}
	for _, spec := range parktest.Pools() {
		p := engine.Pool{PoolSpec: spec}
		if !spec.Runtime.Leased() {
			p.Executor = parktest.Executor()
		}
		c.Pools = append(c.Pools, p)
	}
	e, err := engine.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	closing := make(chan struct{})
	a, err := api.New(api.Config{Service: e, Closing: closing})
	if err != nil {
		t.Fatal(err)
	}
	// As over the daemon's socket, where the caller is trusted with commands.
	s := httptest.NewServer(a.Socket())
	t.Cleanup(func() {
		close(closing)
		s.Close()
		over, cancel := context.WithCancel(context.Background())
		cancel()
		if err := e.Close(over); err != nil {
			t.Error(err)
		}
	})
	svc, err := client.New(client.Config{URL: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(svc.Close)
	return svc
}

// TestOnePlaceOnly checks that a client of a socket uses no other address, even if a daemon answers there, and finds
// the daemon again once it is back at its socket.
func TestOnePlaceOnly(t *testing.T) {
	if _, err := client.New(client.Config{URL: "http://127.0.0.1:7275", Socket: "/s"}); err == nil {
		t.Error("two places for one daemon are taken")
	}
	dir, err := os.MkdirTemp("", "parkd") //nolint:usetesting // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "s")
	svc, err := client.New(client.Config{Socket: socket})
	if err != nil {
		t.Fatal(err)
	}
	away := func() {
		t.Helper()
		if _, err := svc.Health(t.Context()); !errors.Is(err, client.ErrUnreachable) {
			t.Errorf("nobody there: %v", err)
		}
	}
	away()
	for range 2 {
		ln, err := net.Listen("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		s := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"at":"socket"}`)
		})}
		go func() { _ = s.Serve(ln) }()
		if h, err := svc.Health(t.Context()); err != nil || h["at"] != "socket" {
			t.Errorf("answered by %v: %v", h, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		away()
	}
}

package client_test

import (
	"context"
	"net/http/httptest"
	"testing"

	"github.com/parkd-dev/parkd/pkg/api"
	"github.com/parkd-dev/parkd/pkg/client"
	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/park/parktest"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/memory"
)

// TestService is the suite that the engine passes in process, here through client, HTTP, API and engine.
func TestService(t *testing.T) {
	parktest.Run(t, func(t *testing.T) park.Service {
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
	})
}

package daemon

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/config"
	"github.com/parkd-dev/parkd/pkg/park"
)

// memoryConfig returns a configuration with one pool of simulated work and all data in memory.
func memoryConfig(listen, socket string) *config.Config {
	return &config.Config{
		Listen: listen, Socket: socket, Audit: park.InMemory, NodeTTL: 10 * time.Second,
		Pools: []config.Pool{{
			Name: "sim", Kind: park.Mixed, MaxUnits: 4, MaxQueueDepth: 100, Queue: park.InMemory,
			Mailbox: config.Mailbox{Storage: park.InMemory}, Runtime: park.Native, Executor: config.Executor{Type: config.ExecutorSimulate},
		}},
	}
}

// runDaemon runs a daemon with one pool of simulated work until the end of the test.
func runDaemon(t *testing.T, c *config.Config) Addresses {
	t.Helper()
	if c.Listen == "" {
		c.Listen = "127.0.0.1:0"
	}
	if c.Socket == "" {
		c.Socket = filepath.Join(t.TempDir(), "s")
	}
	c.Audit, c.NodeTTL = park.InMemory, 10*time.Second
	if len(c.Pools) == 0 {
		c.Pools = memoryConfig("", "").Pools
	}
	ctx, stop := context.WithCancel(context.Background())
	ready, ended := make(chan Addresses, 1), make(chan error, 1)
	go func() { ended <- Run(ctx, c, Options{Ready: func(l Addresses) { ready <- l }}) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case l := <-ready:
		return l
	case err := <-ended:
		ended <- err
		t.Fatal(err)
	}
	return Addresses{}
}

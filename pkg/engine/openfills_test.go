package engine

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/memory"
	"github.com/parkd-dev/parkd/pkg/suspend"
)

// ownWorld is the real one, but for its ids.
type ownWorld struct{ realWorld }

func (ownWorld) ID() string { return "its own" }

func (ownWorld) Wait(d time.Duration, ready func() bool) {
	for began := time.Now(); !ready() && (d < 0 || time.Since(began) < d); {
		time.Sleep(time.Millisecond)
	}
}

// countingMeter is another meter than none.
type countingMeter struct{ noMeter }

// TestOpenFillsIn what its configuration leaves out, and nothing else.
func TestOpenFillsIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := func(edit func(c *Config)) *Engine {
			t.Helper()
			c := Config{
				Pools: []Pool{{
					PoolSpec: park.PoolSpec{ID: "cpu", MaxUnits: 1, QueueBackend: park.InMemory, MailboxBackend: park.InMemory},
					Executor: saying(func() park.Outcome { return park.Outcome{Status: park.Completed} }),
				}},
				Stores: map[park.Backend]store.Store{park.InMemory: memory.New(), park.File: memory.New()},
			}
			edit(&c)
			e, err := Open(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			if err := e.Close(t.Context()); err != nil {
				t.Error(err)
			}
			return e
		}
		e := begin(func(*Config) {})
		c := &e.cfg
		if e.Node() == "" || c.Node != e.node || e.log == nil || e.meter != (noMeter{}) || e.simulated {
			t.Errorf("node %q, log %v, meter %v, simulated %t", e.node, e.log, e.meter, e.simulated)
		}
		if _, real := e.world.(realWorld); !real || c.NodeTTL != 10*time.Second || c.NodeGrace != 7*time.Second || c.Patience != 10*time.Second || c.Audit != park.InMemory {
			t.Errorf("filled in: %+v", c)
		}
		log, world := slog.New(slog.DiscardHandler), ownWorld{realWorld{time.Now(), suspend.New()}}
		e = begin(func(c *Config) {
			c.World, c.Log, c.Meter, c.Audit = world, log, countingMeter{}, park.File
			c.NodeTTL, c.NodeGrace, c.Patience = 1, 2, 3
		})
		c = &e.cfg
		if e.Node() != "its own" || e.log != log || e.meter != (countingMeter{}) || e.world != World(world) || !e.simulated {
			t.Errorf("node %q, log %v, meter %v, simulated %t", e.node, e.log, e.meter, e.simulated)
		}
		if c.NodeTTL != 1 || c.NodeGrace != 2 || c.Patience != 3 || c.Audit != park.File || e.audit != c.Stores[park.File] {
			t.Errorf("changed: %+v", c)
		}
		if e := begin(func(c *Config) { c.Node = "given" }); e.Node() != "given" {
			t.Errorf("its name is %q", e.Node())
		}
	})
}

// unloadable is a store that no pool can be loaded from.
type unloadable struct{ store.Store }

func (unloadable) Load(context.Context, string) (store.Snapshot, error) {
	return store.Snapshot{}, errAsked
}

// TestOpenNeedsItsStores: no engine works without what its configuration names.
func TestOpenNeedsItsStores(t *testing.T) {
	type plain struct{ store.Store }
	for name, edit := range map[string]func(c *Config){
		"no log":        func(c *Config) { c.Audit = park.File },
		"none to share": func(c *Config) { c.Shared = []park.Backend{park.File} },
		"not shareable": func(c *Config) {
			c.Stores[park.InMemory], c.Shared = plain{c.Stores[park.InMemory]}, []park.Backend{park.InMemory}
		},
		"no queue":     func(c *Config) { c.Pools[0].QueueBackend, c.Audit = park.File, park.InMemory },
		"not readable": func(c *Config) { c.Stores[park.InMemory] = unloadable{c.Stores[park.InMemory]} },
		"no executor":  func(c *Config) { c.Pools[0].Executor = nil },
	} {
		synctest.Test(t, func(t *testing.T) {
			c := Config{
				Pools: []Pool{{
					PoolSpec: park.PoolSpec{ID: "cpu", MaxUnits: 1, QueueBackend: park.InMemory, MailboxBackend: park.InMemory},
					Executor: saying(func() park.Outcome { return park.Outcome{Status: park.Completed} }),
				}},
				Stores: map[park.Backend]store.Store{park.InMemory: memory.New()},
			}
			edit(&c)
			e, err := Open(t.Context(), c)
			if err == nil {
				t.Errorf("%s: opened", name)
				_ = e.Close(context.Background())
			}
		})
	}
}

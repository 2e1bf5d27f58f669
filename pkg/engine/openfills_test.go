package engine

import (
	"context"
	"log/slog"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/env"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/memory"
)

// ownMachine is the real one, except for its ids.
type ownMachine struct{ env.Machine }

func (ownMachine) ID() string { return "its own" }

// ownSimulator is one that lets real time pass.
type ownSimulator struct{ ownMachine }

func (ownSimulator) Wait(d time.Duration, ready func() bool) {
	for began := time.Now(); !ready() && (d < 0 || time.Since(began) < d); {
		time.Sleep(time.Millisecond)
	}
}

// otherMeter is a meter that differs from the default.
type otherMeter struct{ noMeter }

// TestOpenFillsIn what its configuration leaves out, and nothing else.
func TestOpenFillsIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := func(edit func(c *Config)) *Engine {
			t.Helper()
			c := Config{
				Pools: []Pool{{
					PoolSpec: park.PoolSpec{ID: "cpu", MaxUnits: 1, QueueBackend: park.InMemory, MailboxBackend: park.InMemory},
					Executor: outcomeFunc(func() park.Outcome { return park.Outcome{Status: park.Completed} }),
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
		if e.Node() == "" || c.Node != e.node || e.log == nil || e.meter != (noMeter{}) || e.env.Sim != nil {
			t.Errorf("node %q, log %v, meter %v, simulator %v", e.node, e.log, e.meter, e.env.Sim)
		}
		if reflect.TypeOf(e.env.Machine) != reflect.TypeOf(env.Real()) || c.NodeTTL != 10*time.Second || c.NodeGrace != 7*time.Second || c.Patience != 10*time.Second || c.Audit != park.InMemory {
			t.Errorf("filled in: %+v", c)
		}
		log, machine := slog.New(slog.DiscardHandler), ownSimulator{ownMachine{env.Real()}}
		e = begin(func(c *Config) {
			c.Machine, c.Log, c.Meter, c.Audit = machine, log, otherMeter{}, park.File
			c.NodeTTL, c.NodeGrace, c.Patience = 1, 2, 3
		})
		c = &e.cfg
		if e.Node() != "its own" || e.log != log || e.meter != (otherMeter{}) || e.env.Machine != env.Machine(machine) || e.env.Sim != env.Simulator(machine) {
			t.Errorf("node %q, log %v, meter %v, simulator %v", e.node, e.log, e.meter, e.env.Sim)
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
					Executor: outcomeFunc(func() park.Outcome { return park.Outcome{Status: park.Completed} }),
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

package daemon

import (
	"context"
	"sync"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store/postgres"
)

// gauges are the pools and stores as they stand, read when they are asked for.
type gauges struct {
	engine    *engine.Engine
	databases map[park.Backend]*database
}

func newGauges(e *engine.Engine, s stores) *gauges {
	g := &gauges{engine: e, databases: make(map[park.Backend]*database)}
	for b, one := range s {
		if db, ok := one.(*postgres.Store); ok {
			g.databases[b] = &database{store: db}
		}
	}
	return g
}

// read sets the gauges of all pools and stores.
func (g *gauges) read(set gauge) {
	pools, err := g.engine.Pools(context.Background())
	if err != nil {
		return
	}
	for i := range pools {
		p := &pools[i]
		set(maxUnits, float64(p.MaxUnits), p.PoolID)
		set(usedUnits, float64(p.UsedUnits), p.PoolID)
		set(runningTasks, float64(p.Running), p.PoolID)
		set(parkedTasks, float64(p.QueueDepth), p.PoolID)
		set(maxQueueDepth, float64(p.MaxQueueDepth), p.PoolID)
		set(poolHalted, flag(p.Halted != ""), p.PoolID)
	}
	g.measures(set)
	for b, db := range g.databases {
		db.collect(set, string(b))
	}
}

func (g *gauges) measures(set gauge) {
	m := g.engine.Measures()
	for _, p := range m.Pools {
		set(runningHere, float64(p.RunningHere), p.PoolID)
		set(oldestParked, p.OldestAge.Seconds(), p.PoolID)
		set(deferring, flag(p.Deferred), p.PoolID)
	}
	for _, s := range m.Stores {
		set(storeUp, flag(s.Up), string(s.Backend))
		if s.Shared {
			set(beatAge, s.BeatAge.Seconds(), string(s.Backend))
			set(livingNodes, float64(s.Nodes), string(s.Backend))
		}
	}
	for _, o := range m.Owed {
		set(outboxParcels, float64(o.Parcels), o.Dest, string(o.From))
		set(outboxSeconds, o.Age.Seconds(), o.Dest, string(o.From))
	}
}

const (
	// horizonRest is the least time between two looks at what a database cannot remove, and horizonWithin bounds each.
	horizonRest   = 15 * time.Second
	horizonWithin = time.Second
)

// database is what is measured of one. No scrape waits for it: each shows what the last look found, and begins the next.
type database struct {
	store *postgres.Store
	mu    sync.Mutex
	busy  bool
	asked time.Time
	known bool // horizon is of the last look
	last  postgres.Horizon
}

func (d *database) collect(set gauge, name string) {
	c := d.store.Connections()
	set(storeConnections, float64(c.InUse), "in_use", name)
	set(storeConnections, float64(c.Open-c.InUse), "idle", name)
	set(storeConnsMax, float64(c.Max), name)
	if h, ok := d.horizon(); ok {
		set(snapshotSeconds, h.Age.Seconds(), name)
		set(snapshotBehind, float64(h.Transactions), name)
	}
}

// horizon returns what the last look found, if it found anything.
func (d *database) horizon() (postgres.Horizon, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.busy && time.Since(d.asked) >= horizonRest {
		d.busy, d.asked = true, time.Now()
		go d.look()
	}
	return d.last, d.known
}

func (d *database) look() {
	ctx, cancel := context.WithTimeout(context.Background(), horizonWithin)
	defer cancel()
	h, err := d.store.Horizon(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.busy, d.known, d.last = false, err == nil, h
}

package daemon

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

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

// Describe implements [prometheus.Collector].
func (g *gauges) Describe(to chan<- *prometheus.Desc) {
	for _, m := range []metric{
		maxUnits, usedUnits, runningTasks, parkedTasks, maxQueueDepth, poolHalted, runningHere, oldestParked, deferring, storeUp, beatAge,
		livingNodes, storeConnections, storeConnsMax, snapshotSeconds, snapshotBehind, outboxParcels, outboxSeconds,
	} {
		to <- m.desc()
	}
}

// Collect implements [prometheus.Collector].
func (g *gauges) Collect(to chan<- prometheus.Metric) {
	pools, err := g.engine.Pools(context.Background())
	if err != nil {
		return
	}
	for i := range pools {
		p := &pools[i]
		to <- maxUnits.now(float64(p.MaxUnits), p.PoolID)
		to <- usedUnits.now(float64(p.UsedUnits), p.PoolID)
		to <- runningTasks.now(float64(p.Running), p.PoolID)
		to <- parkedTasks.now(float64(p.QueueDepth), p.PoolID)
		to <- maxQueueDepth.now(float64(p.MaxQueueDepth), p.PoolID)
		to <- poolHalted.now(flag(p.Halted != ""), p.PoolID)
	}
	g.measures(to)
	for b, db := range g.databases {
		db.collect(to, string(b))
	}
}

func (g *gauges) measures(to chan<- prometheus.Metric) {
	m := g.engine.Measures()
	for _, p := range m.Pools {
		to <- runningHere.now(float64(p.RunningHere), p.PoolID)
		to <- oldestParked.now(p.OldestAge.Seconds(), p.PoolID)
		to <- deferring.now(flag(p.Deferred), p.PoolID)
	}
	for _, s := range m.Stores {
		to <- storeUp.now(flag(s.Up), string(s.Backend))
		if s.Shared {
			to <- beatAge.now(s.BeatAge.Seconds(), string(s.Backend))
			to <- livingNodes.now(float64(s.Nodes), string(s.Backend))
		}
	}
	for _, o := range m.Owed {
		to <- outboxParcels.now(float64(o.Parcels), string(o.From), o.Dest)
		to <- outboxSeconds.now(o.Age.Seconds(), string(o.From), o.Dest)
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

func (d *database) collect(to chan<- prometheus.Metric, name string) {
	c := d.store.Connections()
	to <- storeConnections.now(float64(c.InUse), name, "in_use")
	to <- storeConnections.now(float64(c.Open-c.InUse), name, "idle")
	to <- storeConnsMax.now(float64(c.Max), name)
	if h, ok := d.horizon(); ok {
		to <- snapshotSeconds.now(h.Age.Seconds(), name)
		to <- snapshotBehind.now(float64(h.Transactions), name)
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

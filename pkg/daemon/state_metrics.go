package daemon

import (
	"context"
	"sync"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store/postgres"
)

// stateMetrics reads the state of pools and stores for each scrape.
type stateMetrics struct {
	engine    *engine.Engine
	databases map[park.Backend]*database
}

func newStateMetrics(e *engine.Engine, s stores) *stateMetrics {
	m := &stateMetrics{engine: e, databases: make(map[park.Backend]*database)}
	for b, one := range s {
		if db, ok := one.(*postgres.Store); ok {
			m.databases[b] = &database{store: db}
		}
	}
	return m
}

// read sets the gauges of all pools and stores.
func (m *stateMetrics) read(set gauge) {
	pools, err := m.engine.Pools(context.Background())
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
		set(poolHalted, boolValue(p.Halted != ""), p.PoolID)
	}
	m.collectMeasures(set)
	for b, db := range m.databases {
		db.collect(set, string(b))
	}
}

func (m *stateMetrics) collectMeasures(set gauge) {
	measures := m.engine.Stats()
	for _, p := range measures.Pools {
		set(runningHere, float64(p.RunningHere), p.PoolID)
		set(oldestParked, p.OldestAge.Seconds(), p.PoolID)
		set(poolDeferring, boolValue(p.Deferred), p.PoolID)
	}
	for _, s := range measures.Stores {
		set(storeUp, boolValue(s.Up), string(s.Backend))
		if s.Shared {
			set(heartbeatAge, s.HeartbeatAge.Seconds(), string(s.Backend))
			set(liveNodes, float64(s.Nodes), string(s.Backend))
		}
	}
	for _, o := range measures.Backlogs {
		set(outboxEntries, float64(o.Entries), o.Dest, string(o.From))
		set(outboxSeconds, o.Age.Seconds(), o.Dest, string(o.From))
	}
}

const (
	// horizonInterval is the least time between two queries of what a database cannot remove; horizonTimeout bounds each.
	horizonInterval = 15 * time.Second
	horizonTimeout  = time.Second
)

// database holds the measures of one database. No scrape waits for a query: it shows the result of the last one, and starts
// the next.
type database struct {
	store       *postgres.Store
	mu          sync.Mutex
	refreshing  bool
	lastRefresh time.Time
	known       bool // last holds the result of the latest query
	last        postgres.Horizon
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

// horizon returns the result of the latest query; ok is false if it failed.
func (d *database) horizon() (h postgres.Horizon, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.refreshing && time.Since(d.lastRefresh) >= horizonInterval {
		d.refreshing, d.lastRefresh = true, time.Now()
		go d.refresh()
	}
	return d.last, d.known
}

func (d *database) refresh() {
	ctx, cancel := context.WithTimeout(context.Background(), horizonTimeout)
	defer cancel()
	h, err := d.store.Horizon(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refreshing, d.known, d.last = false, err == nil, h
}

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
		set("parkd_pool_max_units", "Capacity in units.", float64(p.MaxUnits), "pool", p.PoolID)
		set("parkd_pool_used_units", "Units in use by running tasks.", float64(p.UsedUnits), "pool", p.PoolID)
		set("parkd_pool_running_tasks", "Running tasks.", float64(p.Running), "pool", p.PoolID)
		set("parkd_pool_parked_tasks", "Parked tasks.", float64(p.QueueDepth), "pool", p.PoolID)
		set("parkd_pool_max_queue_depth", "Maximum number of parked tasks.", float64(p.MaxQueueDepth), "pool", p.PoolID)
		set("parkd_pool_halted", "1 if the pool has halted because its invariants were broken.", boolValue(p.Halted != ""), "pool", p.PoolID)
	}
	m.collectMeasures(set)
	for b, db := range m.databases {
		db.collect(set, string(b))
	}
}

func (m *stateMetrics) collectMeasures(set gauge) {
	measures := m.engine.Stats()
	for _, p := range measures.Pools {
		set("parkd_pool_running_here", "Running tasks on this node.", float64(p.RunningHere), "pool", p.PoolID)
		set("parkd_pool_oldest_parked_seconds", "Age of the oldest task that is next in its priority class.", p.OldestAge.Seconds(), "pool", p.PoolID)
		set("parkd_pool_starts_deferred", "1 while this node defers starts because it lacks resources.", boolValue(p.Deferred), "pool", p.PoolID)
	}
	for _, s := range measures.Stores {
		set("parkd_store_up", "1 if the last operation and the last read of the store succeeded.", boolValue(s.Up), "store", string(s.Backend))
		if s.Shared {
			set("parkd_beat_age_seconds", "Time since the last heartbeat of this node.", s.HeartbeatAge.Seconds(), "store", string(s.Backend))
			set("parkd_nodes", "Live nodes, as of this node's last heartbeat.", float64(s.Nodes), "store", string(s.Backend))
		}
	}
	for _, o := range measures.Backlogs {
		set("parkd_outbox_parcels", "Outbox messages that this node's relay found waiting, up to one batch.", float64(o.Entries), "dest", o.Dest, "store", string(o.From))
		set("parkd_outbox_oldest_seconds", "Age of the oldest outbox message that this node's relay found waiting.", o.Age.Seconds(), "dest", o.Dest, "store", string(o.From))
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
	for state, n := range map[string]int{"in_use": c.InUse, "idle": c.Open - c.InUse} {
		set("parkd_store_connections", "Connections of this node to Postgres: idle or in_use.", float64(n), "state", state, "store", name)
	}
	set("parkd_store_max_connections", "Maximum number of connections of this node to Postgres.", float64(c.Max), "store", name)
	if h, ok := d.horizon(); ok {
		set("parkd_store_oldest_snapshot_seconds", "Age of the oldest transaction that keeps Postgres from removing old rows.", h.Age.Seconds(), "store", name)
		set("parkd_store_oldest_snapshot_transactions", "Transactions since the oldest snapshot that keeps Postgres from removing old rows.", float64(h.Transactions), "store", name)
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

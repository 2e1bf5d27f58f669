package engine

import (
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/health"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// RetryReason is why a step was tried again.
type RetryReason string

// The reasons.
const (
	RetryConflict RetryReason = "conflict" // another node's step came first
	RetryInDoubt  RetryReason = "in_doubt" // the store has not said whether it committed the step
	RetryRefused  RetryReason = "refused"  // the store did not commit the step
)

// StoreRequest is a kind of request to a store.
type StoreRequest string

// Requests to stores.
const (
	RequestStep      StoreRequest = health.Step
	RequestHeartbeat StoreRequest = health.Beat
	RequestOutbox    StoreRequest = health.Outbox
	RequestDelivery  StoreRequest = health.Delivery // of messages and events from another store
	RequestRead      StoreRequest = health.Read     // of tasks, messages or events
)

// Stats are figures of an engine.
type Stats struct {
	Pools    []PoolStats
	Stores   []StoreStats
	Backlogs []Backlog
}

// PoolStats are figures of a pool, in addition to [park.Pool].
type PoolStats struct {
	PoolID string
	// RunningHere is the number of runs on this node; leased tasks run elsewhere.
	RunningHere int
	// OldestAge is the age of the oldest submission among the tasks at the heads of their classes; 0 if none is parked.
	// A task that waits for its retry does not count.
	OldestAge time.Duration
	// Deferred reports whether this node defers starts.
	Deferred bool
}

// StoreStats are figures of a store.
type StoreStats struct {
	Backend park.Backend
	// Up reports whether the last write and the last read of the store succeeded. A store that was asked nothing counts
	// as up.
	Up bool
	// Nodes is the number of live nodes of the store, including this one; 0 for a store that is not shared, and before
	// the first heartbeat. HeartbeatAge is the time since the start of this node's last successful heartbeat.
	Shared       bool
	Nodes        int
	HeartbeatAge time.Duration
}

// Backlog is the number of outbox entries that a store holds for one destination, as of this node's last read of a batch.
type Backlog struct {
	From    park.Backend
	Dest    string
	Entries int
	Age     time.Duration // of the oldest; 0 if there is none
}

// Stats returns figures of the engine. It asks no store and no pool.
func (e *Engine) Stats() (stats Stats) {
	now := e.env.Wall()
	age := func(at park.Time) time.Duration { return max(now.Sub(at.Time), 0) }
	for _, id := range e.poolIDs {
		p := e.pools[id]
		entry := PoolStats{PoolID: id, RunningHere: int(p.runningHere.Load()), Deferred: p.view.Load().StartsDeferred != nil}
		if at := park.FromMicro(p.oldestParked.Load()); !at.IsZero() {
			entry.OldestAge = age(at)
		}
		stats.Pools = append(stats.Pools, entry)
	}
	for b, s := range e.stores {
		entry := StoreStats{Backend: b, Up: e.health.Up(b)}
		if w, ok := s.(store.HealthChecker); ok && w.StorageError() != nil {
			entry.Up = false
		}
		if n := e.nodes[b]; n != nil {
			entry.Shared, entry.Nodes, entry.HeartbeatAge = true, n.Members(), n.SinceHeartbeat()
		}
		stats.Stores = append(stats.Stores, entry)
	}
	for _, r := range e.relays {
		entry := Backlog{From: r.From, Dest: r.Dest()}
		if entries, since := r.Owed(); entries > 0 {
			entry.Entries, entry.Age = entries, age(since)
		}
		stats.Backlogs = append(stats.Backlogs, entry)
	}
	return stats
}

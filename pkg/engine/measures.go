package engine

import (
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/health"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// Retry is why a step did not come about the first time.
type Retry string

// The reasons.
const (
	RetryConflict Retry = "conflict" // another node's step came first
	RetryInDoubt  Retry = "in_doubt" // the store has not said whether it took it
	RetryRefused  Retry = "refused"  // the store did not take it
)

// Asked is what a store was asked for.
type Asked string

// What stores are asked for.
const (
	AskedStep     Asked = health.Step
	AskedBeat     Asked = health.Beat
	AskedOutbox   Asked = health.Outbox
	AskedDelivery Asked = health.Delivery // of messages and events from another store
	AskedRead     Asked = health.Read     // of tasks, messages or events
)

// Measures is how an engine stands.
type Measures struct {
	Pools  []PoolMeasures
	Stores []StoreMeasures
	Owed   []Backlog
}

// PoolMeasures is how a pool stands, beside what [park.Pool] says.
type PoolMeasures struct {
	PoolID string
	// RunningHere is how many runs this node has; leased tasks run elsewhere.
	RunningHere int
	// OldestAge is how long ago the task was submitted that was submitted first of those that come next in their classes; 0
	// where none is parked. A task that rests before it is tried again does not count.
	OldestAge time.Duration
	// Deferred says that this node puts starts off.
	Deferred bool
}

// StoreMeasures is how a store stands.
type StoreMeasures struct {
	Backend park.Backend
	// Up says that the store did what it was asked last, and that what was read last could be read. A store that nothing is
	// asked of counts as up.
	Up bool
	// Nodes is how many nodes of the store are alive, this one among them, and BeatAge how long ago this one's last beat began
	// that counted. Nodes is 0 of a store that is not shared, and before the first beat.
	Shared  bool
	Nodes   int
	BeatAge time.Duration
}

// Backlog is what a store owes to one destination, by this node's last look, which is a look at a batch.
type Backlog struct {
	From    park.Backend
	Dest    string
	Parcels int
	Age     time.Duration // of the oldest; 0 where there is none
}

// Measures returns how the engine stands. It asks no store and no pool for it.
func (e *Engine) Measures() (m Measures) {
	now := e.env.Wall()
	age := func(at park.Time) time.Duration { return max(now.Sub(at.Time), 0) }
	for _, id := range e.order {
		p := e.pools[id]
		one := PoolMeasures{PoolID: id, RunningHere: int(p.here.Load()), Deferred: p.view.Load().StartsDeferred != nil}
		if at := park.FromMicro(p.oldest.Load()); !at.IsZero() {
			one.OldestAge = age(at)
		}
		m.Pools = append(m.Pools, one)
	}
	for b, s := range e.stores {
		one := StoreMeasures{Backend: b, Up: e.health.Up(b)}
		if w, ok := s.(store.Watched); ok && w.Trouble() != nil {
			one.Up = false
		}
		if n := e.nodes[b]; n != nil {
			one.Shared, one.Nodes, one.BeatAge = true, n.Members(), n.SinceHeartbeat()
		}
		m.Stores = append(m.Stores, one)
	}
	for _, r := range e.relays {
		one := Backlog{From: r.From, Dest: r.Dest()}
		if parcels, since := r.Owed(); parcels > 0 {
			one.Parcels, one.Age = parcels, age(since)
		}
		m.Owed = append(m.Owed, one)
	}
	return m
}

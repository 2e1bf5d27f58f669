package engine

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

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
	AskedStep     Asked = "step"
	AskedBeat     Asked = "beat"
	AskedOutbox   Asked = "outbox"
	AskedDelivery Asked = "delivery" // of messages and events from another store
	AskedRead     Asked = "read"     // of tasks, messages or events
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

// backlog is a look at what is owed.
type backlog struct {
	parcels int
	since   park.Time
}

// owing is the outboxes that relays look at.
type owing struct {
	from park.Backend
	dest string
	seen *atomic.Pointer[backlog]
}

// relayed returns where a relay notes what it finds. It is called while the engine is opened.
func (e *Engine) relayed(from park.Backend, dest string) *atomic.Pointer[backlog] {
	o := owing{from, dest, new(atomic.Pointer[backlog])}
	e.owing = append(e.owing, o)
	return o.seen
}

// found notes what a relay has found.
func (r *relay) found(parcels []store.Parcel) {
	b := &backlog{parcels: len(parcels)}
	if len(parcels) > 0 {
		b.since = parcels[0].Since
	}
	r.owed.Store(b)
}

// health is a store's last words. Those to reads are apart, for a disk that is full can be read all the same.
type health struct{ down, unread atomic.Bool }

func (e *Engine) failed(b park.Backend, what Asked) {
	h := e.health[b]
	if h == nil {
		return
	}
	if what == AskedRead {
		h.unread.Store(true)
	} else {
		h.down.Store(true)
	}
	e.meter.Failed(b, what)
}

func (e *Engine) works(b park.Backend) {
	if h := e.health[b]; h != nil && h.down.Load() {
		h.down.Store(false)
	}
}

// read takes note of how a read of a store went, and returns its error. That the caller has gone, or has asked for what there
// cannot be, is no fault of the store.
func (e *Engine) read(ctx context.Context, b park.Backend, err error) error {
	h := e.health[b]
	switch {
	case h == nil:
	case err == nil || errors.Is(err, store.ErrNoEvent):
		if h.unread.Load() {
			h.unread.Store(false)
		}
	case ctx.Err() == nil && park.CodeOf(err) == park.Internal:
		e.failed(b, AskedRead)
	}
	return err
}

// measure tells the meter of a task that a step has ended.
func (p *pool) measure(s *park.State) {
	if !s.Status.Ended() {
		return
	}
	p.eng.meter.Ended(p.ID, s.Status, s.Reason)
	if !s.StartedAt.IsZero() {
		p.eng.meter.Ran(p.ID, s.Status, s.EndedAt.Sub(s.StartedAt.Time))
	}
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
		one := StoreMeasures{Backend: b, Up: !e.health[b].down.Load() && !e.health[b].unread.Load()}
		if w, ok := s.(store.Watched); ok && w.Trouble() != nil {
			one.Up = false
		}
		if n := e.nodes[b]; n != nil {
			n.mu.Lock()
			one.Shared, one.Nodes, one.BeatAge = true, len(n.live), n.proved()
			n.mu.Unlock()
		}
		m.Stores = append(m.Stores, one)
	}
	for _, o := range e.owing {
		one := Backlog{From: o.from, Dest: o.dest}
		if b := o.seen.Load(); b != nil && b.parcels > 0 {
			one.Parcels, one.Age = b.parcels, age(b.since)
		}
		m.Owed = append(m.Owed, one)
	}
	return m
}

package postgres

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Where the server takes no more connections, of anybody or of the role, a store gets by with those that it has: calls
// wait for one that is idle, signs of life before everything else, and nobody listens for hints. After a while it tries
// again.

const (
	// crowdedFor is how long a store gets by before it asks for more connections again.
	shortageDuration = time.Minute
	// crowdRest is how long a call rests before it looks again whether a connection is idle.
	acquireRetryInterval = time.Millisecond
	// saidFor is how long a crowd is not spoken of again.
	logInterval = time.Hour
)

var errTooFewConns = errors.New("there are too few connections to listen for hints")

// crowd is what a store knows of a server that takes no more connections. Its zero value is a server with room.
type connShortage struct {
	byDSN      bool         // the DSN allows too few connections for more than one use
	until      atomic.Int64 // Unix time in ns
	lastLogged atomic.Int64 // when it was last logged
	shared     atomic.Bool  // signs of life go over the connections of everything else

	mu         sync.Mutex
	stopListen context.CancelFunc // ends the wait for hints
}

// here reports whether there are few connections, by the DSN or for now.
func (c *connShortage) active() bool { return c.byDSN || c.refusedLately() }

func (c *connShortage) refusedLately() bool { return time.Now().UnixNano() < c.until.Load() }

// full reports whether the server, the database or the role had no connection left.
func isTooManyConnections(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pg.Code == "53300"
}

// listens keeps how the wait for hints is ended, or nil after it.
func (c *connShortage) setListener(cancel context.CancelFunc) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopListen = cancel
}

// hush ends the wait for hints, which gives its connection back.
func (c *connShortage) stopListening() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopListen != nil {
		c.stopListen()
	}
}

// crowded has the store get by with the connections that it has, where err says that there are no more.
func (s *Store) noteRefusal(err error) {
	if !isTooManyConnections(err) {
		return
	}
	now := time.Now()
	if said := s.shortage.lastLogged.Load(); now.UnixNano()-said > int64(logInterval) && s.shortage.lastLogged.CompareAndSwap(said, now.UnixNano()) {
		s.log.Warn("the server takes no more connections: going on with those that are open, without hints", "error", err)
	}
	if until := s.shortage.until.Swap(now.Add(shortageDuration).UnixNano()); until < now.UnixNano() {
		time.AfterFunc(connectTimeout, s.closeSpare)
	}
	s.yieldConns()
}

// join gives back what others may need more, of this node or of another that has none. Of two connections one is left for
// signs of life, so they need none of their own; beside a single one for the rest they keep theirs.
func (s *Store) yieldConns() {
	share := openConns(s.pool) != 1 || openConns(s.control) == 0
	s.shortage.shared.Store(share)
	if share {
		s.control.Reset()
	}
	s.shortage.stopListening()
}

// spare gives back what was still being made when the crowd was noticed, and one connection of more than two.
func (s *Store) closeSpare() {
	s.yieldConns()
	if openConns(s.pool) <= minConns {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	if c, err := s.pool.Acquire(withPriority(ctx)); err == nil {
		_ = c.Conn().Close(ctx)
		c.Release()
	}
}

// made is how many connections there are, without those that are only being made.
func openConns(c conns) int32 {
	st := c.Stat()
	return st.AcquiredConns() + st.IdleConns()
}

// near returns the connections for what nodes tell each other.
func (s *Store) controlConns() conns {
	if s.shortage.byDSN || s.shortage.refusedLately() && s.shortage.shared.Load() {
		return s.pool
	}
	return s.control
}

// firstKey marks the context of what goes before everything else. pgxpool tells its tracer nothing else of a call.
type priorityKey struct{}

func withPriority(ctx context.Context) context.Context {
	return context.WithValue(ctx, priorityKey{}, true)
}

// turnKey is where a context keeps the turn that its call has.
type slotKey struct{}

// turn is held by whoever is next to take a connection.
type slot chan struct{}

// turns has calls take connections one after the other while the server is crowded: each waits for one that is idle
// rather than ask for a new one. Who has the turn needs nothing else than a connection, and gives the turn back once it
// has one, or its context has ended.
type acquireQueue struct {
	store            *Store
	priority, normal slot
}

func newAcquireQueue(s *Store) *acquireQueue { return &acquireQueue{s, make(slot, 1), make(slot, 1)} }

// TraceAcquireStart implements [pgxpool.AcquireTracer].
func (t *acquireQueue) TraceAcquireStart(ctx context.Context, p *pgxpool.Pool, _ pgxpool.TraceAcquireStartData) context.Context {
	if !t.store.shortage.active() {
		return ctx
	}
	mySlot := t.normal
	if ctx.Value(priorityKey{}) != nil {
		mySlot = t.priority
	}
	select {
	case mySlot <- struct{}{}:
	case <-ctx.Done():
		return ctx
	}
	for t.store.shortage.active() && !t.mayAcquire(p.Stat(), mySlot == t.priority) {
		select {
		case <-time.After(acquireRetryInterval):
		case <-ctx.Done():
			<-mySlot
			return ctx
		}
	}
	return context.WithValue(ctx, slotKey{}, mySlot)
}

// room reports whether a call may take a connection. The last of several is for what goes first.
func (t *acquireQueue) mayAcquire(st *pgxpool.Stat, priority bool) bool {
	total := st.TotalConns()
	if !t.store.shortage.refusedLately() {
		total = st.MaxConns() // the DSN alone is the bound
	}
	idle := total - st.AcquiredConns() - st.ConstructingConns()
	switch {
	case total == 0: // somebody has to ask for one
		return true
	case priority:
		return idle > 0
	case total == 1:
		return idle > 0 && len(t.priority) == 0
	}
	return idle > 1
}

// TraceAcquireEnd implements [pgxpool.AcquireTracer].
func (t *acquireQueue) TraceAcquireEnd(ctx context.Context, _ *pgxpool.Pool, d pgxpool.TraceAcquireEndData) {
	if mySlot, ok := ctx.Value(slotKey{}).(slot); ok {
		<-mySlot
	}
	t.store.noteRefusal(d.Err)
}

// TraceQueryStart implements [pgx.QueryTracer], which every tracer has to.
func (*acquireQueue) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

// TraceQueryEnd implements [pgx.QueryTracer].
func (*acquireQueue) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

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

// If the server accepts no more connections, in total or for the role, a store uses only the connections that it has.
// Calls wait for an idle one, heartbeats have priority, and nobody listens for hints. After a while the store tries to
// connect again.

const (
	// shortageDuration is how long a store does not ask for more connections.
	shortageDuration = time.Minute
	// acquireRetryInterval is how long a call waits before it checks again for an idle connection.
	acquireRetryInterval = time.Millisecond
	// logInterval is the least time between two log entries about a shortage.
	logInterval = time.Hour
)

var errTooFewConns = errors.New("too few connections to listen for hints")

// connShortage describes a server that accepts no more connections. The zero value is a server without a shortage.
type connShortage struct {
	byDSN      bool         // the DSN allows too few connections to reserve some
	until      atomic.Int64 // Unix time in ns
	lastLogged atomic.Int64 // Unix time in ns
	shared     atomic.Bool  // heartbeats use the pool of all other calls

	mu         sync.Mutex
	stopListen context.CancelFunc // ends Listen
}

// active reports whether there are few connections, by the DSN or at present.
func (c *connShortage) active() bool { return c.byDSN || c.refusedLately() }

func (c *connShortage) refusedLately() bool { return time.Now().UnixNano() < c.until.Load() }

// isTooManyConnections reports whether the server, the database or the role has no connection left.
func isTooManyConnections(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pg.Code == "53300"
}

// setListener sets the function that ends Listen, or nil after its end.
func (c *connShortage) setListener(cancel context.CancelFunc) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopListen = cancel
}

// stopListening ends Listen, which closes its connection.
func (c *connShortage) stopListening() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopListen != nil {
		c.stopListen()
	}
}

// noteRefusal begins a shortage if err says that there are no more connections.
func (s *Store) noteRefusal(err error) {
	if !isTooManyConnections(err) {
		return
	}
	now := time.Now()
	if said := s.shortage.lastLogged.Load(); now.UnixNano()-said > int64(logInterval) && s.shortage.lastLogged.CompareAndSwap(said, now.UnixNano()) {
		s.log.Warn("the server accepts no more connections: using the open ones, without hints", "error", err)
	}
	if until := s.shortage.until.Swap(now.Add(shortageDuration).UnixNano()); until < now.UnixNano() {
		time.AfterFunc(connectTimeout, s.closeSpare)
	}
	s.yieldConns()
}

// yieldConns closes connections that other calls may need more, on this node or on a node that has none. With two
// connections or more the pool keeps one for heartbeats, so the control connections are closed. With a single one the
// heartbeats keep their own.
func (s *Store) yieldConns() {
	share := openConns(s.pool) != 1 || openConns(s.control) == 0
	s.shortage.shared.Store(share)
	if share {
		s.control.Reset()
	}
	s.shortage.stopListening()
}

// closeSpare closes connections that were being made when the shortage began, and one connection if there are more than
// minConns.
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

// openConns returns how many connections are open, without those that are being made.
func openConns(c conns) int32 {
	st := c.Stat()
	return st.AcquiredConns() + st.IdleConns()
}

// controlConns returns the connections for messages between nodes.
func (s *Store) controlConns() conns {
	if s.shortage.byDSN || s.shortage.refusedLately() && s.shortage.shared.Load() {
		return s.pool
	}
	return s.control
}

// priorityKey marks the context of a call with priority. The context is all that pgxpool gives its tracer of a call.
type priorityKey struct{}

func withPriority(ctx context.Context) context.Context {
	return context.WithValue(ctx, priorityKey{}, true)
}

// slotKey is the key of the slot in a call's context.
type slotKey struct{}

// slot is held by the call that acquires the next connection.
type slot chan struct{}

// acquireQueue has calls acquire connections one after the other during a shortage. Each waits for an idle connection
// and does not ask for a new one. A call that has a slot waits for nothing but a connection. It releases the slot when
// it has one or when its context ends.
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

// mayAcquire reports whether a call may acquire a connection. The last one of several is for calls with priority.
func (t *acquireQueue) mayAcquire(st *pgxpool.Stat, priority bool) bool {
	total := st.TotalConns()
	if !t.store.shortage.refusedLately() {
		total = st.MaxConns() // only the DSN limits the number
	}
	idle := total - st.AcquiredConns() - st.ConstructingConns()
	switch {
	case total == 0: // some call has to ask for one
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

// TraceQueryStart implements [pgx.QueryTracer], which every tracer must implement.
func (*acquireQueue) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

// TraceQueryEnd implements [pgx.QueryTracer].
func (*acquireQueue) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

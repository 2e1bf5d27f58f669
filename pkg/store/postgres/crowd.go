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
	crowdedFor = time.Minute
	// crowdRest is how long a call rests before it looks again whether a connection is idle.
	crowdRest = time.Millisecond
	// saidFor is how long a crowd is not spoken of again.
	saidFor = time.Hour
)

var errCrowded = errors.New("there are too few connections to listen for hints")

// crowd is what a store knows of a server that takes no more connections. Its zero value is a server with room.
type crowd struct {
	few      bool         // the DSN allows too few connections for more than one use
	until    atomic.Int64 // Unix time in ns
	said     atomic.Int64 // when it was last logged
	together atomic.Bool  // signs of life go over the connections of everything else

	mu    sync.Mutex
	quiet context.CancelFunc // ends the wait for hints
}

// here reports whether there are few connections, by the DSN or for now.
func (c *crowd) here() bool { return c.few || c.now() }

func (c *crowd) now() bool { return time.Now().UnixNano() < c.until.Load() }

// full reports whether the server, the database or the role had no connection left.
func full(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pg.Code == "53300"
}

// listens keeps how the wait for hints is ended, or nil after it.
func (c *crowd) listens(cancel context.CancelFunc) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.quiet = cancel
}

// hush ends the wait for hints, which gives its connection back.
func (c *crowd) hush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.quiet != nil {
		c.quiet()
	}
}

// crowded has the store get by with the connections that it has, where err says that there are no more.
func (s *Store) crowded(err error) {
	if !full(err) {
		return
	}
	now := time.Now()
	if said := s.crowd.said.Load(); now.UnixNano()-said > int64(saidFor) && s.crowd.said.CompareAndSwap(said, now.UnixNano()) {
		s.log.Warn("the server takes no more connections: going on with those that are open, without hints", "error", err)
	}
	if until := s.crowd.until.Swap(now.Add(crowdedFor).UnixNano()); until < now.UnixNano() {
		time.AfterFunc(connectTimeout, s.spare)
	}
	s.join()
}

// join gives back what others may need more, of this node or of another that has none. Of two connections one is left for
// signs of life, so they need none of their own; beside a single one for the rest they keep theirs.
func (s *Store) join() {
	together := made(s.pool) != 1 || made(s.side) == 0
	s.crowd.together.Store(together)
	if together {
		s.side.Reset()
	}
	s.crowd.hush()
}

// spare gives back what was still being made when the crowd was noticed, and one connection of more than two.
func (s *Store) spare() {
	s.join()
	if made(s.pool) <= ready {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	if c, err := s.pool.Acquire(ahead(ctx)); err == nil {
		_ = c.Conn().Close(ctx)
		c.Release()
	}
}

// made is how many connections there are, without those that are only being made.
func made(c conns) int32 {
	st := c.Stat()
	return st.AcquiredConns() + st.IdleConns()
}

// near returns the connections for what nodes tell each other.
func (s *Store) near() conns {
	if s.crowd.few || s.crowd.now() && s.crowd.together.Load() {
		return s.pool
	}
	return s.side
}

// firstKey marks the context of what goes before everything else. pgxpool tells its tracer nothing else of a call.
type firstKey struct{}

func ahead(ctx context.Context) context.Context { return context.WithValue(ctx, firstKey{}, true) }

// turnKey is where a context keeps the turn that its call has.
type turnKey struct{}

// turn is held by whoever is next to take a connection.
type turn chan struct{}

// turns has calls take connections one after the other while the server is crowded: each waits for one that is idle
// rather than ask for a new one. Who has the turn needs nothing else than a connection, and gives the turn back once it
// has one, or its context has ended.
type turns struct {
	of          *Store
	first, rest turn
}

func newTurns(s *Store) *turns { return &turns{s, make(turn, 1), make(turn, 1)} }

// TraceAcquireStart implements [pgxpool.AcquireTracer].
func (t *turns) TraceAcquireStart(ctx context.Context, p *pgxpool.Pool, _ pgxpool.TraceAcquireStartData) context.Context {
	if !t.of.crowd.here() {
		return ctx
	}
	mine := t.rest
	if ctx.Value(firstKey{}) != nil {
		mine = t.first
	}
	select {
	case mine <- struct{}{}:
	case <-ctx.Done():
		return ctx
	}
	for t.of.crowd.here() && !t.room(p.Stat(), mine == t.first) {
		select {
		case <-time.After(crowdRest):
		case <-ctx.Done():
			<-mine
			return ctx
		}
	}
	return context.WithValue(ctx, turnKey{}, mine)
}

// room reports whether a call may take a connection. The last of several is for what goes first.
func (t *turns) room(st *pgxpool.Stat, first bool) bool {
	have := st.TotalConns()
	if !t.of.crowd.now() {
		have = st.MaxConns() // the DSN alone is the bound
	}
	spare := have - st.AcquiredConns() - st.ConstructingConns()
	switch {
	case have == 0: // somebody has to ask for one
		return true
	case first:
		return spare > 0
	case have == 1:
		return spare > 0 && len(t.first) == 0
	}
	return spare > 1
}

// TraceAcquireEnd implements [pgxpool.AcquireTracer].
func (t *turns) TraceAcquireEnd(ctx context.Context, _ *pgxpool.Pool, d pgxpool.TraceAcquireEndData) {
	if mine, ok := ctx.Value(turnKey{}).(turn); ok {
		<-mine
	}
	t.of.crowded(d.Err)
}

// TraceQueryStart implements [pgx.QueryTracer], which every tracer has to.
func (*turns) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

// TraceQueryEnd implements [pgx.QueryTracer].
func (*turns) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

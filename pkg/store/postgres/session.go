package postgres

import (
	"context"
	"errors"
	"net"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
)

// A server that waits for its standbys ends the wait when it is asked to cancel what it does, and what it did is then
// there without them. So nobody asks that of it for what callers are told is done: a call that takes too long leaves the
// server alone with it, and asks again later. And where somebody else cancelled the wait, the server says so.

// session is what is known of a connection besides what pgx keeps.
type session struct {
	noCancel     atomic.Bool // what is under way must not be cancelled
	unreplicated bool        // the server has stopped waiting for its standbys
}

// sessionKey is where a connection keeps its session.
const sessionKey = "parkd"

var errUnreplicated = errors.New("the server stopped waiting for its standbys")

var errNoCancel = errors.New("what is under way is not cancelled")

// attend has a new connection keep a session.
func attachSession(cc *pgx.ConnConfig) {
	s, dial := &session{}, cc.DialFunc
	cc.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if s.noCancel.Load() {
			return nil, errNoCancel // pgx would send a request to cancel
		}
		return dial(ctx, network, addr)
	}
	cc.BuildContextWatcherHandler = func(c *pgconn.PgConn) ctxwatch.Handler {
		return &cancelHandler{DeadlineContextWatcherHandler: pgconn.DeadlineContextWatcherHandler{Conn: c.Conn()}, session: s}
	}
	cc.AfterConnect = func(_ context.Context, c *pgconn.PgConn) error {
		c.CustomData()[sessionKey] = s
		return nil
	}
	cc.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		// The text is in the server's language, the name of its function is not.
		s.unreplicated = s.unreplicated || n.Routine == "SyncRepWaitForLSN"
	}
}

// watcher ends a call whose context has ended.
type cancelHandler struct {
	pgconn.DeadlineContextWatcherHandler
	session *session
}

// HandleCancel implements ctxwatch.Handler.
func (w *cancelHandler) HandleCancel(ctx context.Context) {
	if w.session.noCancel.Load() {
		_ = w.Conn.Close() // at once: nobody waits for what the server still has to say
		return
	}
	w.DeadlineContextWatcherHandler.HandleCancel(ctx)
}

// steadily calls f with a connection, on which it does one thing that must not be cancelled. Where that was done without
// the standbys that the server should have waited for, the error is errUnreplicated.
func (s *Store) uncancelled(ctx context.Context, f func(*pgx.Conn) error) error {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	c := conn.Conn()
	sess := c.PgConn().CustomData()[sessionKey].(*session)
	sess.unreplicated = false
	sess.noCancel.Store(true)
	err = f(c)
	if !c.IsClosed() { // else pgx is still about to close it, and would cancel first
		sess.noCancel.Store(false)
	}
	if err == nil && sess.unreplicated {
		return errUnreplicated
	}
	return err
}

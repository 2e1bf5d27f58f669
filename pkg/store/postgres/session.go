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

// If a server is asked to cancel a call while it waits for its standbys, it ends the wait, and the effects of the call
// remain without the standbys. So a call whose effects are acknowledged is never cancelled: if it takes too long, the
// connection is closed, and the store asks again later. If somebody else cancels the wait, the server sends a notice.

// session has the additional state of a connection.
type session struct {
	noCancel     atomic.Bool // the current call must not be cancelled
	unreplicated bool        // the server has ended a wait for its standbys
}

// sessionKey is the key of the session in a connection's custom data.
const sessionKey = "parkd"

var errUnreplicated = errors.New("the server stopped waiting for its standbys")

var errNoCancel = errors.New("the current call must not be cancelled")

// attachSession gives a new connection a session.
func attachSession(cc *pgx.ConnConfig) {
	s, dial := &session{}, cc.DialFunc
	cc.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if s.noCancel.Load() {
			return nil, errNoCancel // pgx would send a cancel request
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
		// The text depends on the server's language. The name of the function does not.
		s.unreplicated = s.unreplicated || n.Routine == "SyncRepWaitForLSN"
	}
}

// cancelHandler ends a call whose context has ended.
type cancelHandler struct {
	pgconn.DeadlineContextWatcherHandler
	session *session
}

// HandleCancel implements ctxwatch.Handler.
func (w *cancelHandler) HandleCancel(ctx context.Context) {
	if w.session.noCancel.Load() {
		_ = w.Conn.Close() // at once, because nobody waits for the answer
		return
	}
	w.DeadlineContextWatcherHandler.HandleCancel(ctx)
}

// uncancelled runs f with a connection for one call that must not be cancelled. It returns errUnreplicated if the
// server did not wait for its standbys.
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
	if !c.IsClosed() { // pgx would cancel before it closes the connection
		sess.noCancel.Store(false)
	}
	if err == nil && sess.unreplicated {
		return errUnreplicated
	}
	return err
}

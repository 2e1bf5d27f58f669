package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// An ownerFinder returns the user that owns the other end of a TCP connection within this machine. ok is false if there
// is no such connection, also if the other end has been closed.
type ownerFinder func(local, remote *net.TCPAddr) (uid int, ok bool, err error)

// ownerChecker finds the owners of loopback connections. Every user of a machine can connect to loopback, but only the
// daemon's own user may use a daemon without tokens.
type ownerChecker struct {
	find ownerFinder
	uid  int
	log  *slog.Logger
}

// newOwnerChecker returns nil, and logs a warning, if the system does not tell the owner of a connection.
func newOwnerChecker(log *slog.Logger) *ownerChecker {
	p := &ownerChecker{uid: os.Geteuid(), log: log}
	var errs []error
	for _, find := range finders() {
		err := checkFinder(find, p.uid)
		if err == nil {
			p.find = find
			return p
		}
		errs = append(errs, err)
	}
	log.Warn("the owner of a loopback connection cannot be determined here: any user of this machine may use the daemon over TCP; configure tokens, or listen on the socket only",
		"errors", fmt.Sprint(errs))
	return nil
}

// finderTimeout bounds the test of a finder.
const finderTimeout = 2 * time.Second

// checkFinder connects to itself, and returns an error if find does not return the process's own user.
func checkFinder(find ownerFinder, own int) error {
	ctx, cancel := context.WithTimeout(context.Background(), finderTimeout)
	defer cancel()
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer func() { _ = ln.Close() }()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", ln.Addr().String())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	uid, ok, err := find(conn.RemoteAddr().(*net.TCPAddr), conn.LocalAddr().(*net.TCPAddr))
	switch {
	case err != nil:
		return err
	case !ok || uid != own:
		return fmt.Errorf("a connection of user %d is told to be of user %d (%t)", own, uid, ok)
	}
	return nil
}

// peer is one connection; its owner is looked up at the first request.
type peer struct {
	local, remote net.Addr
	once          sync.Once
	owned         bool
}

type peerKey struct{}

// connContext attaches a peer to the requests of a connection. The server offers no other place for it.
func connContext(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, peerKey{}, &peer{local: c.LocalAddr(), remote: c.RemoteAddr()})
}

// isOwner reports whether a request comes from the daemon's user, or from root.
func (p *ownerChecker) isOwner(r *http.Request) bool {
	c, ok := r.Context().Value(peerKey{}).(*peer)
	if !ok {
		return false
	}
	c.once.Do(func() { c.owned = p.ownsPeer(c) })
	return c.owned
}

func (p *ownerChecker) ownsPeer(c *peer) bool {
	local, ok1 := c.local.(*net.TCPAddr)
	remote, ok2 := c.remote.(*net.TCPAddr)
	if !ok1 || !ok2 {
		return false
	}
	uid, ok, err := p.find(local, remote)
	if err != nil {
		p.log.Warn("connection refused: its owner is unknown", "remote", remote.String(), "error", err)
	}
	return err == nil && ok && (uid == p.uid || uid == 0)
}

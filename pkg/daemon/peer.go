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

// A finder returns the user that owns the other end of a TCP connection within this machine. ok is false where there is
// nobody: who has closed its end already is not known any more.
type finder func(local, remote *net.TCPAddr) (uid int, ok bool, err error)

// peers tells whose connections over loopback are. Loopback is open to every user of a machine, and the daemon without
// tokens is not.
type peers struct {
	find finder
	own  int
	log  *slog.Logger
}

// newPeers returns nil, and says so in the log, where the system does not tell whose a connection is.
func newPeers(log *slog.Logger) *peers {
	p := &peers{own: os.Geteuid(), log: log}
	var errs []error
	for _, find := range finders() {
		err := tried(find, p.own)
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

// triedWithin bounds the trial of a finder.
const triedWithin = 2 * time.Second

// tried connects to itself, and returns why find does not see that this is the process's own user.
func tried(find finder, own int) error {
	ctx, cancel := context.WithTimeout(context.Background(), triedWithin)
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

// peer is one connection, looked at when its first request comes.
type peer struct {
	local, remote net.Addr
	once          sync.Once
	owned         bool
}

type peerKey struct{}

// connContext puts a peer beside a connection's requests. The server offers no other place.
func connContext(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, peerKey{}, &peer{local: c.LocalAddr(), remote: c.RemoteAddr()})
}

// owner reports whether a request comes from the daemon's user, or from root.
func (p *peers) owner(r *http.Request) bool {
	c, ok := r.Context().Value(peerKey{}).(*peer)
	if !ok {
		return false
	}
	c.once.Do(func() { c.owned = p.owns(c) })
	return c.owned
}

func (p *peers) owns(c *peer) bool {
	local, ok1 := c.local.(*net.TCPAddr)
	remote, ok2 := c.remote.(*net.TCPAddr)
	if !ok1 || !ok2 {
		return false
	}
	uid, ok, err := p.find(local, remote)
	if err != nil {
		p.log.Warn("connection refused: its owner is unknown", "remote", remote.String(), "error", err)
	}
	return err == nil && ok && (uid == p.own || uid == 0)
}

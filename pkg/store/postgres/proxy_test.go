package postgres_test

import (
	"bytes"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// proxy is between a store and its server, and can fail in several ways.
type proxy struct {
	testing.TB
	server string // the path of its socket
	dsn    string
	listen net.Listener
	wg     sync.WaitGroup

	mu          sync.Mutex
	conns       map[net.Conn]bool
	connCount   int
	closed      bool
	stalled     bool   // connections are accepted, but nothing is passed on
	cutAfter    int    // a connection breaks after this many more bytes from the server; 0: none breaks
	loseReplyTo string // the reply to a message with this text is lost, and the proxy closes
}

func newProxy(t testing.TB, dsn string) *proxy {
	t.Helper()
	g := &proxy{TB: t, conns: make(map[net.Conn]bool)}
	var err error
	// TCP, because a write may seem to succeed after the other side has closed the connection.
	if g.listen, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	var rest []string
	for field := range strings.FieldsSeq(dsn) {
		if host, ok := strings.CutPrefix(field, "host="); ok {
			g.server = filepath.Join(host, ".s.PGSQL.5432")
			field = fmt.Sprintf("sslmode=disable host=127.0.0.1 port=%d", g.listen.Addr().(*net.TCPAddr).Port)
		}
		rest = append(rest, field)
	}
	g.dsn = strings.Join(rest, " ")
	g.wg.Go(g.accept)
	t.Cleanup(func() {
		_ = g.listen.Close()
		g.set(func() { g.closed = true })
		g.wg.Wait()
	})
	return g
}

// set changes the proxy. A closed one has no open connections.
func (g *proxy) set(change func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change()
	if g.closed {
		for c := range g.conns {
			_ = c.Close()
		}
	}
}

// close closes the proxy and returns when no connection is open.
func (g *proxy) close() {
	for left := 1; left > 0; time.Sleep(time.Millisecond) {
		g.set(func() {
			g.closed = true
			left = g.connCount
		})
	}
}

func (g *proxy) accept() {
	for {
		c, err := g.listen.Accept()
		if err != nil {
			return
		}
		s, err := net.Dial("unix", g.server)
		if err != nil {
			_ = c.Close()
			continue
		}
		g.mu.Lock()
		if g.closed {
			_, _ = c.Close(), s.Close()
		} else {
			g.conns[c], g.conns[s] = true, true
			g.connCount += 2
			l := &proxyConn{proxy: g}
			g.wg.Go(func() { l.forward(s, c, true) })
			g.wg.Go(func() { l.forward(c, s, false) })
		}
		g.mu.Unlock()
	}
}

// proxyConn is one connection through the proxy.
type proxyConn struct {
	*proxy
	loseRest bool // lose the next message of the server and all after it
}

// forward passes on the data of one side.
func (l *proxyConn) forward(to, from net.Conn, fromClient bool) {
	defer func() {
		_, _ = to.Close(), from.Close()
		l.mu.Lock()
		defer l.mu.Unlock()
		l.connCount--
		delete(l.conns, to)
		delete(l.conns, from)
	}()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if err != nil || !l.mayForward(b[:n], fromClient) {
			return
		}
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}

// mayForward decides whether to pass data on. It may wait.
func (l *proxyConn) mayForward(data []byte, fromClient bool) bool {
	for l.isStalled() {
		time.Sleep(time.Millisecond)
	}
	if !fromClient && l.losesReplies() {
		l.set(func() { l.closed = true })
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if fromClient && l.loseReplyTo != "" && bytes.Contains(data, []byte(l.loseReplyTo)) {
		l.loseReplyTo, l.loseRest = "", true
	}
	if !fromClient && l.cutAfter > 0 {
		if l.cutAfter -= len(data); l.cutAfter <= 0 {
			l.cutAfter = 0
			return false
		}
	}
	return !l.closed
}

func (l *proxyConn) isStalled() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stalled && !l.closed
}

func (l *proxyConn) losesReplies() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.loseRest
}

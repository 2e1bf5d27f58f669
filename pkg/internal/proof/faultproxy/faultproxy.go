// Package faultproxy is a proxy between clients and a server on unix sockets that simulates network faults: it stalls
// connections, passes bytes in one direction only, cuts them, and cuts them at the worst moment, when the server has
// processed a request and the client does not know it.
package faultproxy

import (
	"bytes"
	"fmt"
	"net"
	"sync"
	"time"
)

// Direction is a direction of a connection.
type Direction int

// The two directions.
const (
	ToServer Direction = iota
	ToClient
)

// Proxy forwards connections.
type Proxy struct {
	target     string
	listen     net.Listener
	goroutines sync.WaitGroup

	mu      sync.Mutex
	changed *sync.Cond // a fault began or ended
	closed  bool
	refuse  bool
	block   [2]bool
	match   []byte // part of the request whose reply is to be lost; nil: none
	lost    int
	conns   map[*conn]struct{}
}

type conn struct {
	client, server net.Conn
	loseReply      bool
	tail           []byte // the last bytes that went to the server
}

// New listens on a unix socket and forwards connections to another.
func New(listen, target string) (*Proxy, error) {
	l, err := net.Listen("unix", listen) //nolint:noctx // it is closed by Close
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	p := &Proxy{target: target, listen: l, conns: make(map[*conn]struct{})}
	p.changed = sync.NewCond(&p.mu)
	p.goroutines.Go(p.accept)
	return p, nil
}

// Close cuts all connections and accepts no more.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	p.changed.Broadcast()
	p.mu.Unlock()
	_ = p.listen.Close()
	p.Cut()
	p.goroutines.Wait()
}

// Refuse closes new connections at once, or forwards them again.
func (p *Proxy) Refuse(refuse bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = refuse
}

// Block blocks a direction, or unblocks it: bytes that were sent meanwhile then arrive.
func (p *Proxy) Block(w Direction, blocked bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.block[w] = blocked
	p.changed.Broadcast()
}

// Cut breaks all connections.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.cut()
	}
}

// LoseReply forwards the next request that contains match, and cuts the connection once the server replies, so that the
// reply is lost. nil cancels that.
func (p *Proxy) LoseReply(match []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.match = match
}

// Lost returns how many replies were lost.
func (p *Proxy) Lost() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lost
}

func (c *conn) cut() {
	_ = c.client.Close()
	_ = c.server.Close()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listen.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		refuse := p.refuse || p.closed
		p.mu.Unlock()
		if refuse {
			_ = client.Close()
			continue
		}
		p.goroutines.Go(func() { p.serve(client) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	server, err := net.DialTimeout("unix", p.target, time.Second) //nolint:noctx // bounded
	if err != nil {
		_ = client.Close()
		return
	}
	c := &conn{client: client, server: server}
	p.mu.Lock()
	p.conns[c] = struct{}{}
	if p.closed {
		c.cut()
	}
	p.mu.Unlock()
	var ways sync.WaitGroup
	ways.Go(func() { p.copy(c, ToServer, client, server) })
	ways.Go(func() { p.copy(c, ToClient, server, client) })
	ways.Wait()
	p.mu.Lock()
	delete(p.conns, c)
	p.mu.Unlock()
}

// copy forwards one direction until either end is closed.
func (p *Proxy) copy(c *conn, w Direction, from, to net.Conn) {
	defer c.cut()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 && (!p.admit(c, w, buf[:n]) || !writeAll(to, buf[:n])) {
			return
		}
		if err != nil {
			return
		}
	}
}

func writeAll(to net.Conn, b []byte) bool {
	_, err := to.Write(b)
	return err == nil
}

// admit waits until the direction is not blocked and reports whether the bytes may pass.
func (p *Proxy) admit(c *conn, w Direction, b []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.block[w] && !p.closed {
		p.changed.Wait()
	}
	if w == ToClient {
		if c.loseReply {
			p.lost++
		}
		return !c.loseReply
	}
	if p.match != nil {
		seen := append(c.tail, b...)
		if c.loseReply = bytes.Contains(seen, p.match); c.loseReply {
			p.match = nil
		} else {
			c.tail = append([]byte(nil), seen[max(0, len(seen)-len(p.match)+1):]...)
		}
	}
	return true
}

// Package faultproxy stands between a client and a server on unix sockets and does to their connections what networks
// do: it stalls them, passes bytes one way only, cuts them, and cuts them at the worst of moments, when the server has
// done what it was asked and the client has not heard of it.
package faultproxy

import (
	"bytes"
	"fmt"
	"net"
	"sync"
	"time"
)

// Way is a direction.
type Way int

// The two ways.
const (
	ToServer Way = iota
	ToClient
)

// Proxy passes connections on.
type Proxy struct {
	target string
	listen net.Listener
	work   sync.WaitGroup

	mu     sync.Mutex
	turned *sync.Cond // a fault began or ended
	closed bool
	refuse bool
	block  [2]bool
	match  []byte // of a request whose reply is to be lost; nil: of none
	lost   int
	conns  map[*conn]struct{}
}

type conn struct {
	client, server net.Conn
	losing         bool
	tail           []byte // the end of what went to the server
}

// New listens on a unix socket and passes what comes on to another.
func New(listen, target string) (*Proxy, error) {
	l, err := net.Listen("unix", listen) //nolint:noctx // it is closed by Close
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	p := &Proxy{target: target, listen: l, conns: make(map[*conn]struct{})}
	p.turned = sync.NewCond(&p.mu)
	p.work.Go(p.accept)
	return p, nil
}

// Close cuts all connections and takes no more.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	p.turned.Broadcast()
	p.mu.Unlock()
	_ = p.listen.Close()
	p.Cut()
	p.work.Wait()
}

// Refuse has new connections closed at once, or passed on again.
func (p *Proxy) Refuse(refuse bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = refuse
}

// Block stops one way, or lets it go on: what was sent meanwhile then arrives.
func (p *Proxy) Block(w Way, blocked bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.block[w] = blocked
	p.turned.Broadcast()
}

// Cut breaks all connections off.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.cut()
	}
}

// LoseReply has the next request that holds match passed on, and the connection cut once the server replies. The reply
// is lost. nil calls that off.
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
		p.work.Go(func() { p.serve(client) })
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
	ways.Go(func() { p.pass(c, ToServer, client, server) })
	ways.Go(func() { p.pass(c, ToClient, server, client) })
	ways.Wait()
	p.mu.Lock()
	delete(p.conns, c)
	p.mu.Unlock()
}

// pass copies one way until either end is gone.
func (p *Proxy) pass(c *conn, w Way, from, to net.Conn) {
	defer c.cut()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 && (!p.admit(c, w, buf[:n]) || !write(to, buf[:n])) {
			return
		}
		if err != nil {
			return
		}
	}
}

func write(to net.Conn, b []byte) bool {
	_, err := to.Write(b)
	return err == nil
}

// admit waits until the way is free and reports whether the bytes may pass.
func (p *Proxy) admit(c *conn, w Way, b []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.block[w] && !p.closed {
		p.turned.Wait()
	}
	if w == ToClient {
		if c.losing {
			p.lost++
		}
		return !c.losing
	}
	if p.match != nil {
		seen := append(c.tail, b...)
		if c.losing = bytes.Contains(seen, p.match); c.losing {
			p.match = nil
		} else {
			c.tail = append([]byte(nil), seen[max(0, len(seen)-len(p.match)+1):]...)
		}
	}
	return true
}

// Package transport carries the requests of load tests.
//
// The Go package is no API: it may change with any release.
package transport

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"time"
)

// Conn is a transport of one connection for one goroutine. The transport of net/http spends two goroutines and four
// handovers on each request to be shared. On two cores that the daemon has to share with the load test, the test costs a
// quarter more processor time with it, and submits 30 % fewer tasks a second (parkd loadtest -n 20000 --work 100us -u 1000,
// paired runs).
//
// A Conn speaks no TLS and uses no proxy. An answer has to be read to its end before the next request. A connection that
// breaks is made anew by the next request; the one that it broke under is not sent again.
type Conn struct {
	ctx  context.Context
	conn net.Conn
	in   *bufio.Reader
	out  *bufio.Writer
	last bool // the answer under way is the connection's last
	stop func() bool
}

// NewConn returns a connection that is made with the first request, and closed when ctx ends.
func NewConn(ctx context.Context) *Conn { return &Conn{ctx: ctx} }

// RoundTrip implements [http.RoundTripper].
func (k *Conn) RoundTrip(r *http.Request) (*http.Response, error) {
	if k.last {
		k.Close()
	}
	if k.conn == nil {
		if err := k.dial(r.URL.Host); err != nil {
			return nil, err
		}
	}
	until, _ := r.Context().Deadline() // without one, the zero time: none
	_ = k.conn.SetDeadline(until)
	answer, err := k.exchange(r)
	if err != nil {
		k.Close()
		return nil, err
	}
	k.last = answer.Close
	return answer, nil
}

func (k *Conn) exchange(r *http.Request) (*http.Response, error) {
	if err := r.Write(k.out); err != nil {
		return nil, err
	}
	if err := k.out.Flush(); err != nil {
		return nil, err
	}
	return http.ReadResponse(k.in, r)
}

func (k *Conn) dial(addr string) error {
	conn, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(k.ctx, "tcp", addr)
	if err != nil {
		return err
	}
	k.conn, k.in, k.out = conn, bufio.NewReader(conn), bufio.NewWriter(conn)
	k.stop = context.AfterFunc(k.ctx, func() { _ = conn.Close() })
	return nil
}

// Close closes the connection.
func (k *Conn) Close() {
	if k.conn != nil {
		k.stop()
		_ = k.conn.Close()
		k.conn, k.last = nil, false
	}
}

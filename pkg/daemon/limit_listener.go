package daemon

import (
	"bufio"
	"container/list"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// limitListener is a listener with a limit of open connections. At the limit a new connection replaces the one that has been
// idle for the longest. If none is idle, the new one is answered at once that the daemon is overloaded.
type limitListener struct {
	net.Listener
	limit int

	mu        sync.Mutex
	open      int
	idle      list.List // of *limitedConn, the longest idle in front
	rejecting int       // connections that are being answered that the daemon is overloaded
	rejected  int64
}

// limitedConn is a connection that counts toward the limit.
type limitedConn struct {
	net.Conn
	listener *limitListener
	idleElem *list.Element // in listener.idle; nil if the connection is active
	released bool
}

// maxRejecting bounds how many connections are answered at once that the daemon is overloaded. Further ones are only closed.
const maxRejecting = 16

func newLimitListener(l net.Listener, limit int) *limitListener {
	return &limitListener{Listener: l, limit: limit}
}

// Accept implements [net.Listener].
func (l *limitListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			if outOfDescriptors(err) {
				l.closeIdle()
			}
			return nil, err
		}
		v, oldest := l.admit(conn)
		if oldest != nil {
			_ = oldest.Close()
		}
		if v != nil {
			return v, nil
		}
	}
}

// admit admits a connection. oldest, if not nil, has to be closed for it; admitted is nil if the connection was rejected.
func (l *limitListener) admit(conn net.Conn) (admitted, oldest *limitedConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open >= l.limit {
		if oldest = l.popIdle(); oldest == nil {
			l.reject(conn)
			return nil, nil
		}
	}
	l.open++
	admitted = &limitedConn{Conn: conn, listener: l}
	admitted.idleElem = l.idle.PushBack(admitted) // until its first request
	return admitted, oldest
}

// popIdle removes the connection that has been idle for the longest; nil if none is idle.
func (l *limitListener) popIdle() *limitedConn {
	front := l.idle.Front()
	if front == nil {
		return nil
	}
	v := l.idle.Remove(front).(*limitedConn)
	v.idleElem = nil
	l.release(v)
	return v
}

func (l *limitListener) release(c *limitedConn) {
	if !c.released {
		c.released = true
		l.open--
	}
}

// closeIdle closes the connection that has been idle for the longest, to free its descriptor.
func (l *limitListener) closeIdle() {
	l.mu.Lock()
	v := l.popIdle()
	l.mu.Unlock()
	if v != nil {
		_ = v.Close()
	}
}

// Close implements [net.Conn].
func (c *limitedConn) Close() error {
	l := c.listener
	l.mu.Lock()
	if c.idleElem != nil {
		l.idle.Remove(c.idleElem)
		c.idleElem = nil
	}
	l.release(c)
	l.mu.Unlock()
	return c.Conn.Close()
}

// CloseWrite lets net/http close a connection without losing its last answer.
func (c *limitedConn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return errors.ErrUnsupported
}

// connStateChanged is the server's ConnState: it tracks which connections are idle.
func connStateChanged(conn net.Conn, state http.ConnState) {
	c, ok := conn.(*limitedConn)
	if !ok {
		return
	}
	l := c.listener
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case c.released:
	case state == http.StateIdle && c.idleElem == nil:
		c.idleElem = l.idle.PushBack(c)
	case state == http.StateActive && c.idleElem != nil:
		l.idle.Remove(c.idleElem)
		c.idleElem = nil
	}
}

// counts returns how many connections are open, and how many were rejected so far.
func (l *limitListener) counts() (open int, rejected int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open, l.rejected
}

// reject answers a connection beyond the limit, or closes it.
func (l *limitListener) reject(conn net.Conn) {
	l.rejected++
	if l.rejecting >= maxRejecting {
		_ = conn.Close()
		return
	}
	l.rejecting++
	go func() {
		writeOverloaded(conn)
		l.mu.Lock()
		l.rejecting--
		l.mu.Unlock()
	}()
}

// rejectTimeout bounds how long it may take to answer a rejected connection.
const rejectTimeout = time.Second

// writeOverloaded reads the head of a request, because the answer would be lost otherwise, answers, and closes.
func writeOverloaded(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(rejectTimeout))
	head := bufio.NewReader(io.LimitReader(conn, 16<<10))
	for {
		line, err := head.ReadString('\n')
		if err != nil {
			return
		}
		if strings.TrimRight(line, "\r\n") == "" {
			break
		}
	}
	const body = `{"type":"urn:parkd:problem:overloaded","title":"The daemon is overloaded","status":503,` +
		`"detail":"too many connections: all that the daemon allows are in use","code":"overloaded","retryAfterSecs":1}` + "\n"
	_, _ = io.WriteString(conn, "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nRetry-After: 1\r\n"+
		"Connection: close\r\nContent-Length: "+strconv.Itoa(len(body))+"\r\n\r\n"+body)
	if c, ok := conn.(interface{ CloseWrite() error }); ok && c.CloseWrite() == nil {
		_, _ = io.Copy(io.Discard, io.LimitReader(conn, 1<<20))
	}
}

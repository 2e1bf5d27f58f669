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

// door is a listener that lets in so many connections and no more. Where there is no room, the connection that has rested
// for the longest makes some; where none rests, the new one is told to come back, and is not kept waiting.
type door struct {
	net.Listener
	most int

	mu      sync.Mutex
	open    int
	resting list.List // of *visitor, the one that has rested for the longest in front
	turning int       // connections that are being turned away
	refused int64
}

// visitor is a connection that was let in.
type visitor struct {
	net.Conn
	door *door
	rest *list.Element // in resting; nil where it works
	gone bool
}

// maxTurning bounds how many connections are told at once that there is no room. Beyond that they are closed untold.
const maxTurning = 16

func newDoor(l net.Listener, most int) *door { return &door{Listener: l, most: most} }

// Accept implements [net.Listener].
func (d *door) Accept() (net.Conn, error) {
	for {
		conn, err := d.Listener.Accept()
		if err != nil {
			if isShort(err) {
				d.evict()
			}
			return nil, err
		}
		v, oldest := d.enter(conn)
		if oldest != nil {
			_ = oldest.Close()
		}
		if v != nil {
			return v, nil
		}
	}
}

// enter makes a visitor of a connection, at the cost of another one if need be; nil where it is turned away.
func (d *door) enter(conn net.Conn) (v, oldest *visitor) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open >= d.most {
		if oldest = d.oldest(); oldest == nil {
			d.turnAway(conn)
			return nil, nil
		}
	}
	d.open++
	v = &visitor{Conn: conn, door: d}
	v.rest = d.resting.PushBack(v) // until its first request
	return v, oldest
}

// oldest takes out who has rested for the longest; nil where nobody rests.
func (d *door) oldest() *visitor {
	front := d.resting.Front()
	if front == nil {
		return nil
	}
	v := d.resting.Remove(front).(*visitor)
	v.rest = nil
	d.left(v)
	return v
}

func (d *door) left(v *visitor) {
	if !v.gone {
		v.gone = true
		d.open--
	}
}

// evict closes who has rested for the longest, for its descriptor.
func (d *door) evict() {
	d.mu.Lock()
	v := d.oldest()
	d.mu.Unlock()
	if v != nil {
		_ = v.Close()
	}
}

// Close implements [net.Conn].
func (v *visitor) Close() error {
	d := v.door
	d.mu.Lock()
	if v.rest != nil {
		d.resting.Remove(v.rest)
		v.rest = nil
	}
	d.left(v)
	d.mu.Unlock()
	return v.Conn.Close()
}

// CloseWrite has net/http end a connection so that its last answer arrives.
func (v *visitor) CloseWrite() error {
	if c, ok := v.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return errors.ErrUnsupported
}

// changed is the server's ConnState: it says who rests.
func changed(c net.Conn, to http.ConnState) {
	v, ok := c.(*visitor)
	if !ok {
		return
	}
	d := v.door
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case v.gone:
	case to == http.StateIdle && v.rest == nil:
		v.rest = d.resting.PushBack(v)
	case to == http.StateActive && v.rest != nil:
		d.resting.Remove(v.rest)
		v.rest = nil
	}
}

// counts returns how many connections are open, and how many were turned away so far.
func (d *door) counts() (open int, refused int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.open, d.refused
}

// turnAway answers a connection that there is no room for.
func (d *door) turnAway(conn net.Conn) {
	d.refused++
	if d.turning >= maxTurning {
		_ = conn.Close()
		return
	}
	d.turning++
	go func() {
		sayFull(conn)
		d.mu.Lock()
		d.turning--
		d.mu.Unlock()
	}()
}

// fullWithin bounds how long a connection is kept to be told that there is no room.
const fullWithin = time.Second

// sayFull reads the head of a request, without which the answer would be lost, answers, and closes.
func sayFull(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(fullWithin))
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

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

// gate stands between a store and its server, and can be shut in several ways.
type gate struct {
	testing.TB
	server string // its socket
	dsn    string
	listen net.Listener
	all    sync.WaitGroup

	mu    sync.Mutex
	open  map[net.Conn]bool
	lanes int
	shut  bool
	stall bool   // connections are taken, and nothing is passed on
	cut   int    // after so many more bytes of the server's, a connection breaks; 0: none does
	deaf  string // the reply to what has this in it is lost, and the gate shut
}

func newGate(t testing.TB, dsn string) *gate {
	t.Helper()
	g := &gate{TB: t, open: make(map[net.Conn]bool)}
	var err error
	// Over TCP, where what is sent after the other side has gone may seem to have been sent.
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
	g.all.Go(g.accept)
	t.Cleanup(func() {
		_ = g.listen.Close()
		g.set(func() { g.shut = true })
		g.all.Wait()
	})
	return g
}

// set changes the gate. A shut one has no open connections.
func (g *gate) set(change func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change()
	if g.shut {
		for c := range g.open {
			_ = c.Close()
		}
	}
}

// close shuts the gate and returns when nothing is left open.
func (g *gate) close() {
	for left := 1; left > 0; time.Sleep(time.Millisecond) {
		g.set(func() {
			g.shut = true
			left = g.lanes
		})
	}
}

func (g *gate) accept() {
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
		if g.shut {
			_, _ = c.Close(), s.Close()
		} else {
			g.open[c], g.open[s] = true, true
			g.lanes += 2
			l := &lane{gate: g}
			g.all.Go(func() { l.carry(s, c, true) })
			g.all.Go(func() { l.carry(c, s, false) })
		}
		g.mu.Unlock()
	}
}

// lane is one connection through the gate.
type lane struct {
	*gate
	lose bool // the next thing that the server says, and all after it
}

// carry passes on what comes from one side.
func (l *lane) carry(to, from net.Conn, asks bool) {
	defer func() {
		_, _ = to.Close(), from.Close()
		l.mu.Lock()
		defer l.mu.Unlock()
		l.lanes--
		delete(l.open, to)
		delete(l.open, from)
	}()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if err != nil || !l.pass(b[:n], asks) {
			return
		}
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}

// pass decides about what was read; it may wait.
func (l *lane) pass(said []byte, asks bool) bool {
	for l.stalled() {
		time.Sleep(time.Millisecond)
	}
	if !asks && l.lost() {
		l.set(func() { l.shut = true })
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if asks && l.deaf != "" && bytes.Contains(said, []byte(l.deaf)) {
		l.deaf, l.lose = "", true
	}
	if !asks && l.cut > 0 {
		if l.cut -= len(said); l.cut <= 0 {
			l.cut = 0
			return false
		}
	}
	return !l.shut
}

func (l *lane) stalled() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stall && !l.shut
}

func (l *lane) lost() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lose
}

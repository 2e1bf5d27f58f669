package faultproxy_test

import (
	"bufio"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/proof/faultproxy"
)

// patience ends what would never end.
const patience = 2 * time.Minute

// echo is a server that answers each line with the line and counts them.
type echo struct {
	listen net.Listener
	lines  atomic.Int64
}

func newEcho(t *testing.T, path string) *echo {
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	e := &echo{listen: l}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go e.serve(c)
		}
	}()
	return e
}

func (e *echo) serve(c net.Conn) {
	defer c.Close()
	for lines := bufio.NewReader(c); ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		e.lines.Add(1)
		if _, err := io.WriteString(c, line); err != nil {
			return
		}
	}
}

type bench struct {
	*testing.T
	echo  *echo
	proxy *faultproxy.Proxy
	at    string
}

func newBench(t *testing.T) *bench {
	dir := t.TempDir()
	b := &bench{T: t, echo: newEcho(t, filepath.Join(dir, "server")), at: filepath.Join(dir, "proxy")}
	var err error
	if b.proxy, err = faultproxy.New(b.at, filepath.Join(dir, "server")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.proxy.Close)
	return b
}

func (b *bench) dial() net.Conn {
	c, err := net.Dial("unix", b.at)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		b.Fatal(err)
	}
	return c
}

// ask sends a line and returns the answer, "" where the connection ends without one.
func (b *bench) ask(c net.Conn, line string) string {
	if _, err := io.WriteString(c, line+"\n"); err != nil {
		return ""
	}
	answer, _ := bufio.NewReader(c).ReadString('\n')
	return strings.TrimSpace(answer)
}

func TestPassesOn(t *testing.T) {
	b := newBench(t)
	if got := b.ask(b.dial(), "hello"); got != "hello" {
		t.Errorf("got %q", got)
	}
}

func TestLosesTheReplyOfWhatMatches(t *testing.T) {
	b := newBench(t)
	b.proxy.LoseReply([]byte("commit"))
	c := b.dial()
	if got := b.ask(c, "begin"); got != "begin" {
		t.Errorf("got %q of what does not match", got)
	}
	if _, err := io.WriteString(c, "com"); err != nil { // in two halves
		t.Fatal(err)
	}
	if got := b.ask(c, "mit"); got != "" {
		t.Errorf("got the reply %q", got)
	}
	if n := b.echo.lines.Load(); n != 2 || b.proxy.Lost() != 1 {
		t.Errorf("the server got %d lines, %d replies were lost", n, b.proxy.Lost())
	}
	if got := b.ask(b.dial(), "commit"); got != "commit" {
		t.Errorf("got %q once it was over", got)
	}
}

func TestBlocksOneWay(t *testing.T) {
	for way, arrives := range map[faultproxy.Direction]int64{faultproxy.ToServer: 0, faultproxy.ToClient: 1} {
		b := newBench(t)
		c := b.dial()
		b.ask(c, "one")
		b.proxy.Block(way, true)
		answer := make(chan string)
		go func() { answer <- b.ask(c, "two") }()
		for began := time.Now(); b.echo.lines.Load() < 1+arrives; time.Sleep(time.Millisecond) {
			if time.Since(began) > patience {
				t.Fatalf("way %d: the server has not heard of the second line after %s", way, patience)
			}
		}
		select {
		case got := <-answer:
			t.Errorf("got %q through a blocked way", got)
		case <-time.After(20 * time.Millisecond):
		}
		b.proxy.Block(way, false)
		if got := <-answer; got != "two" {
			t.Errorf("got %q after the block", got)
		}
	}
}

func TestCutsAndRefuses(t *testing.T) {
	b := newBench(t)
	c := b.dial()
	b.ask(c, "one")
	b.proxy.Refuse(true)
	b.proxy.Cut()
	if got := b.ask(c, "two"); got != "" {
		t.Errorf("got %q over a connection that was cut", got)
	}
	if got := b.ask(b.dial(), "three"); got != "" {
		t.Errorf("got %q over a connection that was refused", got)
	}
	b.proxy.Refuse(false)
	if got := b.ask(b.dial(), "four"); got != "four" {
		t.Errorf("got %q once it was over", got)
	}
}

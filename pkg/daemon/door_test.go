package daemon

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/parkd-dev/parkd/pkg/config"
	"github.com/parkd-dev/parkd/pkg/park"
)

// guests dials a door and speaks HTTP by hand.
type guests struct {
	*testing.T
	network, at string
}

func (g guests) dial() (net.Conn, *bufio.Reader) {
	g.Helper()
	var d net.Dialer
	conn, err := d.DialContext(g.Context(), g.network, g.at)
	if err != nil {
		g.Fatal(err)
	}
	g.Cleanup(func() { conn.Close() })
	return conn, bufio.NewReader(conn)
}

// ask sends a request on a connection of its own.
func (g guests) ask(path string) *bufio.Reader {
	g.Helper()
	conn, back := g.dial()
	if _, err := io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		g.Fatal(err)
	}
	return back
}

// answered returns the status of an answer and, of a problem, its code.
func (g guests) answered(back *bufio.Reader) (status int, code park.Code, header http.Header) {
	g.Helper()
	resp, err := http.ReadResponse(back, nil)
	if err != nil {
		g.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		g.Fatal(err)
	}
	var p struct {
		Code   park.Code
		Title  string
		Status int
	}
	if resp.StatusCode >= 400 {
		if err := json.Unmarshal(b, &p); err != nil || p.Status != resp.StatusCode || p.Title != p.Code.Title() || p.Code.HTTPStatus() != p.Status {
			g.Errorf("%s %s, %v", resp.Status, b, err)
		}
	}
	return resp.StatusCode, p.Code, resp.Header
}

// opened serves h behind a door for so many.
func opened(t *testing.T, most int, h http.HandlerFunc) (*door, guests) {
	t.Helper()
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := newDoor(ln, most)
	s := &http.Server{Handler: h, ConnState: changed}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(d)
	}()
	t.Cleanup(func() {
		_ = s.Close()
		<-done
	})
	return d, guests{t, "tcp", ln.Addr().String()}
}

// TestIdleConnectionsMakeRoom: however many connections do nothing, the next request is answered, and those that had
// rested for the longest are closed.
func TestIdleConnectionsMakeRoom(t *testing.T) {
	const most = 5
	d, g := opened(t, most, func(http.ResponseWriter, *http.Request) {})
	first, back := g.dial()
	for range 4 * most {
		g.dial()
	}
	if status, _, _ := g.answered(g.ask("/")); status != 200 {
		t.Errorf("a request beside connections that never sent one: %d", status)
	}
	if _, err := back.ReadByte(); err == nil {
		t.Error("the first connection is open")
	}
	_ = first
	for range 4 * most { // each stays open after its answer
		if status, _, _ := g.answered(g.ask("/")); status != 200 {
			t.Errorf("a request beside connections that rest: %d", status)
		}
	}
	if open, refused := d.counts(); open > most || refused > 0 {
		t.Errorf("%d connections are open, %d were turned away", open, refused)
	}
}

// TestBusyConnectionsStay: where all are at work the next one is told so, and to come back.
func TestBusyConnectionsStay(t *testing.T) {
	const most = 5
	began, end := make(chan struct{}), make(chan struct{})
	d, g := opened(t, most, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			began <- struct{}{}
			<-end
		}
	})
	var waiting []*bufio.Reader
	for range most {
		waiting = append(waiting, g.ask("/wait"))
		<-began
	}
	for range 3 {
		status, code, header := g.answered(g.ask("/"))
		if status != 503 || code != park.Overloaded || header.Get("Retry-After") == "" {
			t.Errorf("%d %s %v", status, code, header)
		}
	}
	close(end)
	for _, back := range waiting {
		if status, _, _ := g.answered(back); status != 200 {
			t.Errorf("who was there before: %d", status)
		}
	}
	if status, _, _ := g.answered(g.ask("/")); status != 200 {
		t.Errorf("afterwards: %d", status)
	}
	if _, refused := d.counts(); refused != 3 {
		t.Errorf("%d were turned away", refused)
	}
}

func TestShareOut(t *testing.T) {
	for descriptors, want := range map[uint64]room{
		64: {minRoom, minRoom}, 256: {52, 12}, 1024: {512, 128}, 4096: {2356, 588}, 1 << 20: {maxTCP, maxUnix}, 1 << 63: {maxTCP, maxUnix},
	} {
		if got := shareOut(descriptors); got.unix != want.unix || got.tcp < want.tcp-1 || got.tcp > want.tcp+1 {
			t.Errorf("of %d descriptors %+v, want %+v", descriptors, got, want)
		}
	}
}

// TestSocketServesWhileTCPIsFull: a flood of connections that wait and that do nothing costs a few descriptors, and the
// daemon's owner gets in by the socket.
func TestSocketServesWhileTCPIsFull(t *testing.T) {
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &was) })
	few := was
	few.Cur = 512
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	share := shareOut(512)
	l := runDaemon(t, &config.Config{})
	tcp := guests{t, "tcp", strings.TrimPrefix(l.URL, "http://")}
	waits := crowd(share.tcp).Waits
	answers := make(chan *bufio.Reader, waits+1)
	for range waits + 1 { // one too many, whichever comes last
		back := tcp.ask("/mailbox/t/k?wait=10m")
		go func() {
			if _, err := back.Peek(1); err == nil {
				answers <- back
			}
		}()
	}
	if _, code, header := tcp.answered(<-answers); code != park.Overloaded || header.Get("Retry-After") == "" {
		t.Errorf("one wait too many: %s %v", code, header)
	}
	for range share.tcp - waits + 10 {
		tcp.dial()
	}
	if status, _, _ := tcp.answered(tcp.ask("/pools")); status != 200 {
		t.Errorf("over TCP: %d", status)
	}
	if status, _, _ := (guests{t, "unix", l.Socket}).answered((guests{t, "unix", l.Socket}).ask("/pools")); status != 200 {
		t.Errorf("by the socket: %d", status)
	}
}

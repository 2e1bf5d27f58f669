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

// rawClient dials a listener and sends HTTP requests without a client library.
type rawClient struct {
	*testing.T
	network, addr string
}

func (g rawClient) dial() (net.Conn, *bufio.Reader) {
	g.Helper()
	var d net.Dialer
	conn, err := d.DialContext(g.Context(), g.network, g.addr)
	if err != nil {
		g.Fatal(err)
	}
	g.Cleanup(func() { conn.Close() })
	return conn, bufio.NewReader(conn)
}

// send sends a request on a new connection.
func (g rawClient) send(path string) *bufio.Reader {
	g.Helper()
	conn, back := g.dial()
	if _, err := io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		g.Fatal(err)
	}
	return back
}

// readResponse returns the status of a response and, for a problem, its code.
func (g rawClient) readResponse(back *bufio.Reader) (status int, code park.Code, header http.Header) {
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

// serveLimited serves h behind a limitListener.
func serveLimited(t *testing.T, limit int, h http.HandlerFunc) (*limitListener, rawClient) {
	t.Helper()
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := newLimitListener(ln, limit)
	s := &http.Server{Handler: h, ConnState: connStateChanged}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(d)
	}()
	t.Cleanup(func() {
		_ = s.Close()
		<-done
	})
	return d, rawClient{t, "tcp", ln.Addr().String()}
}

// TestIdleConnectionsMakeRoom: idle connections never keep a request from being answered; the longest idle ones are
// closed.
func TestIdleConnectionsMakeRoom(t *testing.T) {
	const most = 5
	d, g := serveLimited(t, most, func(http.ResponseWriter, *http.Request) {})
	first, back := g.dial()
	for range 4 * most {
		g.dial()
	}
	if status, _, _ := g.readResponse(g.send("/")); status != 200 {
		t.Errorf("a request beside connections that never sent one: %d", status)
	}
	if _, err := back.ReadByte(); err == nil {
		t.Error("the first connection is open")
	}
	_ = first
	for range 4 * most { // each stays open after its answer
		if status, _, _ := g.readResponse(g.send("/")); status != 200 {
			t.Errorf("a request beside connections that rest: %d", status)
		}
	}
	if open, refused := d.counts(); open > most || refused > 0 {
		t.Errorf("%d connections are open, %d were turned away", open, refused)
	}
}

// TestBusyConnectionsStay: if all connections are active, a new one is answered that the daemon is overloaded.
func TestBusyConnectionsStay(t *testing.T) {
	const most = 5
	began, end := make(chan struct{}), make(chan struct{})
	d, g := serveLimited(t, most, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			began <- struct{}{}
			<-end
		}
	})
	var waiting []*bufio.Reader
	for range most {
		waiting = append(waiting, g.send("/wait"))
		<-began
	}
	for range 3 {
		status, code, header := g.readResponse(g.send("/"))
		if status != 503 || code != park.Overloaded || header.Get("Retry-After") == "" {
			t.Errorf("%d %s %v", status, code, header)
		}
	}
	close(end)
	for _, back := range waiting {
		if status, _, _ := g.readResponse(back); status != 200 {
			t.Errorf("who was there before: %d", status)
		}
	}
	if status, _, _ := g.readResponse(g.send("/")); status != 200 {
		t.Errorf("afterwards: %d", status)
	}
	if _, refused := d.counts(); refused != 3 {
		t.Errorf("%d were turned away", refused)
	}
}

func TestShareOut(t *testing.T) {
	for descriptors, want := range map[uint64]connLimits{
		64: {minConns, minConns}, 256: {52, 12}, 1024: {512, 128}, 4096: {2356, 588}, 1 << 20: {maxTCP, maxUnix}, 1 << 63: {maxTCP, maxUnix},
	} {
		if got := connLimitsFor(descriptors); got.unix != want.unix || got.tcp < want.tcp-1 || got.tcp > want.tcp+1 {
			t.Errorf("of %d descriptors %+v, want %+v", descriptors, got, want)
		}
	}
}

// TestSocketServesWhileTCPIsFull: a flood of waiting and idle TCP connections uses a limited number of descriptors, and
// the daemon's owner can still connect through the socket.
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
	share := connLimitsFor(512)
	l := runDaemon(t, &config.Config{})
	tcp := rawClient{t, "tcp", strings.TrimPrefix(l.URL, "http://")}
	waits := heldLimits(share.tcp).Waits
	answers := make(chan *bufio.Reader, waits+1)
	for range waits + 1 { // one too many, whichever comes last
		back := tcp.send("/mailbox/t/k?wait=10m")
		go func() {
			if _, err := back.Peek(1); err == nil {
				answers <- back
			}
		}()
	}
	if _, code, header := tcp.readResponse(<-answers); code != park.Overloaded || header.Get("Retry-After") == "" {
		t.Errorf("one wait too many: %s %v", code, header)
	}
	for range share.tcp - waits + 10 {
		tcp.dial()
	}
	if status, _, _ := tcp.readResponse(tcp.send("/pools")); status != 200 {
		t.Errorf("over TCP: %d", status)
	}
	if status, _, _ := (rawClient{t, "unix", l.Socket}).readResponse((rawClient{t, "unix", l.Socket}).send("/pools")); status != 200 {
		t.Errorf("by the socket: %d", status)
	}
}

package api

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// raw sends bytes and returns a reader of what comes back.
func raw(t *testing.T, s *httptest.Server, text string) (net.Conn, *bufio.Reader) {
	t.Helper()
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	return conn, bufio.NewReader(conn)
}

// TestAmbiguousFraming: what two readers could take for two things is refused.
func TestAmbiguousFraming(t *testing.T) {
	s := serve(t, newAPI(t, Config{Service: untouched{}}))
	const post = "POST /pools/p/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
	for name, text := range map[string]string{
		"two lengths":             post + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
		"bad length":              post + "Content-Length: +2\r\n\r\n{}",
		"unknown encoding":        post + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		"space before the colon":  "GET /pools HTTP/1.1\r\nHost : localhost\r\n\r\n",
		"two hosts":               "GET /pools HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
		"no host":                 "GET /pools HTTP/1.1\r\n\r\n",
		"no host of old":          "GET /pools HTTP/1.0\r\n\r\n",
		"absolute and foreign":    "GET http://evil.example/pools HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"connect":                 "CONNECT localhost:7275 HTTP/1.1\r\nHost: evil.example\r\n\r\n",
		"options of all, foreign": "OPTIONS * HTTP/1.1\r\nHost: evil.example\r\n\r\n",
		"long headers":            "GET /pools HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", 32<<10) + "\r\n\r\n",
		"bad chunk":               post + "Transfer-Encoding: chunked\r\n\r\n2\n{}\r\n0\r\n\r\n",
	} {
		_, back := raw(t, s, text)
		resp, err := http.ReadResponse(back, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		resp.Body.Close()
		if resp.StatusCode < 400 || resp.StatusCode >= 500 && resp.StatusCode != http.StatusNotImplemented {
			t.Errorf("%s: %s", name, resp.Status)
		}
	}
}

// TestSlowBodyIsGivenUp: a body that does not come holds nobody for ever, whether it is read or not.
func TestSlowBodyIsGivenUp(t *testing.T) {
	a := newAPI(t, Config{})
	s := paced(t, a, func(d time.Duration) time.Duration { return d / 1000 })
	for _, line := range []string{"POST /pools/work/tasks", "GET /pools", "DELETE /nowhere"} {
		_, back := raw(t, s, line+" HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
		resp, err := http.ReadResponse(back, nil)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if strings.HasPrefix(line, "POST") && !strings.Contains(string(b), "did not arrive within") {
			t.Errorf("%s: %s %s", line, resp.Status, b)
		}
		if _, err := back.ReadByte(); err == nil {
			t.Errorf("%s: the connection goes on", line)
		}
	}
}

// paced serves a with other times for reading than its own.
func paced(t *testing.T, a *API, pace func(time.Duration) time.Duration) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(nil)
	s.Config = Server(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.TCP().ServeHTTP(&pacedReader{w, pace}, r)
	}), nil)
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// pacedReader is a connection whose time for reading runs at another pace.
type pacedReader struct {
	http.ResponseWriter
	pace func(time.Duration) time.Duration
}

func (p *pacedReader) Unwrap() http.ResponseWriter { return p.ResponseWriter }

func (p *pacedReader) SetReadDeadline(at time.Time) error {
	if left := time.Until(at); left > 0 {
		at = time.Now().Add(p.pace(left))
	}
	return http.NewResponseController(p.ResponseWriter).SetReadDeadline(at)
}

// TestOverlongBodyIsNotWaitedFor: the answer comes before the body has.
func TestOverlongBodyIsNotWaitedFor(t *testing.T) {
	s := serve(t, newAPI(t, Config{}))
	_, back := raw(t, s, fmt.Sprintf("POST /pools/work/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", 1<<30))
	resp, err := http.ReadResponse(back, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != park.PayloadTooLarge.HTTPStatus() || !resp.Close {
		t.Errorf("%s, close %v", resp.Status, resp.Close)
	}
}

// TestOverlongBodyIsAnswered: also who sends all before it reads learns why it is refused, however long its body.
func TestOverlongBodyIsAnswered(t *testing.T) {
	// The daemon hears so long a body out for some seconds only, in which a busy machine may not have sent it all.
	s := paced(t, newAPI(t, Config{}), func(d time.Duration) time.Duration { return 60 * d })
	chunk := strings.Repeat("x", 1<<20)
	for name, c := range map[string]struct{ header, before, after string }{
		"of a length":  {fmt.Sprintf("Content-Length: %d", 64<<20), "", ""},
		"of no length": {"Transfer-Encoding: chunked", "100000\r\n", "\r\n"},
	} {
		conn, back := raw(t, s, "POST /pools/work/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"+c.header+"\r\n\r\n")
		for range 64 {
			if _, err := io.WriteString(conn, c.before+chunk+c.after); err != nil {
				t.Fatalf("a body %s: %v", name, err)
			}
		}
		resp, err := http.ReadResponse(back, nil)
		if err != nil {
			t.Fatalf("a body %s: %v", name, err)
		}
		resp.Body.Close()
		if resp.StatusCode != park.PayloadTooLarge.HTTPStatus() {
			t.Errorf("a body %s: %s", name, resp.Status)
		}
	}
}

// TestConnectionsAreUsedAgain: after every kind of answer, long after a write's time has run out.
func TestConnectionsAreUsedAgain(t *testing.T) {
	t.Parallel()
	a := newAPI(t, Config{})
	s := httptest.NewUnstartedServer(nil)
	s.Config = Server(a.TCP(), nil)
	s.Config.WriteTimeout = 3 * time.Second
	s.Start()
	t.Cleanup(s.Close)
	conn, back := raw(t, s, "")
	for _, line := range []string{
		"POST /pools/work/tasks", "GET /pools", "DELETE /mailbox/t/k?upTo=1", "GET /nowhere", "GET /openapi.json",
		// Longer than the write's time: it counts from when there is something to write.
		"GET /mailbox/t/k?wait=4s", "GET /mailbox/t/k?wait=4s",
	} {
		if _, err := io.WriteString(conn, line+" HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		resp, err := http.ReadResponse(back, nil)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if err != nil || resp.Close {
			t.Errorf("%s: %v, close %v", line, err, resp.Close)
		}
	}
}

// TestServerBounds: a request may last, its parts may not.
func TestServerBounds(t *testing.T) {
	s := Server(http.NotFoundHandler(), nil)
	if s.ReadHeaderTimeout != 5*time.Second || s.MaxHeaderBytes != 16<<10 || s.IdleTimeout <= 0 || s.ReadTimeout != 0 || !s.DisableGeneralOptionsHandler {
		t.Errorf("%+v", s)
	}
}

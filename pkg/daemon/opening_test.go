package daemon

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/config"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store/postgres/pgtest"
)

// cluster is the Postgres server of the tests that need one.
var cluster pgtest.Cluster

func TestMain(m *testing.M) { os.Exit(cluster.Run(m)) }

// testTimeout bounds every wait.
const testTimeout = time.Minute

func httpRequest(t *testing.T, c *http.Client, method, url string) (status int, body string, h http.Header) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(""))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(b), answer.Header
}

// socketClient returns a client that connects to a daemon's socket.
func socketClient(path string) *http.Client {
	return &http.Client{Timeout: testTimeout, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}}}
}

// TestAnswersWhileOpening: a daemon answers while it still loads its pools, and its connections stay open when it is
// ready.
func TestAnswersWhileOpening(t *testing.T) {
	for name, tokens := range map[string][]config.Token{"open": nil, "with tokens": {{Name: "a"}}} {
		t.Run(name, func(t *testing.T) { answersWhileOpening(t, tokens) })
	}
}

func answersWhileOpening(t *testing.T, tokens []config.Token) {
	socket := filepath.Join(t.TempDir(), "s")
	c := memoryConfig("127.0.0.1:0", socket)
	c.Tokens = tokens
	ctx, stop := context.WithCancel(context.Background())
	opening, open := make(chan struct{}), make(chan struct{})
	ready, ended := make(chan Addresses, 1), make(chan error, 1)
	go func() {
		ended <- run(ctx, c, Options{Log: slog.New(slog.DiscardHandler), Ready: func(l Addresses) { ready <- l }},
			func(ctx context.Context, c *config.Config, log *slog.Logger) (*parts, error) {
				close(opening)
				<-open
				return openParts(ctx, c, log)
			})
	}()
	<-opening
	client := socketClient(socket)
	for _, q := range []struct {
		method, path, want string
		status             int
	}{
		{"GET", "/livez", "ok", 200},
		{"HEAD", "/livez", "", 200},
		{"GET", "/readyz", "not ready", 503},
		{"GET", "/health", `"code":"storage_unavailable"`, 503},
		{"GET", "/pools", `"code":"storage_unavailable"`, 503},
		{"POST", "/pools/sim/tasks", `"code":"storage_unavailable"`, 503},
		{"GET", "/events", `"code":"storage_unavailable"`, 503},
		{"GET", "/metrics", `"code":"storage_unavailable"`, 503},
		{"GET", "/nowhere", `"code":"storage_unavailable"`, 503},
	} {
		status, body, h := httpRequest(t, client, q.method, "http://parkd"+q.path)
		if status != q.status || !strings.Contains(body, q.want) || q.status == 503 && h.Get("Retry-After") == "" {
			t.Errorf("%s %s: %d %v %s", q.method, q.path, status, h, body)
		}
	}
	select {
	case <-ready:
		t.Error("ready before all is open")
	default:
	}
	close(open)
	at := <-ready
	kept := false
	traced := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { kept = i.Reused }})
	r, err := http.NewRequestWithContext(traced, http.MethodGet, "http://parkd/pools", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if b, err := io.ReadAll(answer.Body); err != nil || answer.StatusCode != 200 || !kept || !bytes.Contains(b, []byte(`"sim"`)) {
		t.Errorf("%v: %d %s, on the same connection: %v", err, answer.StatusCode, b, kept)
	}
	if status, body, _ := httpRequest(t, http.DefaultClient, "GET", at.URL+"/readyz"); status != 200 {
		t.Errorf("ready: %d %s", status, body)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestGuardedWhileOpening: access is checked before all parts are open as it is later.
func TestGuardedWhileOpening(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	c := memoryConfig("127.0.0.1:0", socket)
	c.Tokens = []config.Token{{Name: "a"}}
	l, err := listen(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	f, err := newServer(c, Options{Log: slog.New(slog.DiscardHandler)}, l)
	if err != nil {
		t.Fatal(err)
	}
	f.serve(t.Context())
	defer f.shutdown(t.Context())
	for path, want := range map[string]int{"/livez": 200, "/readyz": 503, "/pools": 401, "/metrics": 401} {
		if status, body, _ := httpRequest(t, http.DefaultClient, "GET", l.url()+path); status != want {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	if status, body, _ := httpRequest(t, http.DefaultClient, "GET", l.url()+"/readyz"); status != 503 || body != "not ready\n" {
		t.Errorf("without a token: %d %q", status, body)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, l.url()+"/livez", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Origin", "http://elsewhere.example")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if answer.Body.Close(); answer.StatusCode != 403 {
		t.Errorf("a foreign page: %d", answer.StatusCode)
	}
}

// TestStopWhileOpening: a daemon that is stopped before all parts are open waits for no database and returns no error.
func TestStopWhileOpening(t *testing.T) {
	dsn := cluster.Migrated(t)
	release, err := pgtest.Hold(t.Context(), dsn, "LOCK TABLE pl_pools")
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	c := memoryConfig("127.0.0.1:0", filepath.Join(t.TempDir(), "s"))
	c.Pools[0].Queue, c.Pools[0].Mailbox.Storage, c.Audit, c.Postgres.DSN = park.Postgres, park.Postgres, park.Postgres, dsn
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, c, Options{}) }()
	for until := time.Now().Add(testTimeout); ; time.Sleep(10 * time.Millisecond) {
		n, err := pgtest.QueryInt(t.Context(), dsn, "SELECT count(*) FROM pg_locks WHERE NOT granted")
		if err != nil || time.Now().After(until) {
			t.Fatalf("the daemon does not wait for the table: %v", err)
		}
		if n > 0 {
			break
		}
	}
	stop()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(testTimeout):
		t.Fatal("the daemon still waits for the table")
	}
}

// TestCannotOpen: a part that cannot be opened is an error, and nothing listens afterwards.
func TestCannotOpen(t *testing.T) {
	c := memoryConfig("127.0.0.1:0", filepath.Join(t.TempDir(), "s"))
	broken := errors.New("broken")
	err := run(t.Context(), c, Options{Log: slog.New(slog.DiscardHandler)}, func(context.Context, *config.Config, *slog.Logger) (*parts, error) { return nil, broken })
	if !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
	if _, err := net.Dial("unix", c.Socket); err == nil {
		t.Error("the socket is still there")
	}
}

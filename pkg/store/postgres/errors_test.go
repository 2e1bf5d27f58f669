package postgres_test

import (
	"errors"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/parkd-dev/parkd/pkg/store"
)

// TestHostsAreNamedOnce: an error names a host that is tried with TLS and without once, in one line.
func TestHostsAreNamedOnce(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := "127.0.0.1:" + strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	_ = l.Close()
	err = openAt(t, "postgres://parkd@"+at+"/parkd?sslmode=prefer").Check(t.Context())
	if err == nil {
		t.Fatal("there is no server")
	}
	text := err.Error()
	if n := strings.Count(text, at+" ("); n != 1 || strings.Contains(text, "\n") || strings.Count(text, "connection refused") != 1 {
		t.Errorf("%d times: %s", n, text)
	}
	if _, ok := errors.AsType[store.ServerError](err); ok {
		t.Errorf("nobody has said anything: %v", err)
	}
}

// TestServerIsQuoted: if the server refuses a connection, its reason is in the error, whatever calls add to it.
func TestServerIsQuoted(t *testing.T) {
	s := openAt(t, strings.Replace(cluster.Migrated(t), "dbname=", "dbname=not_", 1))
	_, load := s.Load(t.Context(), "gpu")
	_, records := s.Records(t.Context(), "gpu", []string{"a"})
	for _, err := range []error{s.Check(t.Context()), load, records} {
		said, ok := errors.AsType[store.ServerError](err)
		if !ok || !strings.HasPrefix(said.ServerMessage(), `database "not_`) {
			t.Errorf("%v", err)
		}
	}
}

package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"testing"

	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/memory"
	"github.com/parkd-dev/parkd/pkg/store/postgres"
	"github.com/parkd-dev/parkd/pkg/store/postgres/server"
	"github.com/parkd-dev/parkd/pkg/store/storetest"
)

// cluster is the server of this run of the tests; nil where none is installed.
var cluster *server.Server

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	cluster, err = server.Start(context.Background(), "fsync=off", "max_connections=300")
	switch {
	case errors.Is(err, server.ErrNotInstalled) && os.Getenv("PARKD_REQUIRE_POSTGRES") == "":
		fmt.Println("skipped:", err)
		return 0
	case err != nil:
		fmt.Println(err)
		return 1
	}
	defer func() { _ = cluster.Stop() }()
	dsn, err := cluster.Create(context.Background(), ready, empty)
	if err == nil {
		_, err = postgres.MigrateUp(context.Background(), dsn, false)
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return m.Run()
}

// The databases that those of the tests are copies of.
const (
	empty = "template1"
	ready = "ready"
)

var databases atomic.Int64

// newDSN returns the DSN of a new database.
func newDSN(t testing.TB, template string) string {
	t.Helper()
	dsn, err := cluster.Create(t.Context(), fmt.Sprintf("test_%d", databases.Add(1)), template)
	if err != nil {
		t.Fatal(err)
	}
	return dsn
}

func openAt(t testing.TB, dsn string) *postgres.Store {
	t.Helper()
	s, err := postgres.Open(postgres.Config{DSN: dsn})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func open(t testing.TB) store.Store { return openAt(t, newDSN(t, ready)) }

func TestStore(t *testing.T) { storetest.Run(t, open) }

func TestShared(t *testing.T) {
	storetest.RunShared(t, func(t testing.TB) (a, b store.Store) {
		dsn := newDSN(t, ready)
		return openAt(t, dsn), openAt(t, dsn)
	})
}

func TestDifferential(t *testing.T) {
	storetest.Differential(t, func(testing.TB) store.Store { return memory.New() }, open)
}

func BenchmarkCommit(b *testing.B) { storetest.Bench(b, open) }

func BenchmarkAudit(b *testing.B) { storetest.BenchAudit(b, open) }

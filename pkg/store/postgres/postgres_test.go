package postgres_test

import (
	"os"
	"testing"

	"github.com/parkd-dev/parkd/pkg/internal/storetest"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/postgres"
	"github.com/parkd-dev/parkd/pkg/store/postgres/pgtest"
)

var cluster pgtest.Cluster

func TestMain(m *testing.M) { os.Exit(cluster.Run(m)) }

func openAt(t testing.TB, dsn string) *postgres.Store {
	t.Helper()
	s, err := postgres.Open(postgres.Config{DSN: dsn})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func open(t testing.TB) store.Store { return openAt(t, cluster.Migrated(t)) }

func TestStore(t *testing.T) { storetest.Run(t, open) }

func TestShared(t *testing.T) {
	storetest.RunShared(t, func(t testing.TB) (a, b store.Store) {
		dsn := cluster.Migrated(t)
		return openAt(t, dsn), openAt(t, dsn)
	})
}

func TestNodes(t *testing.T) {
	storetest.RunNodes(t, func(t testing.TB) (a, b store.Store) {
		dsn := cluster.Migrated(t)
		return openAt(t, dsn), openAt(t, dsn)
	})
}

func BenchmarkCommit(b *testing.B) { storetest.Bench(b, open) }

func BenchmarkAudit(b *testing.B) { storetest.BenchAudit(b, open) }

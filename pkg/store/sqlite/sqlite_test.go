package sqlite_test

import (
	"path/filepath"
	"testing"

	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/sqlite"
	"github.com/parkd-dev/parkd/pkg/store/storetest"
)

func open(t testing.TB) store.Store { return openAt(t, filepath.Join(t.TempDir(), "parkd.db")) }

func openAt(t testing.TB, path string) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), sqlite.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestStore(t *testing.T) { storetest.Run(t, open) }

func BenchmarkCommit(b *testing.B) { storetest.Bench(b, open) }

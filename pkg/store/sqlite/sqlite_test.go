package sqlite_test

import (
	"path/filepath"
	"testing"

	"github.com/parkd-dev/parkd/pkg/internal/storetest"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/sqlite"
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

// reopening is a store that can be closed and opened again.
type reopening struct {
	*sqlite.Store
	t    testing.TB
	path string
}

func openReopening(t testing.TB) store.Store {
	path := filepath.Join(t.TempDir(), "parkd.db")
	return &reopening{Store: openAt(t, path), t: t, path: path}
}

func (r *reopening) Reopen() error {
	if err := r.Close(); err != nil {
		return err
	}
	r.Store = openAt(r.t, r.path)
	return nil
}

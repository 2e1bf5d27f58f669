package memory_test

import (
	"testing"

	"github.com/parkd-dev/parkd/pkg/internal/storetest"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/memory"
)

func open(testing.TB) store.Store { return memory.New() }

func TestStore(t *testing.T) { storetest.Run(t, open) }

// TestShared uses one store as two engines do.
func TestShared(t *testing.T) {
	storetest.RunShared(t, func(testing.TB) (a, b store.Store) {
		s := memory.New()
		return s, s
	})
}

func TestNodes(t *testing.T) {
	storetest.RunNodes(t, func(testing.TB) (a, b store.Store) {
		s := memory.New()
		return s, s
	})
}

func BenchmarkCommit(b *testing.B) { storetest.Bench(b, open) }

func BenchmarkAudit(b *testing.B) { storetest.BenchAudit(b, open) }

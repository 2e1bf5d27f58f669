package sqlite_test

import (
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/parkd-dev/parkd/pkg/internal/proof"
	"github.com/parkd-dev/parkd/pkg/internal/storetest"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/memory"
)

// TestDifferential compares the store with the memory store, and sometimes closes and reopens it.
func TestDifferential(t *testing.T) {
	c := proof.Begin(t, "stores-sqlite")
	c.Target("streams", 60, 100, 40000)
	seed := proof.SeedOr(rand.Uint64N(1 << 40))
	c.Seed(strconv.FormatUint(seed, 10) + " and on")
	var d storetest.Differential
	d.Campaign(t, c, seed, func(testing.TB) store.Store { return memory.New() }, openReopening)
}

// TestDifferentialPinned plays streams with a page that ends within a block of events and a next page that reaches the
// next block.
func TestDifferentialPinned(t *testing.T) {
	var d storetest.Differential
	for _, seed := range []uint64{200, 300} {
		d.Run(t, seed, 10, func(testing.TB) store.Store { return memory.New() }, openReopening)
	}
}

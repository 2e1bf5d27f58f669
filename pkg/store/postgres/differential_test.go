package postgres_test

import (
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/parkd-dev/parkd/pkg/internal/proof"
	"github.com/parkd-dev/parkd/pkg/internal/storetest"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/memory"
)

// TestDifferential compares the store with the memory store.
func TestDifferential(t *testing.T) {
	c := proof.Begin(t, "stores-postgres")
	c.Target("streams", 20, 10, 8000)
	seed := proof.SeedOr(rand.Uint64N(1 << 40))
	c.Seed(strconv.FormatUint(seed, 10) + " and on")
	var d storetest.Differential
	d.Campaign(t, c, seed, func(testing.TB) store.Store { return memory.New() }, open)
}

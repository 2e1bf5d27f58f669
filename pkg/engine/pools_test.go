package engine_test

import (
	"testing"
	"testing/synctest"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/park"
)

// TestPoolsAreAskedAndChanged: whoever names no pool, or asks for what no pool can be, is told so, and a warning of tasks
// that are too large comes with a change of the units alone.
func TestPoolsAreAskedAndChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openEngine(t, engine.Config{Pools: []engine.Pool{poolConfig("io", 2, sleepExecutor()), poolConfig("cpu", 4, sleepExecutor())}})
		defer b.closeNow()
		all, err := b.Pools(t.Context())
		if err != nil || len(all) != 2 || all[0].PoolID != "cpu" || all[1].PoolID != "io" {
			t.Errorf("%+v %v", all, err)
		}
		none, minus, two, paused, active := int64(0), int64(-1), int64(2), park.Paused, park.Active
		if _, err := b.Pool(t.Context(), "none"); park.CodeOf(err) != park.PoolNotFound {
			t.Error(err)
		}
		if _, err := b.SetPool(t.Context(), "none", park.PoolPatch{MaxUnits: &two}); park.CodeOf(err) != park.PoolNotFound {
			t.Error(err)
		}
		if _, err := b.SetPool(t.Context(), "cpu", park.PoolPatch{MaxUnits: &minus}); park.CodeOf(err) != park.InvalidRequest {
			t.Error(err)
		}
		if _, err := b.SetPool(t.Context(), "cpu", park.PoolPatch{State: &paused}); err != nil {
			t.Fatal(err)
		}
		large := withID("large", sleepFor(1))
		large.ResourceCost.Units = 3
		b.submit("cpu", large)
		for _, c := range []struct {
			patch park.PoolPatch
			warns bool
		}{{park.PoolPatch{MaxUnits: &two}, true}, {park.PoolPatch{State: &active}, false}, {park.PoolPatch{MaxUnits: &none}, true}} {
			if p, err := b.SetPool(t.Context(), "cpu", c.patch); err != nil || (p.Warning != "") != c.warns {
				t.Errorf("%+v: %q %v", c.patch, p.Warning, err)
			}
		}
	})
}

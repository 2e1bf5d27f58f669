//go:build mutants

package sim

import (
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/parkd-dev/parkd/pkg/mutant"
	"github.com/parkd-dev/parkd/pkg/proof"
)

const mutated = true

// enough is how many histories must be enough to find a planted bug.
const enough = 500

// find returns the first history, by its seed, in which a promise is broken; one without an error where there is none.
func find() (found Result) {
	var mu sync.Mutex
	var next atomic.Uint64
	var all sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for seed := next.Add(1); seed <= enough; seed = next.Add(1) {
				mu.Lock()
				over := found.Err != nil
				mu.Unlock()
				if over {
					return
				}
				r := Run(Options{Seed: seed})
				mu.Lock()
				if r.Err != nil && (found.Err == nil || r.Seed < found.Seed) {
					found = r
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return found
}

// TestMutants plants one bug after another and demands that a promise is seen broken. PARKD_MUTANT=no_fence plants
// that one alone, and tells what it did.
func TestMutants(t *testing.T) {
	defer mutant.Plant("")
	names := mutant.Names()
	if one := os.Getenv("PARKD_MUTANT"); one != "" {
		names = []string{one}
	}
	c := proof.Begin(t, "planted bugs")
	c.Target("found", len(names), len(names), len(names))
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			if !mutant.Plant(name) {
				t.Fatalf("there is no bug %q to plant; there are %v", name, mutant.Names())
			}
			r := find()
			if r.Err == nil {
				t.Errorf("mutant %s: not found in %d histories", name, enough)
				return
			}
			c.Add("found", 1)
			t.Logf("mutant %s: found by seed %d: %.200v", name, r.Seed, r.Err)
			if len(names) == 1 {
				t.Log(Explain(Options{Seed: r.Seed}))
			}
		})
	}
}

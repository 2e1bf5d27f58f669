package engine_test

import (
	"testing"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/park"
)

// FuzzLease presents leases that nobody gave out: none is kept, none ends a task.
func FuzzLease(f *testing.F) {
	for _, seed := range []string{"", "cpu.1.secret.task", "cpu.-1..", "gpu.1.a.b", "cpu.99999999999999999999.s.t", lot.LeaseID("cpu", 1, "s", "a.b.c")} {
		f.Add(seed)
	}
	p := poolConfig("cpu", 4, nil)
	p.Runtime = park.WebWorker
	b := openEngine(f, engine.Config{Pools: []engine.Pool{p}})
	f.Cleanup(b.closeNow)
	b.submit("cpu", withID("task", park.Submission{}))
	leases, err := b.Lease(f.Context(), "cpu", park.LeaseRequest{})
	if err != nil || len(leases) != 1 {
		f.Fatal(leases, err)
	}
	f.Fuzz(func(t *testing.T, id string) {
		if id == leases[0].LeaseID {
			return
		}
		if _, err := b.KeepLease(t.Context(), id, park.KeepRequest{}); !isLeaseRefusal(err) {
			t.Errorf("kept %q: %v", id, err)
		}
		if err := b.EndLease(t.Context(), id, park.LeaseResult{Status: park.Completed}); !isLeaseRefusal(err) {
			t.Errorf("ended %q: %v", id, err)
		}
	})
}

func isLeaseRefusal(err error) bool {
	code := park.CodeOf(err)
	return code == park.LeaseNotFound || code == park.LeaseLost
}

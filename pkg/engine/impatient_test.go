package engine_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// TestLeasesHavePatience: who waits for tasks is answered in time though the step that may lease it one hangs, or stays in
// doubt, and is not told that nothing was leased. A task that was is nobody's, and so it is leased to the next who asks.
func TestLeasesHavePatience(t *testing.T) {
	for _, c := range []struct{ commit, away time.Duration }{{time.Hour, 0}, {4 * time.Second, 0}, {0, time.Minute}} {
		synctest.Test(t, func(t *testing.T) {
			b, d := openFlaky(t, leasedPool(1))
			defer b.closeNow()
			var over atomic.Bool
			time.AfterFunc(time.Hour, func() { over.Store(true) })
			ask := func() {
				began := time.Now()
				leases, err := b.Lease(context.Background(), "remote", park.LeaseRequest{Wait: park.Duration(time.Second)})
				if took := time.Since(began); park.CodeOf(err) != park.OutcomeUnknown || took != 11*time.Second {
					t.Errorf("%+v: after %s %+v, %v", c, took, leases, err)
				}
			}
			submit := func() {
				if c.away > 0 {
					d.failNextCommit(true, c.away, nil)
				} else {
					d.hangCommits(c.commit, &over)
				}
				checkUnknown(t, b.trySubmit("remote", withID("a", park.Submission{})))
			}
			inParallel(ask, submit)
			time.Sleep(2 * time.Hour)
			l := b.lease(park.LeaseRequest{Wait: park.Duration(time.Minute)})
			if len(l) != 1 || l[0].TaskID != "a" {
				t.Fatalf("%+v: then leased %+v", c, l)
			}
			if err := b.EndLease(t.Context(), l[0].LeaseID, park.LeaseResult{Status: park.Completed}); err != nil {
				t.Errorf("%+v: %v", c, err)
			}
			if got := b.awaitTask("remote", "a"); got.Status != park.Completed {
				t.Errorf("%+v: ended as %+v", c, got)
			}
			checkLog(t, b.events(park.AuditQuery{PoolID: "remote", Changes: true}), 1)
		})
	}
}

// TestLeaseThatNobodyHeard: where the pool was at another step all the time, it is known that nothing was leased.
func TestLeaseThatNobodyHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, d := openFlaky(t, leasedPool(1))
		defer b.closeNow()
		b.submit("remote", withID("a", park.Submission{}))
		d.next = func(st *store.Step) error {
			time.Sleep(time.Minute)
			return d.Store.Commit(context.Background(), st)
		}
		inParallel(
			func() { b.SetPool(context.Background(), "remote", park.PoolPatch{MaxQueueDepth: new(7)}) },
			func() {
				began := time.Now()
				leases, err := b.Lease(context.Background(), "remote", park.LeaseRequest{Wait: park.Duration(time.Second)})
				if took := time.Since(began); park.CodeOf(err) != park.StorageUnavailable || took != 10*time.Second {
					t.Errorf("after %s %+v, %v", took, leases, err)
				}
			},
		)
		time.Sleep(time.Hour)
		if task, err := b.Task(t.Context(), "remote", "a", 0); err != nil || task.Status != park.Queued {
			t.Errorf("the task is %+v, %v", task, err)
		}
	})
}

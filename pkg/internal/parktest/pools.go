package parktest

import (
	"fmt"
	"strings"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

func pools(b *bench) {
	all, err := b.Service.Pools(b.ctx)
	b.must(err)
	equal(b, "pools", len(all), len(Pools()))
	for i := range all[1:] {
		if all[i].PoolID >= all[i+1].PoolID {
			b.Errorf("pools are not in order: %s before %s", all[i].PoolID, all[i+1].PoolID)
		}
	}
	p, err := b.Pool(b.ctx, Work)
	b.must(err)
	equal(b, "pool", p, park.Pool{
		PoolID: Work, Kind: park.CPU, MaxUnits: 4, MaxQueueDepth: 4, State: park.Active,
		QueueBackend: park.InMemory, MailboxBackend: park.InMemory, Runtime: park.Native, Executor: "exec",
	})
	_, err = b.SetPool(b.ctx, Work, park.PoolPatch{})
	b.failsWith(park.InvalidRequest, err)
	negative := int64(-1)
	_, err = b.SetPool(b.ctx, Work, park.PoolPatch{MaxUnits: &negative})
	b.failsWith(park.InvalidRequest, err)
	frozen := park.PoolState("frozen")
	_, err = b.SetPool(b.ctx, Work, park.PoolPatch{State: &frozen})
	b.failsWith(park.InvalidRequest, err)
	if text := fmt.Sprint(err); !strings.Contains(text, "state must be one of active, paused, draining") {
		b.Errorf("an unknown state is answered %q", text)
	}
}

func (b *bench) set(pool string, patch park.PoolPatch) park.Pool {
	b.Helper()
	p, err := b.SetPool(b.ctx, pool, patch)
	b.must(err)
	return p
}

func pauseAndResume(b *bench) {
	state := park.Paused
	equal(b, "state", b.set(Work, park.PoolPatch{State: &state}).State, park.Paused)
	equal(b, "status", b.submit(Work, task("a", "")).Status, park.Queued)
	state = park.Active
	b.set(Work, park.PoolPatch{State: &state})
	equal(b, "status", b.ended(Work, "a").Status, park.Completed)
}

func resize(b *bench) {
	b.submit(Work, hold("a", 4))
	b.submit(Work, hold("b", 2))
	units := int64(3)
	p := b.set(Work, park.PoolPatch{MaxUnits: &units})
	equal(b, "used", p.UsedUnits, 4)
	equal(b, "running", p.Running, 1)
	units = 6
	p = b.set(Work, park.PoolPatch{MaxUnits: &units})
	equal(b, "used, larger", p.UsedUnits, 6)
	depth := 0
	b.set(Work, park.PoolPatch{MaxQueueDepth: &depth})
	b.refused(Work, task("c", ""), park.QueueFull)
}

func drain(b *bench) {
	b.submit(Work, hold("a", 4))
	b.submit(Work, task("b", ""))
	state := park.Draining
	b.set(Work, park.PoolPatch{State: &state})
	b.refused(Work, task("c", ""), park.PoolDraining)
	_, err := b.Service.Cancel(b.ctx, Work, "a")
	b.must(err)
	equal(b, "what was there", b.ended(Work, "b").Status, park.Completed)
}

func (b *bench) lease(r park.LeaseRequest) []park.Lease {
	b.Helper()
	leases, err := b.Lease(b.ctx, Remote, r)
	b.must(err)
	return leases
}

func lease(b *bench) {
	s := task("a", `{"scene":1}`)
	s.ResourceCost.Units, s.TimeoutSecs, s.Command = 2, 60, []string{"render", "-x"}
	equal(b, "status", b.submit(Remote, s).Status, park.Queued)
	b.submit(Remote, hold("b", 3))
	leases := b.lease(park.LeaseRequest{Worker: "w", Max: 4})
	if len(leases) != 1 {
		b.Fatalf("%d leases where one task fits", len(leases))
	}
	l := leases[0]
	equal(b, "task", l.TaskID, "a")
	equal(b, "attempt", l.Attempt, 1)
	equal(b, "units", l.Units, 2)
	equal(b, "payload", string(l.Payload), `{"scene":1}`)
	equal(b, "command", len(l.Command), 2)
	equal(b, "timeout", l.TimeoutSecs, 60)
	half := 0.5
	_, err := b.KeepLease(b.ctx, l.LeaseID, park.KeepRequest{TTL: park.Duration(time.Minute), Progress: &half})
	b.must(err)
	result := park.LeaseResult{Status: park.Completed, Payload: []byte(`"done"`)}
	b.must(b.EndLease(b.ctx, l.LeaseID, result))
	b.must(b.EndLease(b.ctx, l.LeaseID, result))
	t := b.ended(Remote, "a")
	equal(b, "result", string(t.Result), `"done"`)
	_, err = b.KeepLease(b.ctx, l.LeaseID, park.KeepRequest{})
	b.failsWith(park.LeaseLost, err)
}

func leaseWaits(b *bench) {
	got := make(chan []park.Lease, 1)
	go func() {
		leases, _ := b.Lease(b.ctx, Remote, park.LeaseRequest{Wait: park.Duration(40 * time.Second)})
		got <- leases
	}()
	b.submit(Remote, task("a", ""))
	if leases := <-got; len(leases) != 1 || leases[0].TaskID != "a" {
		b.Fatalf("leases %+v", leases)
	}
	equal(b, "nothing more", len(b.lease(park.LeaseRequest{Wait: park.Duration(time.Millisecond)})), 0)
}

func leaseFails(b *bench) {
	b.submit(Remote, task("a", ""))
	l := b.lease(park.LeaseRequest{})[0]
	b.failsWith(park.InvalidRequest, b.EndLease(b.ctx, l.LeaseID, park.LeaseResult{Status: park.Expired}))
	b.must(b.EndLease(b.ctx, l.LeaseID, park.LeaseResult{Status: park.Failed, Reason: "out_of_memory", Message: "too big"}))
	t := b.ended(Remote, "a")
	equal(b, "status", t.Status, park.Failed)
	equal(b, "reason", t.Reason, "out_of_memory")
	equal(b, "message", t.Message, "too big")
}

func leaseLost(b *bench) {
	b.submit(Remote, task("a", ""))
	old := b.lease(park.LeaseRequest{TTL: park.Duration(time.Second)})[0]
	next := b.lease(park.LeaseRequest{Wait: park.Duration(40 * time.Second)})
	if len(next) != 1 || next[0].TaskID != "a" || next[0].Attempt != 2 {
		b.Fatalf("after the lease ran out: %+v", next)
	}
	b.failsWith(park.LeaseLost, b.EndLease(b.ctx, old.LeaseID, park.LeaseResult{Status: park.Completed}))
	_, err := b.KeepLease(b.ctx, old.LeaseID, park.KeepRequest{})
	b.failsWith(park.LeaseLost, err)
	_, err = b.Service.Cancel(b.ctx, Remote, "a")
	b.must(err)
	b.failsWith(park.LeaseLost, b.EndLease(b.ctx, next[0].LeaseID, park.LeaseResult{Status: park.Completed}))
	equal(b, "status", b.ended(Remote, "a").Status, park.Dropped)
}

func noLeases(b *bench) {
	_, err := b.Lease(b.ctx, Work, park.LeaseRequest{})
	b.failsWith(park.PoolNotLeased, err)
	_, err = b.Lease(b.ctx, Remote, park.LeaseRequest{Max: -1})
	b.failsWith(park.InvalidRequest, err)
	_, err = b.Lease(b.ctx, Remote, park.LeaseRequest{TTL: park.Duration(time.Nanosecond)})
	b.failsWith(park.InvalidRequest, err)
}

package parktest

import (
	"fmt"
	"strings"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

func testPools(h *harness) {
	all, err := h.Service.Pools(h.ctx)
	h.must(err)
	equal(h, "pools", len(all), len(Pools()))
	for i := range all[1:] {
		if all[i].PoolID >= all[i+1].PoolID {
			h.Errorf("pools are not in order: %s before %s", all[i].PoolID, all[i+1].PoolID)
		}
	}
	p, err := h.Pool(h.ctx, Work)
	h.must(err)
	equal(h, "pool", p, park.Pool{
		PoolID: Work, Kind: park.CPU, MaxUnits: 4, MaxQueueDepth: 4, State: park.Active,
		QueueBackend: park.InMemory, MailboxBackend: park.InMemory, Runtime: park.Native, Executor: "exec",
	})
	_, err = h.SetPool(h.ctx, Work, park.PoolPatch{})
	h.wantCode(park.InvalidRequest, err)
	negative := int64(-1)
	_, err = h.SetPool(h.ctx, Work, park.PoolPatch{MaxUnits: &negative})
	h.wantCode(park.InvalidRequest, err)
	frozen := park.PoolState("frozen")
	_, err = h.SetPool(h.ctx, Work, park.PoolPatch{State: &frozen})
	h.wantCode(park.InvalidRequest, err)
	if text := fmt.Sprint(err); !strings.Contains(text, "state must be one of active, paused, draining") {
		h.Errorf("the error for an unknown state is %q", text)
	}
}

// setPool changes a pool and returns it.
func (h *harness) setPool(pool string, patch park.PoolPatch) park.Pool {
	h.Helper()
	p, err := h.SetPool(h.ctx, pool, patch)
	h.must(err)
	return p
}

func testPauseAndResume(h *harness) {
	state := park.Paused
	equal(h, "state", h.setPool(Work, park.PoolPatch{State: &state}).State, park.Paused)
	equal(h, "status", h.submit(Work, newTask("a", "")).Status, park.Queued)
	state = park.Active
	h.setPool(Work, park.PoolPatch{State: &state})
	equal(h, "status", h.waitEnded(Work, "a").Status, park.Completed)
}

func testResize(h *harness) {
	h.submit(Work, holdingTask("a", 4))
	h.submit(Work, holdingTask("b", 2))
	units := int64(3)
	p := h.setPool(Work, park.PoolPatch{MaxUnits: &units})
	equal(h, "used", p.UsedUnits, 4)
	equal(h, "running", p.Running, 1)
	units = 6
	p = h.setPool(Work, park.PoolPatch{MaxUnits: &units})
	equal(h, "used, larger", p.UsedUnits, 6)
	depth := 0
	h.setPool(Work, park.PoolPatch{MaxQueueDepth: &depth})
	h.wantRefused(Work, newTask("c", ""), park.QueueFull)
}

func testDrain(h *harness) {
	h.submit(Work, holdingTask("a", 4))
	h.submit(Work, newTask("b", ""))
	state := park.Draining
	h.setPool(Work, park.PoolPatch{State: &state})
	h.wantRefused(Work, newTask("c", ""), park.PoolDraining)
	_, err := h.Service.Cancel(h.ctx, Work, "a")
	h.must(err)
	equal(h, "status of the task submitted before", h.waitEnded(Work, "b").Status, park.Completed)
}

// takeLeases leases tasks of the pool [Remote].
func (h *harness) takeLeases(r park.LeaseRequest) []park.Lease {
	h.Helper()
	leases, err := h.Lease(h.ctx, Remote, r)
	h.must(err)
	return leases
}

func testLease(h *harness) {
	s := newTask("a", `{"scene":1}`)
	s.ResourceCost.Units, s.TimeoutSecs, s.Command = 2, 60, []string{"render", "-x"}
	equal(h, "status", h.submit(Remote, s).Status, park.Queued)
	h.submit(Remote, holdingTask("b", 3))
	leases := h.takeLeases(park.LeaseRequest{Worker: "w", Max: 4})
	if len(leases) != 1 {
		h.Fatalf("%d leases where one task fits", len(leases))
	}
	l := leases[0]
	equal(h, "task", l.TaskID, "a")
	equal(h, "attempt", l.Attempt, 1)
	equal(h, "units", l.Units, 2)
	equal(h, "payload", string(l.Payload), `{"scene":1}`)
	equal(h, "command", len(l.Command), 2)
	equal(h, "timeout", l.TimeoutSecs, 60)
	half := 0.5
	_, err := h.KeepLease(h.ctx, l.LeaseID, park.KeepRequest{TTL: park.Duration(time.Minute), Progress: &half})
	h.must(err)
	result := park.LeaseResult{Status: park.Completed, Payload: []byte(`"done"`)}
	h.must(h.EndLease(h.ctx, l.LeaseID, result))
	h.must(h.EndLease(h.ctx, l.LeaseID, result))
	t := h.waitEnded(Remote, "a")
	equal(h, "result", string(t.Result), `"done"`)
	_, err = h.KeepLease(h.ctx, l.LeaseID, park.KeepRequest{})
	h.wantCode(park.LeaseLost, err)
}

func testLeaseWaits(h *harness) {
	got := make(chan []park.Lease, 1)
	go func() {
		leases, _ := h.Lease(h.ctx, Remote, park.LeaseRequest{Wait: park.Duration(40 * time.Second)})
		got <- leases
	}()
	h.submit(Remote, newTask("a", ""))
	if leases := <-got; len(leases) != 1 || leases[0].TaskID != "a" {
		h.Fatalf("leases %+v", leases)
	}
	equal(h, "leases left", len(h.takeLeases(park.LeaseRequest{Wait: park.Duration(time.Millisecond)})), 0)
}

func testLeaseFails(h *harness) {
	h.submit(Remote, newTask("a", ""))
	l := h.takeLeases(park.LeaseRequest{})[0]
	h.wantCode(park.InvalidRequest, h.EndLease(h.ctx, l.LeaseID, park.LeaseResult{Status: park.Expired}))
	h.must(h.EndLease(h.ctx, l.LeaseID, park.LeaseResult{Status: park.Failed, Reason: "out_of_memory", Message: "too big"}))
	t := h.waitEnded(Remote, "a")
	equal(h, "status", t.Status, park.Failed)
	equal(h, "reason", t.Reason, "out_of_memory")
	equal(h, "message", t.Message, "too big")
}

func testLeaseLost(h *harness) {
	h.submit(Remote, newTask("a", ""))
	old := h.takeLeases(park.LeaseRequest{TTL: park.Duration(time.Second)})[0]
	next := h.takeLeases(park.LeaseRequest{Wait: park.Duration(40 * time.Second)})
	if len(next) != 1 || next[0].TaskID != "a" || next[0].Attempt != 2 {
		h.Fatalf("after the lease ran out: %+v", next)
	}
	h.wantCode(park.LeaseLost, h.EndLease(h.ctx, old.LeaseID, park.LeaseResult{Status: park.Completed}))
	_, err := h.KeepLease(h.ctx, old.LeaseID, park.KeepRequest{})
	h.wantCode(park.LeaseLost, err)
	_, err = h.Service.Cancel(h.ctx, Remote, "a")
	h.must(err)
	h.wantCode(park.LeaseLost, h.EndLease(h.ctx, next[0].LeaseID, park.LeaseResult{Status: park.Completed}))
	equal(h, "status", h.waitEnded(Remote, "a").Status, park.Dropped)
}

func testNoLeases(h *harness) {
	_, err := h.Lease(h.ctx, Work, park.LeaseRequest{})
	h.wantCode(park.PoolNotLeased, err)
	_, err = h.Lease(h.ctx, Remote, park.LeaseRequest{Max: -1})
	h.wantCode(park.InvalidRequest, err)
	_, err = h.Lease(h.ctx, Remote, park.LeaseRequest{TTL: park.Duration(time.Nanosecond)})
	h.wantCode(park.InvalidRequest, err)
}

package parktest

import (
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

func testOutcome(h *harness) {
	s := newTask("a", `{"answer":42}`)
	s.Priority, s.ResourceCost = park.High, park.Cost{Kind: park.CPU, Units: 3}
	a := h.submit(Work, s)
	equal(h, "status", a.Status, park.Running)
	equal(h, "position", a.Position, 0)
	t := h.waitEnded(Work, "a")
	equal(h, "status", t.Status, park.Completed)
	equal(h, "result", string(t.Result), `{"answer":42}`)
	equal(h, "attempt", t.Attempt, 1)
	equal(h, "priority", t.Priority, park.High)
	equal(h, "cost", t.ResourceCost, park.Cost{Kind: park.CPU, Units: 3})
	equal(h, "tenant", t.Tenant, park.DefaultTenant)
	equal(h, "submittedAt", t.SubmittedAt, a.SubmittedAt)
	if t.StartedAt.Before(t.SubmittedAt.Time) || t.CompletedAt.Before(t.StartedAt.Time) {
		h.Errorf("times run backwards: %v %v %v", t.SubmittedAt, t.StartedAt, t.CompletedAt)
	}
	equal(h, "actions", h.actions(Work, "a"), "submit start complete ")
}

func testParked(h *harness) {
	h.submit(Work, holdingTask("first", 4))
	low := newTask("low", "")
	low.Priority = park.Low
	equal(h, "position of low", h.submit(Work, low).Position, 1)
	equal(h, "position of normal", h.submit(Work, newTask("normal", "")).Position, 1)
	equal(h, "position of second normal", h.submit(Work, newTask("normal-2", "")).Position, 2)
	t, err := h.Task(h.ctx, Work, "low", 0)
	h.must(err)
	equal(h, "position of low, moved", t.Position, 3)
	equal(h, "status of low", t.Status, park.Queued)
	p, err := h.Pool(h.ctx, Work)
	h.must(err)
	equal(h, "parked", p.QueueDepth, 3)
	equal(h, "used", p.UsedUnits, 4)
	equal(h, "running", p.Running, 1)

	_, err = h.Service.Cancel(h.ctx, Work, "first")
	h.must(err)
	equal(h, "low", h.waitEnded(Work, "low").Status, park.Completed)
	equal(h, "actions", h.actions(Work, "low"), "submit enqueue start complete ")
}

func testSubmitAgain(h *harness) {
	first := h.submit(Work, holdingTask("a", 1))
	again := h.submit(Work, holdingTask("a", 1))
	equal(h, "again", again, first)
	h.wantRefused(Work, holdingTask("a", 2), park.TaskExists)
	_, err := h.Service.Cancel(h.ctx, Work, "a")
	h.must(err)
	equal(h, "after its end", h.submit(Work, holdingTask("a", 1)).Status, park.Dropped)
}

func testRefusals(h *harness) {
	h.wantRefused(Zero, newTask("a", ""), park.CapacityZero)
	h.wantRefused(Work, holdingTask("a", 5), park.CostExceedsPool)
	past := newTask("a", "")
	past.Deadline = park.At(time.Unix(1_000_000_000, 0))
	h.wantRefused(Work, past, park.DeadlinePast)
	wrong := newTask("a", "")
	wrong.ResourceCost.Kind = park.GPUVram
	h.wantRefused(Work, wrong, park.InvalidRequest)
	h.wantRefused(Work, newTask("no spaces", ""), park.InvalidRequest)
	h.wantRefused(Work, park.Submission{Command: []string{"true"}}, park.InvalidRequest)

	h.submit(Now, holdingTask("a", 1))
	h.wantRefused(Now, newTask("b", ""), park.QueueFull)
	h.submit(Work, holdingTask("a", 4))
	for i := range 4 {
		h.submit(Work, newTask(taskID(i), ""))
	}
	full := h.wantRefused(Work, newTask("one-more", ""), park.QueueFull)
	if full.RetryAfter < time.Second {
		h.Errorf("retry after %s", full.RetryAfter)
	}
	_, err := h.Task(h.ctx, Work, "one-more", 0)
	h.wantCode(park.TaskNotFound, err)
	equal(h, "actions", h.actions(Work, "one-more"), "reject ")
}

func testBatch(h *harness) {
	results, err := h.Submit(h.ctx, Work, []park.Submission{holdingTask("a", 4), holdingTask("b", 9), holdingTask("c", 1), holdingTask("a", 4), holdingTask("a", 3), {TaskID: "#"}})
	h.must(err)
	if len(results) != 6 {
		h.Fatalf("%d results", len(results))
	}
	code := func(i int) park.Code {
		if results[i].Err == nil {
			return ""
		}
		return results[i].Err.Code
	}
	equal(h, "a", results[0].Status, park.Running)
	equal(h, "b", code(1), park.CostExceedsPool)
	equal(h, "c", results[2].Accepted, park.Accepted{TaskID: "c", PoolID: Work, Status: park.Queued, Position: 1, SubmittedAt: results[2].SubmittedAt})
	equal(h, "a again", results[3].Accepted, results[0].Accepted)
	equal(h, "another a", code(4), park.TaskExists)
	equal(h, "bad id", code(5), park.InvalidRequest)
}

// testLargeBatch submits more tasks at once than one step of the scheduler takes.
func testLargeBatch(h *harness) {
	results, err := h.Submit(h.ctx, Wide, submissions(700, func(i int) park.Submission { return newTask(taskID(i), "") }))
	h.must(err)
	for i, r := range results {
		if r.Err != nil || r.TaskID != taskID(i) {
			h.Fatalf("result %d: %+v", i, r)
		}
		h.waitEnded(Wide, r.TaskID)
	}
}

func testCancel(h *harness) {
	h.submit(Work, holdingTask("runs", 4))
	h.submit(Work, newTask("waits", ""))
	for _, id := range []string{"waits", "runs"} {
		t, err := h.Service.Cancel(h.ctx, Work, id)
		h.must(err)
		equal(h, id, t.Status, park.Dropped)
		equal(h, id, t.Reason, park.ReasonCancelled)
		_, err = h.Service.Cancel(h.ctx, Work, id)
		h.wantCode(park.TaskFinished, err)
	}
	equal(h, "actions", h.actions(Work, "waits"), "submit enqueue cancel ")
	equal(h, "actions", h.actions(Work, "runs"), "submit start cancel ")
	p, err := h.Pool(h.ctx, Work)
	h.must(err)
	equal(h, "used", p.UsedUnits, 0)
}

func testFail(h *harness) {
	h.submit(Work, newTask("a", `{"fail":true}`))
	t := h.waitEnded(Work, "a")
	equal(h, "status", t.Status, park.Failed)
	equal(h, "reason", t.Reason, park.ReasonExecutorError)
	equal(h, "message", t.Message, "told to fail")

	again := newTask("b", `{"fail":true}`)
	again.Retry = park.Retry{MaxAttempts: 3, Backoff: park.Duration(time.Millisecond)}
	h.submit(Work, again)
	t = h.waitEnded(Work, "b")
	equal(h, "attempts", t.Attempt, 3)
	equal(h, "actions", h.actions(Work, "b"), "submit start requeue start requeue start fail ")
}

func testTimeout(h *harness) {
	s := holdingTask("a", 1)
	s.TimeoutSecs = 1
	h.submit(Work, s)
	t := h.waitEnded(Work, "a")
	equal(h, "status", t.Status, park.Failed)
	equal(h, "reason", t.Reason, park.ReasonTimeout)
}

func testExpire(h *harness) {
	h.submit(Work, holdingTask("a", 4))
	s := newTask("b", "")
	s.Deadline = park.At(time.Now().Add(300 * time.Millisecond))
	h.submit(Work, s)
	t := h.waitEnded(Work, "b")
	equal(h, "status", t.Status, park.Expired)
	equal(h, "reason", t.Reason, park.ReasonDeadlinePassed)
	equal(h, "actions", h.actions(Work, "b"), "submit enqueue expire ")
}

func testList(h *harness) {
	for i := range 10 {
		s := newTask(taskID(i), "")
		if i%2 == 1 {
			s.Tenant = "odd"
		}
		h.submit(Wide, s)
		h.waitEnded(Wide, s.TaskID)
	}
	h.submit(Wide, holdingTask("last", 1))
	var seen []string
	q := park.TaskQuery{Limit: 3, Status: park.Completed}
	for {
		page, err := h.Tasks(h.ctx, Wide, q)
		h.must(err)
		for _, t := range page.Tasks {
			seen = append(seen, t.TaskID)
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			break
		}
	}
	if len(seen) != 10 || seen[0] != taskID(9) || seen[9] != taskID(0) {
		h.Errorf("listed %v", seen)
	}
	page, err := h.Tasks(h.ctx, Wide, park.TaskQuery{Tenant: "odd"})
	h.must(err)
	equal(h, "tasks of a tenant", len(page.Tasks), 5)
	page, err = h.Tasks(h.ctx, Wide, park.TaskQuery{Status: park.Running})
	h.must(err)
	equal(h, "running", len(page.Tasks), 1)
	_, err = h.Tasks(h.ctx, Wide, park.TaskQuery{Cursor: "nonsense"})
	h.wantCode(park.InvalidRequest, err)
}

func testNoLog(h *harness) {
	h.submit(Work, newTask("a", ""))
	h.waitEnded(Work, "a")
	_, err := h.Log(h.ctx, Work, "a", park.LogQuery{})
	h.wantCode(park.LogNotFound, err)
}

func testMissing(h *harness) {
	_, err := h.Task(h.ctx, "nowhere", "a", 0)
	h.wantCode(park.PoolNotFound, err)
	_, err = h.Task(h.ctx, Work, "a", time.Second)
	h.wantCode(park.TaskNotFound, err)
	_, err = h.Service.Cancel(h.ctx, Work, "a")
	h.wantCode(park.TaskNotFound, err)
	_, err = h.Tasks(h.ctx, "nowhere", park.TaskQuery{})
	h.wantCode(park.PoolNotFound, err)
	_, err = h.Pool(h.ctx, "nowhere")
	h.wantCode(park.PoolNotFound, err)
	_, err = h.Lease(h.ctx, "nowhere", park.LeaseRequest{})
	h.wantCode(park.PoolNotFound, err)
	_, err = h.Log(h.ctx, Work, "a", park.LogQuery{})
	h.wantCode(park.TaskNotFound, err)
	_, err = h.KeepLease(h.ctx, "nonsense", park.KeepRequest{})
	h.wantCode(park.LeaseNotFound, err)
}

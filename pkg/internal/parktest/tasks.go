package parktest

import (
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

func outcome(b *bench) {
	s := task("a", `{"answer":42}`)
	s.Priority, s.ResourceCost = park.High, park.Cost{Kind: park.CPU, Units: 3}
	a := b.submit(Work, s)
	equal(b, "status", a.Status, park.Running)
	equal(b, "position", a.Position, 0)
	t := b.ended(Work, "a")
	equal(b, "status", t.Status, park.Completed)
	equal(b, "result", string(t.Result), `{"answer":42}`)
	equal(b, "attempt", t.Attempt, 1)
	equal(b, "priority", t.Priority, park.High)
	equal(b, "cost", t.ResourceCost, park.Cost{Kind: park.CPU, Units: 3})
	equal(b, "tenant", t.Tenant, park.DefaultTenant)
	equal(b, "submittedAt", t.SubmittedAt, a.SubmittedAt)
	if t.StartedAt.Before(t.SubmittedAt.Time) || t.CompletedAt.Before(t.StartedAt.Time) {
		b.Errorf("times run backwards: %v %v %v", t.SubmittedAt, t.StartedAt, t.CompletedAt)
	}
	equal(b, "life", b.life(Work, "a"), "submit start complete ")
}

func parked(b *bench) {
	b.submit(Work, hold("first", 4))
	low := task("low", "")
	low.Priority = park.Low
	equal(b, "position of low", b.submit(Work, low).Position, 1)
	equal(b, "position of normal", b.submit(Work, task("normal", "")).Position, 1)
	equal(b, "position of second normal", b.submit(Work, task("normal-2", "")).Position, 2)
	t, err := b.Task(b.ctx, Work, "low", 0)
	b.must(err)
	equal(b, "position of low, moved", t.Position, 3)
	equal(b, "status of low", t.Status, park.Queued)
	p, err := b.Pool(b.ctx, Work)
	b.must(err)
	equal(b, "parked", p.QueueDepth, 3)
	equal(b, "used", p.UsedUnits, 4)
	equal(b, "running", p.Running, 1)

	_, err = b.Service.Cancel(b.ctx, Work, "first")
	b.must(err)
	equal(b, "low", b.ended(Work, "low").Status, park.Completed)
	equal(b, "life", b.life(Work, "low"), "submit enqueue start complete ")
}

func submitAgain(b *bench) {
	first := b.submit(Work, hold("a", 1))
	again := b.submit(Work, hold("a", 1))
	equal(b, "again", again, first)
	b.refused(Work, hold("a", 2), park.TaskExists)
	_, err := b.Service.Cancel(b.ctx, Work, "a")
	b.must(err)
	equal(b, "after its end", b.submit(Work, hold("a", 1)).Status, park.Dropped)
}

func refusals(b *bench) {
	b.refused(Zero, task("a", ""), park.CapacityZero)
	b.refused(Work, hold("a", 5), park.CostExceedsPool)
	past := task("a", "")
	past.Deadline = park.At(time.Unix(1_000_000_000, 0))
	b.refused(Work, past, park.DeadlinePast)
	wrong := task("a", "")
	wrong.ResourceCost.Kind = park.GPUVram
	b.refused(Work, wrong, park.InvalidRequest)
	b.refused(Work, task("no spaces", ""), park.InvalidRequest)
	b.refused(Work, park.Submission{Command: []string{"true"}}, park.InvalidRequest)

	b.submit(Now, hold("a", 1))
	b.refused(Now, task("b", ""), park.QueueFull)
	b.submit(Work, hold("a", 4))
	for i := range 4 {
		b.submit(Work, task(numbered(i), ""))
	}
	full := b.refused(Work, task("one-more", ""), park.QueueFull)
	if full.RetryAfter < time.Second {
		b.Errorf("retry after %s", full.RetryAfter)
	}
	_, err := b.Task(b.ctx, Work, "one-more", 0)
	b.failsWith(park.TaskNotFound, err)
	equal(b, "life", b.life(Work, "one-more"), "reject ")
}

func batch(b *bench) {
	results, err := b.Submit(b.ctx, Work, []park.Submission{hold("a", 4), hold("b", 9), hold("c", 1), hold("a", 4), hold("a", 3), {TaskID: "#"}})
	b.must(err)
	if len(results) != 6 {
		b.Fatalf("%d results", len(results))
	}
	code := func(i int) park.Code {
		if results[i].Err == nil {
			return ""
		}
		return results[i].Err.Code
	}
	equal(b, "a", results[0].Status, park.Running)
	equal(b, "b", code(1), park.CostExceedsPool)
	equal(b, "c", results[2].Accepted, park.Accepted{TaskID: "c", PoolID: Work, Status: park.Queued, Position: 1, SubmittedAt: results[2].SubmittedAt})
	equal(b, "a again", results[3].Accepted, results[0].Accepted)
	equal(b, "another a", code(4), park.TaskExists)
	equal(b, "bad id", code(5), park.InvalidRequest)
}

// batchOfMany is more than one step of the scheduler takes.
func batchOfMany(b *bench) {
	results, err := b.Submit(b.ctx, Wide, many(700, func(i int) park.Submission { return task(numbered(i), "") }))
	b.must(err)
	for i, r := range results {
		if r.Err != nil || r.TaskID != numbered(i) {
			b.Fatalf("result %d: %+v", i, r)
		}
		b.ended(Wide, r.TaskID)
	}
}

func cancel(b *bench) {
	b.submit(Work, hold("runs", 4))
	b.submit(Work, task("waits", ""))
	for _, id := range []string{"waits", "runs"} {
		t, err := b.Service.Cancel(b.ctx, Work, id)
		b.must(err)
		equal(b, id, t.Status, park.Dropped)
		equal(b, id, t.Reason, park.ReasonCancelled)
		_, err = b.Service.Cancel(b.ctx, Work, id)
		b.failsWith(park.TaskFinished, err)
	}
	equal(b, "life", b.life(Work, "waits"), "submit enqueue cancel ")
	equal(b, "life", b.life(Work, "runs"), "submit start cancel ")
	p, err := b.Pool(b.ctx, Work)
	b.must(err)
	equal(b, "used", p.UsedUnits, 0)
}

func fail(b *bench) {
	b.submit(Work, task("a", `{"fail":true}`))
	t := b.ended(Work, "a")
	equal(b, "status", t.Status, park.Failed)
	equal(b, "reason", t.Reason, park.ReasonExecutorError)
	equal(b, "message", t.Message, "told to fail")

	again := task("b", `{"fail":true}`)
	again.Retry = park.Retry{MaxAttempts: 3, Backoff: park.Duration(time.Millisecond)}
	b.submit(Work, again)
	t = b.ended(Work, "b")
	equal(b, "attempts", t.Attempt, 3)
	equal(b, "life", b.life(Work, "b"), "submit start requeue start requeue start fail ")
}

func timeout(b *bench) {
	s := hold("a", 1)
	s.TimeoutSecs = 1
	b.submit(Work, s)
	t := b.ended(Work, "a")
	equal(b, "status", t.Status, park.Failed)
	equal(b, "reason", t.Reason, park.ReasonTimeout)
}

func expire(b *bench) {
	b.submit(Work, hold("a", 4))
	s := task("b", "")
	s.Deadline = park.At(time.Now().Add(300 * time.Millisecond))
	b.submit(Work, s)
	t := b.ended(Work, "b")
	equal(b, "status", t.Status, park.Expired)
	equal(b, "reason", t.Reason, park.ReasonDeadlinePassed)
	equal(b, "life", b.life(Work, "b"), "submit enqueue expire ")
}

func list(b *bench) {
	for i := range 10 {
		s := task(numbered(i), "")
		if i%2 == 1 {
			s.Tenant = "odd"
		}
		b.submit(Wide, s)
		b.ended(Wide, s.TaskID)
	}
	b.submit(Wide, hold("last", 1))
	var seen []string
	q := park.TaskQuery{Limit: 3, Status: park.Completed}
	for {
		page, err := b.Tasks(b.ctx, Wide, q)
		b.must(err)
		for _, t := range page.Tasks {
			seen = append(seen, t.TaskID)
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			break
		}
	}
	if len(seen) != 10 || seen[0] != numbered(9) || seen[9] != numbered(0) {
		b.Errorf("listed %v", seen)
	}
	page, err := b.Tasks(b.ctx, Wide, park.TaskQuery{Tenant: "odd"})
	b.must(err)
	equal(b, "tasks of a tenant", len(page.Tasks), 5)
	page, err = b.Tasks(b.ctx, Wide, park.TaskQuery{Status: park.Running})
	b.must(err)
	equal(b, "running", len(page.Tasks), 1)
	_, err = b.Tasks(b.ctx, Wide, park.TaskQuery{Cursor: "nonsense"})
	b.failsWith(park.InvalidRequest, err)
}

func noLog(b *bench) {
	b.submit(Work, task("a", ""))
	b.ended(Work, "a")
	_, err := b.Log(b.ctx, Work, "a", park.LogQuery{})
	b.failsWith(park.LogNotFound, err)
}

func missing(b *bench) {
	_, err := b.Task(b.ctx, "nowhere", "a", 0)
	b.failsWith(park.PoolNotFound, err)
	_, err = b.Task(b.ctx, Work, "a", time.Second)
	b.failsWith(park.TaskNotFound, err)
	_, err = b.Service.Cancel(b.ctx, Work, "a")
	b.failsWith(park.TaskNotFound, err)
	_, err = b.Tasks(b.ctx, "nowhere", park.TaskQuery{})
	b.failsWith(park.PoolNotFound, err)
	_, err = b.Pool(b.ctx, "nowhere")
	b.failsWith(park.PoolNotFound, err)
	_, err = b.Lease(b.ctx, "nowhere", park.LeaseRequest{})
	b.failsWith(park.PoolNotFound, err)
	_, err = b.Log(b.ctx, Work, "a", park.LogQuery{})
	b.failsWith(park.TaskNotFound, err)
	_, err = b.KeepLease(b.ctx, "nonsense", park.KeepRequest{})
	b.failsWith(park.LeaseNotFound, err)
}

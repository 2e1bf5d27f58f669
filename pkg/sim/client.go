package sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/park"
)

// job is a task as its client knows it.
type job struct {
	sub     park.Submission
	pool    string
	work    work
	at      time.Duration // when it is submitted
	cancel  time.Duration // after its acceptance; 0: never
	again   bool          // it is submitted once more after its acceptance
	other   bool          // something else is submitted under its id then
	shy     bool          // its client waits long for an answer, and gives up where it hears that nothing was accepted
	acked   bool
	refused bool
	offered int // how often an engine was asked to take it
	denied  int // how often the engine said that nothing was accepted, whether or not anyone heard
}

// offer hands the job in at an engine.
func (j *job) offer(ctx context.Context, e *engine.Engine) (park.SubmitResult, error) {
	j.offered++
	r, err := e.Submit(ctx, j.pool, []park.Submission{j.sub})
	if err != nil {
		if park.CodeOf(err) == park.StorageUnavailable {
			j.denied++
		}
		return park.SubmitResult{}, err
	}
	if r[0].Err != nil && r[0].Err.Code == park.StorageUnavailable {
		j.denied++
	}
	return r[0], nil
}

// clients makes the machines and programs that submit the jobs and read the mailboxes.
func (h *history) clients() {
	f := h.newLife(&machine{loop: h.loop, name: "clients", rate: 1})
	h.outside = f
	for _, j := range h.jobs {
		h.waiting++
		h.spawn(f, func() {
			h.client(f, j)
			h.waiting--
		})
	}
	for i := range h.plan.boxes {
		h.spawn(f, func() { h.reader(f, boxName(i)) })
	}
	for range h.plan.operators {
		h.spawn(f, func() { h.operator(f) })
	}
}

// pester sends a node that was taken for dead what clients could not tell it before.
func (h *history) pester(n *node) {
	f := h.outside
	for range 6 {
		h.waiting++
		j := h.jobs[h.rng.IntN(len(h.jobs))]
		h.after(h.between(0, nodeTTL/4), f, func() {
			h.spawn(f, func() {
				defer func() { h.waiting-- }()
				_, _ = rpc(h, f, n, time.Second, j.offer)
			})
		})
	}
}

func boxName(i int) string { return "box" + strconv.Itoa(i) }

// client is one job's client: it submits until it knows, with the same id each time.
func (h *history) client(f *life, j *job) {
	f.sleep(j.at)
	h.submit(f, j)
	if !j.acked {
		return
	}
	if j.again {
		f.sleep(h.between(0, 3*time.Second))
		h.submit(f, j)
	}
	if j.other {
		h.usurp(f, j)
	}
	if j.cancel > 0 {
		f.sleep(j.cancel)
		h.withdraw(f, j)
	}
}

// submit tries until there is an answer that stays, or nobody would try any longer.
func (h *history) submit(f *life, j *job) {
	patience := 2 * time.Second
	if j.shy {
		patience = 8 * time.Second // as long as a step is in doubt, but for the longest
	}
	for range 12 {
		res, err := rpc(h, f, h.any(), patience, j.offer)
		switch {
		case err == nil && res.Err == nil:
			h.accepted(j)
			return
		case err == nil && final(res.Err):
			h.rejected(j, res.Err)
			return
		case j.shy && park.CodeOf(err) == park.StorageUnavailable:
			return
		}
		if h.calm && h.chance(0.5) {
			return // gone
		}
		f.sleep(h.between(20*time.Millisecond, 600*time.Millisecond))
	}
}

// usurp submits something else under the id of a job that was accepted. Nobody may take the one for the other.
func (h *history) usurp(f *life, j *job) {
	w := j.work
	w.Lasts++
	other := job{sub: j.sub, pool: j.pool}
	other.sub.Payload, _ = json.Marshal(w)
	f.sleep(h.between(0, 3*time.Second))
	res, err := rpc(h, f, h.any(), 2*time.Second, other.offer)
	if err == nil && res.Err == nil && h.check.restored == 0 {
		h.fail("idempotent", "something else was taken for task %s", j.sub.TaskID)
	}
}

// final reports whether an answer stays what it is.
func final(err error) bool {
	switch park.CodeOf(err) {
	case park.InvalidRequest, park.DeadlinePast, park.CostExceedsPool, park.TaskExists:
		return true
	default:
		return false
	}
}

func (h *history) accepted(j *job) {
	t := h.base.pools[j.pool]
	if t == nil || t.tasks[j.sub.TaskID] == nil {
		if h.check.restored == 0 {
			h.fail("durable", "task %s was accepted, but the database does not have it", j.sub.TaskID)
		}
		return
	}
	j.acked = true
}

func (h *history) rejected(j *job, err error) {
	j.refused = true
	if j.acked || park.CodeOf(err) == park.TaskExists {
		h.fail("idempotent", "task %s was accepted before and is now refused: %v", j.sub.TaskID, err)
	}
}

// withdraw cancels a task, until it is known to have ended.
func (h *history) withdraw(f *life, j *job) {
	for range 6 {
		t, err := rpc(h, f, h.any(), 3*time.Second, func(ctx context.Context, e *engine.Engine) (park.Task, error) {
			return e.Cancel(ctx, j.pool, j.sub.TaskID)
		})
		switch {
		case err == nil && !t.Status.Ended():
			h.fail("cancel", "task %s was cancelled and is %s", j.sub.TaskID, t.Status)
			return
		case err == nil || park.CodeOf(err) == park.TaskFinished:
			return
		case park.CodeOf(err) == park.TaskNotFound && !j.acked:
			return
		case park.CodeOf(err) == park.TaskNotFound:
			h.fail("durable", "task %s was accepted and is not found", j.sub.TaskID)
			return
		}
		f.sleep(h.between(20*time.Millisecond, 500*time.Millisecond))
	}
}

// reader reads a mailbox along, as a client does that comes back.
func (h *history) reader(f *life, key string) {
	seen := make(map[string]bool)
	after := ""
	for restored := 0; ; {
		if restored != h.check.restored {
			restored = h.check.restored
			clear(seen)
		}
		page, err := rpc(h, f, h.any(), 2*time.Second, func(ctx context.Context, e *engine.Engine) (park.MessagePage, error) {
			return e.Mailbox(ctx, park.MailboxQuery{Tenant: park.DefaultTenant, Key: key, After: after, Wait: time.Second})
		})
		if err != nil && !errors.Is(err, errLost) && !errors.Is(err, errRefused) && park.CodeOf(err) != park.StorageUnavailable {
			h.fail("mailbox", "reading %s after %q: %v", key, after, err)
			return
		}
		if restored != h.check.restored {
			continue
		}
		for _, m := range page.Messages {
			if seen[m.TaskID] {
				h.fail("one message", "the message of task %s came twice", m.TaskID)
			}
			seen[m.TaskID] = true
			after = m.ID
		}
		f.sleep(h.between(20*time.Millisecond, 800*time.Millisecond))
	}
}

// operator changes limits and states of pools now and then.
func (h *history) operator(f *life) {
	for {
		f.sleep(h.between(500*time.Millisecond, 5*time.Second))
		if h.calm {
			return
		}
		spec := h.plan.pools[h.rng.IntN(len(h.plan.pools))]
		patch, what := h.patch(spec)
		h.count(what)
		h.note("operator", "%s of %s", what, spec.ID)
		_, _ = rpc(h, f, h.any(), 2*time.Second, func(ctx context.Context, e *engine.Engine) (park.Pool, error) {
			return e.SetPool(ctx, spec.ID, patch)
		})
	}
}

func (h *history) patch(spec park.PoolSpec) (p park.PoolPatch, what string) {
	state := park.Active
	switch h.rng.IntN(5) {
	case 0:
		state, what = park.Paused, "pause"
	case 1:
		state, what = park.Draining, "drain"
	case 2:
		n := h.plan.unit * (1 + h.rng.Int64N(2*spec.MaxUnits/h.plan.unit))
		return park.PoolPatch{MaxUnits: &n}, "resize"
	case 3:
		n := h.rng.IntN(2 * spec.MaxQueueDepth)
		return park.PoolPatch{MaxQueueDepth: &n}, "resize of the queue"
	default:
		what = "resume"
	}
	return park.PoolPatch{State: &state}, what
}

// newJob draws a job.
func (h *history) newJob(i int) *job {
	spec := h.plan.pools[h.rng.IntN(len(h.plan.pools))]
	w := work{Lasts: h.between(5*time.Millisecond, h.plan.longest), Stubborn: h.chance(0.4)}
	j := &job{pool: spec.ID, at: h.between(0, h.plan.busy), again: h.chance(0.2), other: h.chance(0.1), shy: h.chance(0.2)}
	if n := len(h.jobs); n > 0 && h.chance(0.4) {
		j.at = h.jobs[n-1].at // many come at once
	}
	s := &j.sub
	s.TaskID = fmt.Sprintf("t%d", i)
	s.ResourceCost.Units = park.Units(h.plan.unit * (1 + h.rng.Int64N(spec.MaxUnits/h.plan.unit)))
	s.Priority = park.Priority(h.rng.IntN(4) - 1)
	if h.chance(0.7) {
		s.MailboxKey.Key = boxName(h.rng.IntN(h.plan.boxes))
	}
	if h.chance(0.3) {
		s.Deadline = park.At(epoch.Add(j.at + h.between(200*time.Millisecond, 6*time.Second)))
	}
	if h.chance(0.2) {
		s.TimeoutSecs = park.Seconds(1 + h.rng.IntN(2))
	}
	if h.chance(0.3) {
		s.Retry = park.Retry{MaxAttempts: 2 + h.rng.IntN(2), Backoff: park.Duration(h.between(0, time.Second).Truncate(time.Millisecond))}
		w.Fails = h.rng.IntN(3)
	}
	if h.chance(0.2) {
		j.cancel = h.between(time.Millisecond, 4*time.Second)
	}
	j.work = w
	s.Payload, _ = json.Marshal(w)
	return j
}

package sim

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/park"
)

// job is a task as its client knows it.
type job struct {
	sub          park.Submission
	pool         string
	work         work
	at           time.Duration // when it is submitted
	cancel       time.Duration // after its acceptance; 0: never
	resubmits    bool          // it is submitted again after its acceptance
	conflicts    bool          // then another task is submitted under its id
	cancelsEarly bool          // its cancellation is sent together with its submission
	unnamed      bool          // it is submitted without an id
	reusesID     bool          // once it is pruned another job is submitted under its id
	number       int           // in its payload
	first        *node         // where it is submitted first; nil: anywhere
	state        taskState
	invalid      bool // every pool must refuse it
	id           string
	idShared     bool // another tenant uses its id
	givesUp      bool // its client waits long for an answer, and gives up if the answer is that nothing was accepted
	acked        bool
	refused      bool
}

// submitReply is an engine's answer to a submission, and the submitted job.
type submitReply struct {
	park.SubmitResult
	job *job
}

// submitTo submits a job to an engine. Without an id, each submission is a new job.
func (h *history) submitTo(j *job) func(context.Context, *engine.Engine) (submitReply, error) {
	return func(ctx context.Context, e *engine.Engine) (submitReply, error) {
		j := j
		if j.sub.TaskID == "" {
			h.count("submission without an id")
			j = h.child(j)
		}
		h.trace("offer", "job %d %s to %s", j.number, j.sub.TaskID, e.Node())
		h.record(submitted{j.number, j.pool, j.sub, j.work, j.invalid})
		r, err := recordAnswer(h, request{op: "submit", pool: j.pool, id: j.sub.TaskID, job: j.number}, func() (park.SubmitResult, error) {
			r, err := e.Submit(ctx, j.pool, []park.Submission{j.sub})
			if err == nil && r[0].Err != nil {
				err = r[0].Err
			}
			if err != nil {
				return park.SubmitResult{}, err
			}
			return r[0], nil
		})
		if err != nil {
			h.trace("refused", "job %d %s : %v", j.number, j.sub.TaskID, err)
		}
		return submitReply{r, j}, err
	}
}

// clients starts the programs that submit jobs and read mailboxes.
func (h *history) clients() {
	f := h.newProcess(&machine{loop: h.loop, name: "clients", rate: 1})
	h.outside = f
	for _, j := range h.jobs {
		h.waiting++
		h.spawn(f, func() {
			h.client(f, j)
			h.waiting--
		})
	}
	for i := range h.plan.mailboxes {
		h.spawn(f, func() { h.mailboxLoop(f, mailbox{park.DefaultTenant, mailboxName(i)}) })
	}
	h.spawn(f, func() { h.mailboxLoop(f, mailbox{tenant, mailboxName(0)}) })
	h.spawn(f, func() { h.queryLoop(f) })
	h.spawn(f, func() { h.batchLoop(f) })
	for range h.plan.operators {
		h.spawn(f, func() { h.operatorLoop(f) })
	}
}

// sendStale sends a node that was declared dead the requests that clients could not send before.
func (h *history) sendStale(n *node) {
	f := h.outside
	for range 6 {
		h.waiting++
		j := h.jobs[h.rng.IntN(len(h.jobs))]
		h.after(h.between(0, nodeTTL/4), f, func() {
			h.spawn(f, func() {
				defer func() { h.waiting-- }()
				_, _ = rpc(h, f, n, time.Second, h.submitTo(j))
			})
		})
	}
}

func mailboxName(i int) string { return "box" + strconv.Itoa(i) }

// client is the client of one job: it submits until it knows the outcome, always with the same id.
func (h *history) client(f *process, j *job) {
	f.sleep(j.at)
	if j.cancelsEarly {
		h.count("cancel with its submission")
		j.first = h.randomNode()
		h.after(h.between(0, time.Millisecond), f, func() {
			h.spawn(f, func() { h.cancel(f, j.first, j.pool, j.storedID()) })
		})
	}
	cancel := j.cancel
	other, again, heir := j.conflicts, j.resubmits, j.reusesID
	if j = h.submit(f, j); j == nil || !j.acked {
		return
	}
	if again {
		f.sleep(h.between(0, 3*time.Second))
		h.submit(f, j)
	}
	if other {
		h.submitConflicting(f, j)
	}
	if cancel > 0 {
		f.sleep(cancel)
		h.cancelUntilEnded(f, j)
	}
	if heir {
		h.reuseID(f, j)
	}
}

// submit tries until the answer is final or a client would give up. It returns the job that was last submitted, which
// is another one if the job has no id.
func (h *history) submit(f *process, j *job) *job {
	patience := 2 * time.Second
	if j.givesUp {
		patience = 8 * time.Second // longer than most steps are in doubt
	}
	for try := range 12 {
		n := h.randomNode()
		if try == 0 && j.first != nil {
			n = j.first
		}
		a, err := rpc(h, f, n, patience, h.submitTo(j))
		switch {
		case err == nil:
			h.accepted(a.job)
			return a.job
		case final(err):
			h.rejected(a.job, err)
			return a.job
		case park.CodeOf(err) == park.OutcomeUnknown:
			j = h.withAnswerID(j, a.job, err)
		case j.givesUp && park.CodeOf(err) == park.StorageUnavailable:
			return a.job
		}
		if h.faultsOver && h.chance(0.5) {
			return j // the client is gone
		}
		f.sleep(h.between(20*time.Millisecond, 600*time.Millisecond))
	}
	return j
}

// withAnswerID returns the job to submit after an answer that its outcome is unknown: with the id of the answer.
func (h *history) withAnswerID(j, of *job, err error) *job {
	id := h.unknownID(err, of.sub.TaskID)
	if j.sub.TaskID != "" {
		return j
	}
	h.count("resend with the id of the answer")
	of.sub.TaskID = id
	return of
}

// unknownID returns the id in an answer that the outcome is unknown, or id.
func (h *history) unknownID(err error, id string) string {
	if park.CodeOf(err) != park.OutcomeUnknown {
		return id
	}
	h.count("outcome unknown")
	e, _ := errors.AsType[*park.Error](err)
	return e.TaskID
}

// submitConflicting submits another task under the id of an accepted job. It must not be accepted.
func (h *history) submitConflicting(f *process, j *job) {
	other := h.child(j)
	f.sleep(h.between(0, 3*time.Second))
	_, err := rpc(h, f, h.randomNode(), 2*time.Second, h.submitTo(other))
	if err == nil && other.state.lives == 0 && h.check.restored == 0 {
		h.fail("idempotent", "something else was taken for task %s", j.sub.TaskID)
	}
}

// reuseID waits until a job's task is pruned, and submits another under its id.
func (h *history) reuseID(f *process, j *job) {
	f.wait(h.plan.maxRun+h.plan.retention+3*time.Second, func() bool { return j.state.pruned || h.faultsOver })
	if j.state.pruned {
		heir := h.child(j)
		heir.sub.Deadline = park.Time{}
		h.submit(f, heir)
	}
}

// final reports whether the same request would get the same error.
func final(err error) bool {
	switch park.CodeOf(err) {
	case park.InvalidRequest, park.DeadlinePast, park.CostExceedsPool, park.TaskExists:
		return true
	default:
		return false
	}
}

func (h *history) accepted(j *job) {
	if j.state.lives == 0 {
		if h.check.restored == 0 {
			h.fail("durable", "task %s was accepted, but the database does not have it", j.sub.TaskID)
		}
		return
	}
	j.acked = true
}

func (h *history) rejected(j *job, err error) {
	j.refused = true
	switch known := h.check.known[j.storedID()]; {
	case j.state.pruned || j.state.lives > 1 || known != nil && known != j:
		// Its id was free again, and may be another job's.
	case j.acked || park.CodeOf(err) == park.TaskExists:
		h.fail("idempotent", "task %s was accepted before and is now refused: %v", j.sub.TaskID, err)
	}
}

// cancelUntilEnded cancels a task until it is known to have ended.
func (h *history) cancelUntilEnded(f *process, j *job) {
	for range 6 {
		_, err := rpc(h, f, h.randomNode(), 3*time.Second, func(ctx context.Context, e *engine.Engine) (park.Task, error) {
			return h.cancelAt(ctx, e, j.pool, j.storedID())
		})
		h.unknownID(err, j.storedID())
		switch {
		case err == nil || park.CodeOf(err) == park.TaskFinished:
			return
		case park.CodeOf(err) == park.TaskNotFound && (!j.acked || j.state.pruned || j.state.lives > 1):
			return
		case park.CodeOf(err) == park.TaskNotFound:
			h.fail("durable", "task %s was accepted and is not found", j.sub.TaskID)
			return
		}
		f.sleep(h.between(20*time.Millisecond, 500*time.Millisecond))
	}
}

// mailboxLoop reads a mailbox repeatedly, from where it was.
func (h *history) mailboxLoop(f *process, b mailbox) {
	seen := make(map[messageKey]bool)
	after := ""
	for restored := 0; ; {
		if restored != h.check.restored {
			restored = h.check.restored
			clear(seen)
		}
		page, err := rpc(h, f, h.randomNode(), 2*time.Second, func(ctx context.Context, e *engine.Engine) (park.MessagePage, error) {
			q := park.MailboxQuery{Tenant: b.tenant, Key: b.key, After: after, Wait: time.Second}
			return recordAnswer(h, request{op: "mailbox", query: q}, func() (park.MessagePage, error) { return e.Mailbox(ctx, q) })
		})
		if err != nil {
			page.Messages = nil
		}
		if restored != h.check.restored {
			continue
		}
		for _, m := range page.Messages {
			known := messageKey{m.PoolID, m.TaskID, m.CreatedAt.Micro()}
			if seen[known] {
				h.fail("one message", "the message of task %s came twice", m.TaskID)
			}
			seen[known] = true
			after = m.ID
		}
		if after != "" && h.chance(0.1) {
			_, _ = rpc(h, f, h.randomNode(), 2*time.Second, func(ctx context.Context, e *engine.Engine) (struct{}, error) {
				return recordAnswer(h, request{op: "trim"}, func() (struct{}, error) { return struct{}{}, e.TrimMailbox(ctx, b.tenant, b.key, after) })
			})
		}
		f.sleep(h.between(20*time.Millisecond, 800*time.Millisecond))
	}
}

// operatorLoop changes limits and states of pools from time to time.
func (h *history) operatorLoop(f *process) {
	for {
		f.sleep(h.between(500*time.Millisecond, 5*time.Second))
		if h.faultsOver {
			return
		}
		spec := h.plan.pools[h.rng.IntN(len(h.plan.pools))]
		patch, what := h.patch(spec)
		h.count(what)
		h.trace("operator", "%s of %s", what, spec.ID)
		_, _ = rpc(h, f, h.randomNode(), 2*time.Second, func(ctx context.Context, e *engine.Engine) (park.Pool, error) {
			return h.patchPool(ctx, e, spec.ID, patch)
		})
	}
}

// patchPool changes a pool at a node.
func (h *history) patchPool(ctx context.Context, e *engine.Engine, pool string, p park.PoolPatch) (park.Pool, error) {
	h.record(poolPatch{pool, p})
	return recordAnswer(h, request{op: "set", pool: pool, query: p}, func() (park.Pool, error) { return e.SetPool(ctx, pool, p) })
}

// cancelAt cancels a task at a node.
func (h *history) cancelAt(ctx context.Context, e *engine.Engine, pool, id string) (park.Task, error) {
	h.record(cancelRequest{pool, id})
	return recordAnswer(h, request{op: "cancel", pool: pool, id: id}, func() (park.Task, error) { return e.Cancel(ctx, pool, id) })
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
func (h *history) newJob(i int) {
	spec := h.plan.pools[h.rng.IntN(len(h.plan.pools))]
	w := work{Lasts: h.between(5*time.Millisecond, h.plan.maxRun), Stubborn: h.chance(0.4)}
	j := &job{pool: spec.ID, at: h.between(0, h.plan.activeTime), resubmits: h.chance(0.2), conflicts: h.chance(0.1), givesUp: h.chance(0.2)}
	if n := len(h.jobs); n > 0 && h.chance(0.4) {
		j.at = h.jobs[n-1].at // several jobs at once
	}
	s := &j.sub
	s.TaskID = fmt.Sprintf("t%d", i)
	s.ResourceCost.Units = park.Units(h.plan.unit * (1 + h.rng.Int64N(spec.MaxUnits/h.plan.unit)))
	s.Priority = park.Priority(h.rng.IntN(4) - 1)
	if h.chance(0.7) {
		s.MailboxKey.Key = mailboxName(h.rng.IntN(h.plan.mailboxes))
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
	h.addVariations(j)
	j.cancelsEarly, j.unnamed, j.reusesID = h.chance(0.05), h.chance(0.15), h.chance(0.3) && h.plan.retention > 0
	if j.unnamed {
		s.TaskID, j.cancelsEarly, s.OwnIDs = "", false, false
	}
	j.work.Lasts, j.work.Fails, j.work.Stubborn = w.Lasts, w.Fails, w.Stubborn
	h.addJob(j)
}

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
	sub     park.Submission
	pool    string
	work    work
	at      time.Duration // when it is submitted
	cancel  time.Duration // after its acceptance; 0: never
	again   bool          // it is submitted once more after its acceptance
	other   bool          // something else is submitted under its id then
	abrupt  bool          // its cancellation is sent together with its submission
	unnamed bool          // it is submitted without an id
	heir    bool          // once it is pruned another job is submitted under its id
	number  int           // it has this in its payload
	first   *node         // where it is submitted first, if that matters
	fate    fate
	bad     bool // nobody can take it
	id      string
	copied  bool // another tenant uses its id
	shy     bool // its client waits long for an answer, and gives up where it hears that nothing was accepted
	acked   bool
	refused bool
}

// reply is an engine's to a submission, and whose that was.
type reply struct {
	park.SubmitResult
	of *job
}

// offer hands a job in at an engine. Without an id each offer is a job of its own.
func (h *history) offer(j *job) func(context.Context, *engine.Engine) (reply, error) {
	return func(ctx context.Context, e *engine.Engine) (reply, error) {
		j := j
		if j.sub.TaskID == "" {
			h.count("submission without an id")
			j = h.child(j)
		}
		h.note("offer", "job %d %s to %s", j.number, j.sub.TaskID, e.Node())
		h.see(offered{j.number, j.pool, j.sub, j.work, j.bad})
		r, err := told(h, question{what: "submit", pool: j.pool, id: j.sub.TaskID, job: j.number}, func() (park.SubmitResult, error) {
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
			h.note("refused", "job %d %s : %v", j.number, j.sub.TaskID, err)
		}
		return reply{r, j}, err
	}
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
		h.spawn(f, func() { h.reader(f, box{park.DefaultTenant, boxName(i)}) })
	}
	h.spawn(f, func() { h.reader(f, box{tenant, boxName(0)}) })
	h.spawn(f, func() { h.visitor(f) })
	h.spawn(f, func() { h.batches(f) })
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
				_, _ = rpc(h, f, n, time.Second, h.offer(j))
			})
		})
	}
}

func boxName(i int) string { return "box" + strconv.Itoa(i) }

// client is one job's client: it submits until it knows, with the same id each time.
func (h *history) client(f *life, j *job) {
	f.sleep(j.at)
	if j.abrupt {
		h.count("cancel with its submission")
		j.first = h.any()
		h.after(h.between(0, time.Millisecond), f, func() {
			h.spawn(f, func() { h.cancel(f, j.first, j.pool, j.keptAs()) })
		})
	}
	cancel := j.cancel
	other, again, heir := j.other, j.again, j.heir
	if j = h.submit(f, j); j == nil || !j.acked {
		return
	}
	if again {
		f.sleep(h.between(0, 3*time.Second))
		h.submit(f, j)
	}
	if other {
		h.usurp(f, j)
	}
	if cancel > 0 {
		f.sleep(cancel)
		h.withdraw(f, j)
	}
	if heir {
		h.inherit(f, j)
	}
}

// submit tries until there is an answer that stays, or nobody would try any longer. It returns the job that was last
// tried, which is another one where the job has no id.
func (h *history) submit(f *life, j *job) *job {
	patience := 2 * time.Second
	if j.shy {
		patience = 8 * time.Second // as long as a step is in doubt, but for the longest
	}
	for try := range 12 {
		n := h.any()
		if try == 0 && j.first != nil {
			n = j.first
		}
		a, err := rpc(h, f, n, patience, h.offer(j))
		switch {
		case err == nil:
			h.accepted(a.of)
			return a.of
		case final(err):
			h.rejected(a.of, err)
			return a.of
		case park.CodeOf(err) == park.OutcomeUnknown:
			j = h.named(j, a.of, err)
		case j.shy && park.CodeOf(err) == park.StorageUnavailable:
			return a.of
		}
		if h.calm && h.chance(0.5) {
			return j // gone
		}
		f.sleep(h.between(20*time.Millisecond, 600*time.Millisecond))
	}
	return j
}

// named returns the job that is to be sent again after an answer that says that its outcome is unknown: with the id that
// the answer gives.
func (h *history) named(j, of *job, err error) *job {
	id := h.unknown(err, of.sub.TaskID)
	if j.sub.TaskID != "" {
		return j
	}
	h.count("resend with the id of the answer")
	of.sub.TaskID = id
	return of
}

// unknown checks what is said of a task whose outcome is unknown, and returns its id.
func (h *history) unknown(err error, id string) string {
	if park.CodeOf(err) != park.OutcomeUnknown {
		return id
	}
	h.count("outcome unknown")
	e, _ := errors.AsType[*park.Error](err)
	return e.TaskID
}

// usurp submits something else under the id of a job that was accepted. Nobody may take the one for the other.
func (h *history) usurp(f *life, j *job) {
	other := h.child(j)
	f.sleep(h.between(0, 3*time.Second))
	_, err := rpc(h, f, h.any(), 2*time.Second, h.offer(other))
	if err == nil && other.fate.born == 0 && h.check.restored == 0 {
		h.fail("idempotent", "something else was taken for task %s", j.sub.TaskID)
	}
}

// inherit waits until a job's task is pruned, and submits another under its id.
func (h *history) inherit(f *life, j *job) {
	f.pause(h.plan.longest+h.plan.retention+3*time.Second, func() bool { return j.fate.gone || h.calm })
	if j.fate.gone {
		heir := h.child(j)
		heir.sub.Deadline = park.Time{}
		h.submit(f, heir)
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
	if j.fate.born == 0 {
		if h.check.restored == 0 {
			h.fail("durable", "task %s was accepted, but the database does not have it", j.sub.TaskID)
		}
		return
	}
	j.acked = true
}

func (h *history) rejected(j *job, err error) {
	j.refused = true
	switch known := h.check.known[j.keptAs()]; {
	case j.fate.gone || j.fate.born > 1 || known != nil && known != j:
		// Its id was free again, and may be another's.
	case j.acked || park.CodeOf(err) == park.TaskExists:
		h.fail("idempotent", "task %s was accepted before and is now refused: %v", j.sub.TaskID, err)
	}
}

// withdraw cancels a task, until it is known to have ended.
func (h *history) withdraw(f *life, j *job) {
	for range 6 {
		_, err := rpc(h, f, h.any(), 3*time.Second, func(ctx context.Context, e *engine.Engine) (park.Task, error) {
			return h.drop(ctx, e, j.pool, j.keptAs())
		})
		h.unknown(err, j.keptAs())
		switch {
		case err == nil || park.CodeOf(err) == park.TaskFinished:
			return
		case park.CodeOf(err) == park.TaskNotFound && (!j.acked || j.fate.gone || j.fate.born > 1):
			return
		case park.CodeOf(err) == park.TaskNotFound:
			h.fail("durable", "task %s was accepted and is not found", j.sub.TaskID)
			return
		}
		f.sleep(h.between(20*time.Millisecond, 500*time.Millisecond))
	}
}

// reader reads a mailbox along, as a client does that comes back.
func (h *history) reader(f *life, b box) {
	seen := make(map[mail]bool)
	after := ""
	for restored := 0; ; {
		if restored != h.check.restored {
			restored = h.check.restored
			clear(seen)
		}
		page, err := rpc(h, f, h.any(), 2*time.Second, func(ctx context.Context, e *engine.Engine) (park.MessagePage, error) {
			q := park.MailboxQuery{Tenant: b.tenant, Key: b.key, After: after, Wait: time.Second}
			return told(h, question{what: "mailbox", query: q}, func() (park.MessagePage, error) { return e.Mailbox(ctx, q) })
		})
		if err != nil {
			page.Messages = nil
		}
		if restored != h.check.restored {
			continue
		}
		for _, m := range page.Messages {
			known := mail{m.PoolID, m.TaskID, m.CreatedAt.Micro()}
			if seen[known] {
				h.fail("one message", "the message of task %s came twice", m.TaskID)
			}
			seen[known] = true
			after = m.ID
		}
		if after != "" && h.chance(0.1) {
			_, _ = rpc(h, f, h.any(), 2*time.Second, func(ctx context.Context, e *engine.Engine) (struct{}, error) {
				return told(h, question{what: "trim"}, func() (struct{}, error) { return struct{}{}, e.TrimMailbox(ctx, b.tenant, b.key, after) })
			})
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
			return h.set(ctx, e, spec.ID, patch)
		})
	}
}

// set changes a pool at a node.
func (h *history) set(ctx context.Context, e *engine.Engine, pool string, p park.PoolPatch) (park.Pool, error) {
	h.see(patched{pool, p})
	return told(h, question{what: "set", pool: pool, query: p}, func() (park.Pool, error) { return e.SetPool(ctx, pool, p) })
}

// drop cancels a task at a node.
func (h *history) drop(ctx context.Context, e *engine.Engine, pool, id string) (park.Task, error) {
	h.see(cancels{pool, id})
	return told(h, question{what: "cancel", pool: pool, id: id}, func() (park.Task, error) { return e.Cancel(ctx, pool, id) })
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
	h.vary(j)
	j.abrupt, j.unnamed, j.heir = h.chance(0.05), h.chance(0.15), h.chance(0.3) && h.plan.retention > 0
	if j.unnamed {
		s.TaskID, j.abrupt, s.OwnIDs = "", false, false
	}
	j.work.Lasts, j.work.Fails, j.work.Stubborn = w.Lasts, w.Fails, w.Stubborn
	h.enlist(j)
}

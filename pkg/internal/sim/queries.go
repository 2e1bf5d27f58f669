package sim

import (
	"context"
	"fmt"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/park"
)

// tenant shares the pools with the default tenant.
const tenant = "acme"

// storedID returns the id under which the job's task is stored, as far as it is known.
func (j *job) storedID() string {
	if j.id != "" {
		return j.id
	}
	return j.sub.TaskID
}

// addVariations draws features that few jobs have.
func (h *history) addVariations(j *job) {
	s, w := &j.sub, &j.work
	if n := len(h.jobs); h.chance(0.15) {
		s.Tenant = tenant
		if s.MailboxKey.Key != "" {
			s.MailboxKey.Key = mailboxName(0)
		}
		// It may use an id that the other tenant uses.
		if o := max(n, 1); n > 0 && h.chance(0.4) {
			if of := h.jobs[h.rng.IntN(o)]; of.pool == j.pool && of.sub.TaskID != "" && !of.sub.OwnIDs && of.sub.Tenant == "" && !of.idShared {
				s.TaskID, s.OwnIDs, of.idShared = of.sub.TaskID, true, true
				h.count("id of another tenant's")
			}
		}
	}
	odd := [...]oddity{panics, noJSON, noStatus, large, poison, asksBackoff}[h.rng.IntN(6)]
	strange, toxin := h.chance(0.15), h.chance(0.04)
	if (odd == panics || odd == noJSON || odd == noStatus || odd == asksBackoff) && j.pool != "gpu" {
		odd = large // the daemon checks the reports of workers
	}
	refusals := h.faults.has("refusals")
	switch {
	case h.plan.huge && len(h.jobs)%6 == 0:
		w.Odd, w.Lasts = huge, 100*time.Millisecond
	case toxin && refusals:
		w.Odd = toxic
	case strange && odd == poison && refusals, strange && odd != poison && h.faults.has("odd work"):
		w.Odd = odd
	}
}

// batchLoop submits many jobs at once, some of them for the first time.
func (h *history) batchLoop(f *process) {
	for range 1 + h.rng.IntN(2) {
		f.sleep(h.between(0, h.plan.activeTime/2))
		var jobs []*job
		pool := h.plan.pools[h.rng.IntN(len(h.plan.pools))].ID
		for range 2 + h.rng.IntN(12) {
			if j := h.jobs[h.rng.IntN(len(h.jobs))]; j.pool == pool && !j.state.pruned && j.state.lives <= 1 {
				jobs = append(jobs, j)
			}
		}
		if len(jobs) < 2 {
			continue
		}
		h.count("batch")
		h.waiting++
		_, _ = rpc(h, f, h.randomNode(), 2*time.Second, h.submitAllTo(pool, jobs))
		h.waiting--
	}
}

// submitAllTo submits several jobs to an engine at once.
func (h *history) submitAllTo(pool string, jobs []*job) func(context.Context, *engine.Engine) (struct{}, error) {
	return func(ctx context.Context, e *engine.Engine) (struct{}, error) {
		subs := make([]park.Submission, len(jobs))
		of, asked := make([]*job, len(jobs)), h.now
		for i, j := range jobs {
			if j.sub.TaskID == "" {
				j = h.child(j)
			}
			h.record(submitted{j.number, j.pool, j.sub, j.work, j.invalid})
			of[i], subs[i] = j, j.sub
		}
		results, err := e.Submit(ctx, pool, subs)
		for i, j := range of {
			a := answer{request: request{op: "submit", pool: pool, id: subs[i].TaskID, job: j.number, asked: asked}, err: err}
			if err == nil {
				a.value = results[i]
				if results[i].Err != nil {
					a.err = results[i].Err
				}
			}
			h.record(a)
		}
		return struct{}{}, err
	}
}

// queryLoop reads tasks, lists and the log, and submits invalid jobs.
func (h *history) queryLoop(f *process) {
	for {
		f.sleep(h.between(200*time.Millisecond, 1500*time.Millisecond))
		pool := h.plan.pools[h.rng.IntN(len(h.plan.pools))].ID
		j := h.jobs[h.rng.IntN(len(h.jobs))]
		switch h.rng.IntN(6) {
		case 0, 1:
			wait := h.between(0, time.Second)
			if h.chance(0.5) {
				wait = 0
			}
			id := j.storedID()
			query(h, f, request{op: "task", pool: j.pool, id: id}, func(ctx context.Context, e *engine.Engine) (park.Task, error) {
				return e.Task(ctx, j.pool, id, wait)
			})
		case 2:
			q := park.TaskQuery{Status: [...]park.Status{"", park.Queued, park.Running, park.Completed}[h.rng.IntN(4)], Limit: [...]int{0, 3, 100}[h.rng.IntN(3)]}
			if h.chance(0.3) {
				q.Tenant = tenant
			}
			h.listAll(f, pool, q)
		case 3:
			h.queryAudit(f, park.AuditQuery{PoolID: pool, Limit: 1 + h.rng.IntN(50), Changes: h.chance(0.5)})
		case 4:
			h.queryAudit(f, park.AuditQuery{TaskID: j.storedID(), PoolID: j.pool, Tenant: j.sub.Tenant, Limit: 100})
		default:
			h.submitInvalid(f, j)
		}
	}
}

// query sends a request to any node, and records the answer for the judge.
func query[T any](h *history, f *process, q request, ask func(context.Context, *engine.Engine) (T, error)) T {
	v, _ := rpc(h, f, h.randomNode(), 2*time.Second, func(ctx context.Context, e *engine.Engine) (T, error) {
		return recordAnswer(h, q, func() (T, error) { return ask(ctx, e) })
	})
	return v
}

func (h *history) listAll(f *process, pool string, q park.TaskQuery) {
	for range 5 {
		page := query(h, f, request{op: "list", pool: pool, query: q}, func(ctx context.Context, e *engine.Engine) (park.TaskPage, error) {
			return e.Tasks(ctx, pool, q)
		})
		if q.Cursor = page.Next; q.Cursor == "" {
			return
		}
	}
}

func (h *history) queryAudit(f *process, q park.AuditQuery) {
	if n := len(h.db.events); n > 0 && h.chance(0.5) {
		q.Cursor = h.db.events[h.rng.IntN(n)].EventID
	}
	query(h, f, request{op: "audit", query: q}, func(ctx context.Context, e *engine.Engine) (park.EventPage, error) { return e.Audit(ctx, q) })
}

// submitInvalid submits a job in a form that every pool refuses.
func (h *history) submitInvalid(f *process, j *job) {
	c := &job{sub: j.sub, pool: j.pool, work: j.work, invalid: true}
	c.sub.TaskID, c.sub.OwnIDs = fmt.Sprintf("bad%d", len(h.jobs)), false
	h.addJob(c)
	switch h.rng.IntN(5) {
	case 0:
		c.sub.Payload = []byte(`{"no": JSON}`)
	case 1:
		c.sub.Command = []string{"true"}
	case 2:
		c.sub.ResourceCost.Kind = park.IO
	case 3:
		c.sub.TaskID = "no id"
	default:
		c.sub.Retry.MaxAttempts = -1
	}
	h.count("impossible submission")
	_, _ = rpc(h, f, h.randomNode(), 2*time.Second, h.submitTo(c))
}

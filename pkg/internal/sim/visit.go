package sim

import (
	"context"
	"fmt"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/park"
)

// tenant is one that shares the pools with the default one.
const tenant = "acme"

// keptAs returns the id that the job's task is kept under, as far as that is known.
func (j *job) keptAs() string {
	if j.id != "" {
		return j.id
	}
	return j.sub.TaskID
}

// vary draws for a job what few have.
func (h *history) vary(j *job) {
	s, w := &j.sub, &j.work
	if n := len(h.jobs); h.chance(0.15) {
		s.Tenant = tenant
		if s.MailboxKey.Key != "" {
			s.MailboxKey.Key = boxName(0)
		}
		// It may use an id that the other tenant uses.
		if o := max(n, 1); n > 0 && h.chance(0.4) {
			if of := h.jobs[h.rng.IntN(o)]; of.pool == j.pool && of.sub.TaskID != "" && !of.sub.OwnIDs && of.sub.Tenant == "" && !of.copied {
				s.TaskID, s.OwnIDs, of.copied = of.sub.TaskID, true, true
				h.count("id of another tenant's")
			}
		}
	}
	odd := [...]oddity{panics, noJSON, noStatus, large, poison, asksRest}[h.rng.IntN(6)]
	strange, toxin := h.chance(0.15), h.chance(0.04)
	if (odd == panics || odd == noJSON || odd == noStatus || odd == asksRest) && j.pool != "gpu" {
		odd = large // a worker reports what the daemon checks
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

// batches submits many jobs at once now and then, some of them for the first time.
func (h *history) batches(f *life) {
	for range 1 + h.rng.IntN(2) {
		f.sleep(h.between(0, h.plan.busy/2))
		var jobs []*job
		pool := h.plan.pools[h.rng.IntN(len(h.plan.pools))].ID
		for range 2 + h.rng.IntN(12) {
			if j := h.jobs[h.rng.IntN(len(h.jobs))]; j.pool == pool && !j.fate.gone && j.fate.born <= 1 {
				jobs = append(jobs, j)
			}
		}
		if len(jobs) < 2 {
			continue
		}
		h.count("batch")
		h.waiting++
		_, _ = rpc(h, f, h.any(), 2*time.Second, h.offerAll(pool, jobs))
		h.waiting--
	}
}

// offerAll hands jobs in at an engine, all at once.
func (h *history) offerAll(pool string, jobs []*job) func(context.Context, *engine.Engine) (struct{}, error) {
	return func(ctx context.Context, e *engine.Engine) (struct{}, error) {
		subs := make([]park.Submission, len(jobs))
		of, asked := make([]*job, len(jobs)), h.now
		for i, j := range jobs {
			if j.sub.TaskID == "" {
				j = h.child(j)
			}
			h.see(offered{j.number, j.pool, j.sub, j.work, j.bad})
			of[i], subs[i] = j, j.sub
		}
		results, err := e.Submit(ctx, pool, subs)
		for i, j := range of {
			a := answer{question: question{what: "submit", pool: pool, id: subs[i].TaskID, job: j.number, asked: asked}, err: err}
			if err == nil {
				a.value = results[i]
				if results[i].Err != nil {
					a.err = results[i].Err
				}
			}
			h.see(a)
		}
		return struct{}{}, err
	}
}

// visitor looks at tasks, lists and the log, as people and programs do, and offers what nobody can take.
func (h *history) visitor(f *life) {
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
			id := j.keptAs()
			visit(h, f, question{what: "task", pool: j.pool, id: id}, func(ctx context.Context, e *engine.Engine) (park.Task, error) {
				return e.Task(ctx, j.pool, id, wait)
			})
		case 2:
			q := park.TaskQuery{Status: [...]park.Status{"", park.Queued, park.Running, park.Completed}[h.rng.IntN(4)], Limit: [...]int{0, 3, 100}[h.rng.IntN(3)]}
			if h.chance(0.3) {
				q.Tenant = tenant
			}
			h.listAll(f, pool, q)
		case 3:
			h.browse(f, park.AuditQuery{PoolID: pool, Limit: 1 + h.rng.IntN(50), Changes: h.chance(0.5)})
		case 4:
			h.browse(f, park.AuditQuery{TaskID: j.keptAs(), PoolID: j.pool, Tenant: j.sub.Tenant, Limit: 100})
		default:
			h.impossible(f, j)
		}
	}
}

// visit asks any node something, and has the judge hear the answer.
func visit[T any](h *history, f *life, q question, ask func(context.Context, *engine.Engine) (T, error)) T {
	v, _ := rpc(h, f, h.any(), 2*time.Second, func(ctx context.Context, e *engine.Engine) (T, error) {
		return told(h, q, func() (T, error) { return ask(ctx, e) })
	})
	return v
}

func (h *history) listAll(f *life, pool string, q park.TaskQuery) {
	for range 5 {
		page := visit(h, f, question{what: "list", pool: pool, query: q}, func(ctx context.Context, e *engine.Engine) (park.TaskPage, error) {
			return e.Tasks(ctx, pool, q)
		})
		if q.Cursor = page.Next; q.Cursor == "" {
			return
		}
	}
}

func (h *history) browse(f *life, q park.AuditQuery) {
	if n := len(h.base.events); n > 0 && h.chance(0.5) {
		q.Cursor = h.base.events[h.rng.IntN(n)].EventID
	}
	visit(h, f, question{what: "audit", query: q}, func(ctx context.Context, e *engine.Engine) (park.EventPage, error) { return e.Audit(ctx, q) })
}

// impossible offers a job in a form that no pool takes.
func (h *history) impossible(f *life, j *job) {
	c := &job{sub: j.sub, pool: j.pool, work: j.work, bad: true}
	c.sub.TaskID, c.sub.OwnIDs = fmt.Sprintf("bad%d", len(h.jobs)), false
	h.enlist(c)
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
	_, _ = rpc(h, f, h.any(), 2*time.Second, h.offer(c))
}

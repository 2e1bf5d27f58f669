package engine

// Tasks as clients see them, and cancellation.

import (
	"context"
	"slices"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/internal/portion"
	"github.com/parkd-dev/parkd/pkg/internal/topic"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

const (
	defaultLimit = 100
	maxLimit     = 1000   // of items that may carry a result
	maxEvents    = 10_000 // of a page of the audit log
)

// Task implements [park.TaskService].
func (e *Engine) Task(ctx context.Context, pool, id string, wait time.Duration) (park.Task, error) {
	p, err := e.pool(pool)
	if err != nil {
		return park.Task{}, err
	}
	deadline := e.env.Mono() + wait
	for {
		ended, leave := e.hub.Join(topic.Ended(p.ID, id))
		t, err := p.task(ctx, id)
		left := deadline - e.env.Mono()
		if err != nil || t.Status.Ended() || left <= 0 {
			leave()
			return t, err
		}
		err = waitOn(ctx, p, ended, left)
		leave()
		if err != nil {
			return park.Task{}, err
		}
	}
}

func (p *pool) task(ctx context.Context, id string) (park.Task, error) {
	records, err := p.queue.Records(ctx, p.ID, []string{id})
	if p.eng.health.Read(ctx, p.QueueBackend, err) != nil {
		return park.Task{}, poolReadError(ctx, p, err)
	}
	if len(records) == 0 {
		return park.Task{}, park.Errorf(park.TaskNotFound, "pool %s has no task %q", p.ID, id)
	}
	tasks := p.tasksOf(ctx, records)
	return tasks[0], nil
}

// tasksOf returns records as clients see them, with the positions of parked tasks.
func (p *pool) tasksOf(ctx context.Context, records []ledger.Record) []park.Task {
	infos := p.parkedInfoOf(ctx, records)
	tasks := make([]park.Task, len(records))
	for i := range records {
		tasks[i] = records[i].View(p.Kind, infos[i].position)
		tasks[i].Waiting = infos[i].waiting
	}
	return tasks
}

// parkedInfo is what only the lot knows about a parked task.
type parkedInfo struct {
	position int64
	waiting  *park.Waiting
}

// parkedInfoOf returns that for the parked tasks among the records. If the pool does not answer in time, its tasks are
// shown without it.
func (p *pool) parkedInfoOf(ctx context.Context, records []ledger.Record) []parkedInfo {
	infos := make([]parkedInfo, len(records))
	if !slices.ContainsFunc(records, func(r ledger.Record) bool { return r.Status == park.Queued }) {
		return infos
	}
	err := p.inLoopBy(ctx, func(l *loop) {
		for i := range records {
			if records[i].Status == park.Queued {
				_, infos[i].position, _ = l.lot.State(records[i].TaskID)
				infos[i].waiting = l.waitingReason(&records[i])
			}
		}
	}, p.eng.newDeadline())
	if err != nil {
		return make([]parkedInfo, len(records))
	}
	return infos
}

// Tasks implements [park.TaskService].
func (e *Engine) Tasks(ctx context.Context, pool string, q park.TaskQuery) (park.TaskPage, error) {
	p, err := e.pool(pool)
	if err != nil {
		return park.TaskPage{}, err
	}
	if q.Limit, err = checkLimit(q.Limit, maxLimit); err != nil {
		return park.TaskPage{}, err
	}
	records, next, err := p.list(ctx, q)
	if err != nil {
		return park.TaskPage{}, poolReadError(ctx, p, err)
	}
	return park.TaskPage{Tasks: p.tasksOf(ctx, records), Next: next}, nil
}

// list reads a page of tasks, which ends early if their results are large.
func (p *pool) list(ctx context.Context, q park.TaskQuery) (records []ledger.Record, next string, err error) {
	part := portion.Of(p.maxResult())
	for limit := q.Limit; ; {
		q.Limit = min(part.Next(), limit-len(records))
		found, cursor, err := p.queue.List(ctx, p.ID, q)
		if p.eng.health.Read(ctx, p.QueueBackend, err) != nil {
			return nil, "", err
		}
		size := 0
		for i := range found {
			size += specSize(&found[i].Spec) + len(found[i].Result)
		}
		records, q.Cursor = append(records, found...), cursor
		if part.Read(len(found), size); cursor == "" || len(records) >= limit || part.Full() {
			return records, cursor, nil
		}
	}
}

// Cancel implements [park.TaskService].
func (e *Engine) Cancel(ctx context.Context, pool, id string) (park.Task, error) {
	p, err := e.pool(pool)
	if err != nil {
		return park.Task{}, err
	}
	for deadline := p.eng.newDeadline(); ; {
		res, err := p.doRetryStale(ctx, lot.Cancel{TaskID: id})
		if err != nil {
			return park.Task{}, withTaskID(id, err)
		}
		if !res[0].Stale {
			return p.awaitEnd(ctx, id)
		}
		t, err := p.task(ctx, id)
		switch {
		case err != nil:
			return park.Task{}, err
		case t.Status.Ended():
			return park.Task{}, park.Errorf(park.TaskFinished, "task %s has already ended (%s)", id, t.Status)
		case p.eng.remaining(deadline) == 0:
			return park.Task{}, errNotAccepted(p.ID)
		}
		// The task appeared between the operation and the read.
	}
}

// awaitEnd waits for the end of a cancelled task and returns the task. If the store cannot be read, it has accepted the
// cancellation nonetheless, so the read is tried again. After the deadline the answer is that the outcome is unknown.
func (p *pool) awaitEnd(ctx context.Context, id string) (park.Task, error) {
	for deadline := p.eng.newDeadline(); ; {
		woken, leave := p.eng.hub.Join(topic.Ended(p.ID, id))
		t, err := p.task(ctx, id)
		maxWait := p.eng.hubWait(time.Hour)
		switch {
		case err == nil && t.Status.Ended():
			leave()
			return t, nil
		case err == nil:
			deadline = p.eng.newDeadline()
		case park.CodeOf(err) == park.StorageUnavailable && p.eng.remaining(deadline) > 0:
			woken, maxWait = nil, retryInterval
			err = nil
		}
		if err == nil {
			err = waitOn(ctx, p, woken, maxWait)
		}
		leave()
		if park.CodeOf(err) == park.StorageUnavailable {
			err = withTaskID(id, errOutcomeUnknown("pool "+p.ID))
		}
		if err != nil {
			return t, err
		}
	}
}

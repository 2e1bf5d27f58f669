package engine

// Tasks as clients see them, and their cancellation.

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
	maxLimit     = 1000   // of what may carry a result
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
		err = sleep(ctx, p, ended, left)
		leave()
		if err != nil {
			return park.Task{}, err
		}
	}
}

func (p *pool) task(ctx context.Context, id string) (park.Task, error) {
	records, err := p.queue.Records(ctx, p.ID, []string{id})
	if p.eng.health.Read(ctx, p.QueueBackend, err) != nil {
		return park.Task{}, errStorageBecause(ctx, p, err)
	}
	if len(records) == 0 {
		return park.Task{}, park.Errorf(park.TaskNotFound, "pool %s has no task %q", p.ID, id)
	}
	tasks := p.tasksOf(ctx, records)
	return tasks[0], nil
}

// tasksOf returns records as clients see them, with the positions of those that are parked.
func (p *pool) tasksOf(ctx context.Context, records []ledger.Record) []park.Task {
	places := p.placesOf(ctx, records)
	tasks := make([]park.Task, len(records))
	for i := range records {
		tasks[i] = records[i].View(p.Kind, places[i].position)
		tasks[i].Waiting = places[i].waiting
	}
	return tasks
}

// place is what only the lot knows of a parked task.
type place struct {
	position int64
	waiting  *park.Waiting
}

// placesOf returns the places of those records that are parked. A pool that does not answer in time still shows its tasks,
// without them.
func (p *pool) placesOf(ctx context.Context, records []ledger.Record) []place {
	places := make([]place, len(records))
	if !slices.ContainsFunc(records, func(r ledger.Record) bool { return r.Status == park.Queued }) {
		return places
	}
	err := p.askBy(ctx, func(l *loop) {
		for i := range records {
			if records[i].Status == park.Queued {
				_, places[i].position, _ = l.lot.State(records[i].TaskID)
				places[i].waiting = l.waiting(&records[i])
			}
		}
	}, p.eng.due())
	if err != nil {
		return make([]place, len(records))
	}
	return places
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
		return park.TaskPage{}, errStorageBecause(ctx, p, err)
	}
	return park.TaskPage{Tasks: p.tasksOf(ctx, records), Next: next}, nil
}

// list reads a page of tasks, which ends early where its results are large.
func (p *pool) list(ctx context.Context, q park.TaskQuery) (records []ledger.Record, next string, err error) {
	part := portion.Of(p.maxResult())
	for most := q.Limit; ; {
		q.Limit = min(part.Next(), most-len(records))
		found, cursor, err := p.queue.List(ctx, p.ID, q)
		if p.eng.health.Read(ctx, p.QueueBackend, err) != nil {
			return nil, "", err
		}
		size := 0
		for i := range found {
			size += weigh(&found[i].Spec) + len(found[i].Result)
		}
		records, q.Cursor = append(records, found...), cursor
		if part.Read(len(found), size); cursor == "" || len(records) >= most || part.Full() {
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
	for due := p.eng.due(); ; {
		res, err := p.doFresh(ctx, lot.Cancel{TaskID: id})
		if err != nil {
			return park.Task{}, about(id, err)
		}
		if !res[0].Stale {
			return p.ended(ctx, id)
		}
		t, err := p.task(ctx, id)
		switch {
		case err != nil:
			return park.Task{}, err
		case t.Status.Ended():
			return park.Task{}, park.Errorf(park.TaskFinished, "task %s has already ended (%s)", id, t.Status)
		case p.eng.left(due) == 0:
			return park.Task{}, errAway(p.ID)
		}
		// It came between the two looks.
	}
}

// ended returns a task that was cancelled once it has ended. A store that cannot be read has taken the cancellation
// nonetheless, so it is asked again, and who has waited for too long is not told that nothing was accepted.
func (p *pool) ended(ctx context.Context, id string) (park.Task, error) {
	for due := p.eng.due(); ; {
		rung, leave := p.eng.hub.Join(topic.Ended(p.ID, id))
		t, err := p.task(ctx, id)
		wait := p.eng.patience(time.Hour)
		switch {
		case err == nil && t.Status.Ended():
			leave()
			return t, nil
		case err == nil:
			due = p.eng.due()
		case park.CodeOf(err) == park.StorageUnavailable && p.eng.left(due) > 0:
			rung, wait = nil, troubleRest
			err = nil
		}
		if err == nil {
			err = sleep(ctx, p, rung, wait)
		}
		leave()
		if park.CodeOf(err) == park.StorageUnavailable {
			err = about(id, errUnknown("pool "+p.ID))
		}
		if err != nil {
			return t, err
		}
	}
}

package engine

// The output of runs, for readers.

import (
	"context"
	"io"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/topic"
	"github.com/parkd-dev/parkd/pkg/park"
)

// Log implements [park.TaskService].
func (e *Engine) Log(ctx context.Context, pool, id string, q park.LogQuery) (*park.Log, error) {
	p, err := e.pool(pool)
	if err == nil {
		err = q.Check()
	}
	if err != nil {
		return nil, err
	}
	ended, leave := e.hub.Join(topic.Ended(p.ID, id))
	t, err := p.awaitRun(ctx, id, q)
	latest := q.Attempt == 0 || q.Attempt == t.Attempt
	switch {
	case err != nil:
	case p.Logs == nil:
		err = park.Errorf(park.LogNotFound, "pool %s (executor %s) keeps no logs: see the task's result", p.ID, p.Pool.PoolSpec.Executor)
	case t.Attempt == 0:
		err = park.Errorf(park.LogNotFound, "task %s is %s and has not run yet", id, t.Status)
	case q.Attempt > t.Attempt:
		err = park.Errorf(park.LogNotFound, "task %s has had %d runs, not %d", id, t.Attempt, q.Attempt)
	}
	if err != nil {
		leave()
		return nil, err
	}
	elsewhere := latest && p.node != nil && t.Node != "" && t.Node != p.nodeName()
	attempt := q.Attempt
	if attempt == 0 {
		attempt = t.Attempt
	}
	q.Follow = q.Follow && latest && !elsewhere && !t.Status.Ended()
	// A run from before this daemon started may have its log on this machine too.
	log, err := p.Logs.Log(ctx, p.ID, id, attempt, q, ended)
	if err != nil {
		leave()
		if elsewhere && park.CodeOf(err) == park.LogNotFound {
			err = park.Errorf(park.LogNotFound, "run %d of task %s is on node %s, and its log is there: ask that node", t.Attempt, id, t.Node)
		}
		return nil, err
	}
	log.ReadCloser = &followedLog{ReadCloser: log.ReadCloser, leave: leave}
	return log, nil
}

// awaitRun returns a task. With Follow it waits until the requested run has started or the task has ended without it.
func (p *pool) awaitRun(ctx context.Context, id string, q park.LogQuery) (park.Task, error) {
	for {
		started, leave := p.eng.hub.Join(topic.Started(p.ID, id))
		t, err := p.task(ctx, id)
		if err == nil && q.Follow && t.Attempt < max(q.Attempt, 1) && !t.Status.Ended() {
			err = waitOn(ctx, p, started, time.Hour)
			leave()
			if err != nil {
				return t, err
			}
			continue
		}
		leave()
		return t, err
	}
}

// followedLog is a log that stops waiting for the end of its task once it is closed.
type followedLog struct {
	io.ReadCloser
	leave func()
}

func (l *followedLog) Close() error {
	l.leave()
	return l.ReadCloser.Close()
}

package cmd

import (
	"context"
	"io"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// follower reads a task's log to its end, through all attempts and broken connections.
type follower struct {
	notice  func(format string, args ...any)
	rotated func(attempt int, from, to int64)
	svc     park.Service
	task    park.Task // as last seen
	out     io.Writer
	attempt int   // the attempt whose log is being read
	read    int64 // how many bytes of it have been read
	idle    bool  // the last round read nothing, and the attempt goes on
}

// followLog prints a task's log from the current attempt until the task has ended. If the pool keeps no logs, it prints
// nothing.
func followLog(ctx context.Context, g *globals, svc park.Service, t park.Task, out io.WriteCloser) error {
	f := &follower{notice: g.notice, rotated: g.noticeRotated, svc: svc, task: t, out: out, attempt: max(t.Attempt, 1)}
	for {
		done := false
		err := g.retryForever().do(ctx, func(ctx context.Context) (err error) {
			done, err = f.round(ctx)
			return err
		})
		switch {
		case err != nil:
			return err
		case done:
			return out.Close()
		case f.idle:
			err = sleep(ctx, time.Second)
		}
		if err != nil {
			return err
		}
	}
}

// round reads the rest of the attempt's log once, and reports whether there is no more to read. A log also ends if its
// daemon cannot tell how the task goes on, and before missing bytes: it is then opened again at that offset. The log is
// complete only if it was opened after the attempt had ended.
func (f *follower) round(ctx context.Context) (done bool, err error) {
	over := f.attemptEnded()
	q := park.LogQuery{Attempt: f.attempt, Offset: f.read, Follow: true}
	log, err := f.svc.Log(ctx, f.task.PoolID, f.task.TaskID, q)
	if park.CodeOf(err) == park.LogNotFound {
		return f.skipMissing(ctx, err)
	}
	if err != nil {
		return false, err
	}
	defer log.Close()
	f.rotated(f.attempt, f.read, log.Offset)
	f.read = max(f.read, log.Offset)
	n, err := io.Copy(f.out, log)
	f.read += n
	if err != nil {
		return false, err
	}
	if over {
		return f.next(), nil
	}
	err = f.refresh(ctx)
	f.idle = n == 0 && !f.attemptEnded()
	return false, err
}

// attemptEnded reports whether the attempt had ended when the task was last seen.
func (f *follower) attemptEnded() bool { return f.task.Status.Ended() || f.task.Attempt > f.attempt }

// next goes to the next attempt, and reports whether there is none.
func (f *follower) next() (done bool) {
	if f.task.Attempt <= f.attempt {
		return true
	}
	f.attempt, f.read, f.idle = f.attempt+1, 0, false
	return false
}

func (f *follower) refresh(ctx context.Context) error {
	now, err := f.svc.Task(ctx, f.task.PoolID, f.task.TaskID, 0)
	if err == nil {
		f.task = now
	}
	return err
}

// skipMissing skips an attempt without a log.
func (f *follower) skipMissing(ctx context.Context, why error) (done bool, err error) {
	if err := f.refresh(ctx); err != nil {
		return false, err
	}
	f.notice("No log: %v.", why)
	return f.next(), nil
}

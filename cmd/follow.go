package cmd

import (
	"context"
	"io"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// follower reads a task's log to its end, attempt by attempt, and over broken connections.
type follower struct {
	notice  func(format string, args ...any)
	rotated func(attempt int, from, to int64)
	svc     park.Service
	task    park.Task // as it was seen last
	out     io.Writer
	attempt int   // whose log is being read
	read    int64 // place in it up to which it was read
	idle    bool  // the last round brought nothing, and the attempt goes on
}

// followLog prints a task's log, from the attempt that it is at, until the task has ended. A pool that keeps no logs has
// none to print.
func followLog(ctx context.Context, g *globals, svc park.Service, t park.Task, out io.WriteCloser) error {
	f := &follower{notice: g.notice, rotated: g.noticeRotated, svc: svc, task: t, out: out, attempt: max(t.Attempt, 1)}
	for {
		done := false
		err := g.patient().ask(ctx, func(ctx context.Context) (err error) {
			done, err = f.round(ctx)
			return err
		})
		switch {
		case err != nil:
			return err
		case done:
			return out.Close()
		case f.idle:
			err = pause(ctx, time.Second)
		}
		if err != nil {
			return err
		}
	}
}

// round reads the attempt's log once, as far as it goes, and reports whether there is no more to read. A log also ends
// where its daemon cannot tell how the task goes on, and where bytes are missing: it is then opened again at that place.
// Only one that was opened after the attempt was over is read to its end.
func (f *follower) round(ctx context.Context) (done bool, err error) {
	over := f.over()
	q := park.LogQuery{Attempt: f.attempt, Offset: f.read, Follow: true}
	log, err := f.svc.Log(ctx, f.task.PoolID, f.task.TaskID, q)
	if park.CodeOf(err) == park.LogNotFound {
		return f.missing(ctx, err)
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
	err = f.look(ctx)
	f.idle = n == 0 && !f.over()
	return false, err
}

// over reports whether the attempt that is being read was over when the task was seen last.
func (f *follower) over() bool { return f.task.Status.Ended() || f.task.Attempt > f.attempt }

// next goes to the next attempt, and reports whether there can be none.
func (f *follower) next() (done bool) {
	if f.task.Attempt <= f.attempt {
		return true
	}
	f.attempt, f.read, f.idle = f.attempt+1, 0, false
	return false
}

func (f *follower) look(ctx context.Context) error {
	now, err := f.svc.Task(ctx, f.task.PoolID, f.task.TaskID, 0)
	if err == nil {
		f.task = now
	}
	return err
}

// missing goes on where an attempt has no log here.
func (f *follower) missing(ctx context.Context, why error) (done bool, err error) {
	if err := f.look(ctx); err != nil {
		return false, err
	}
	f.notice("No log: %v.", why)
	return f.next(), nil
}

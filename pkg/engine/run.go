package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/parkd-dev/parkd/pkg/internal/cluster"
	"github.com/parkd-dev/parkd/pkg/internal/keptjson"
	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

// run is the run of a task on this node.
type run struct {
	task      string
	attempt   int
	submitted park.Time // of the task: its id may be used again while part of the run is left
	cancel    context.CancelCauseFunc
	returned  bool // the executor has returned; the outcome is to be stored
	report    report
}

// launch begins runs. It must not block the loop, so submissions are read in another goroutine. A run that is to stop
// already ends without any work.
func (l *loop) launch(started []runStart) {
	if l.Runtime.Leased() {
		l.grantLeases(started)
		return
	}
	if l.node != nil && (!l.node.Alive() || l.lotNode != l.nodeName()) {
		return // others may have taken them over; if not, they are found once this node is alive again
	}
	p, now := l.pool, l.eng.env.Mono()
	var missing []runStart
	for _, s := range started {
		var cancel context.CancelCauseFunc
		s.startedAt = now
		s.ctx, cancel = context.WithCancelCause(l.runContext())
		s.run = &run{task: s.TaskID, attempt: s.Attempt, submitted: s.submitted, cancel: cancel}
		if old := l.runs[s.TaskID]; old != nil {
			old.cancel(park.ErrCancelled)
		}
		l.runs[s.TaskID] = s.run
		if cause := l.stopCause(s.TaskID); cause != nil {
			cancel(cause)
		} else if s.spec == nil {
			missing = append(missing, s)
			continue
		}
		p.eng.env.Go(func() { p.runTask(s) })
	}
	if len(missing) == 0 {
		return
	}
	prefetched := l.prefetch
	p.eng.env.Go(func() {
		p.readStarts(missing, prefetched)
		for _, s := range missing {
			p.eng.env.Go(func() { p.runTask(s) })
		}
	})
}

// stopCause returns why a run that begins now has to stop at once, or nil. Its task may have been cancelled by the step
// that started it, or later by another node, or the engine may be closing and have stopped its other runs.
func (l *loop) stopCause(id string) error {
	if s, _, _ := l.lot.State(id); s.Cancelled {
		return park.ErrCancelled
	}
	return l.activeRuns.stopCause()
}

// runContext is the parent context of runs.
func (p *pool) runContext() context.Context {
	if p.node != nil {
		return p.node.Life()
	}
	return p.eng.ctx
}

// runTask carries out a run and reports its outcome.
func (p *pool) runTask(s runStart) {
	if cause := p.activeRuns.add(s.run); cause != nil {
		s.run.cancel(cause)
	}
	requeue := lot.Requeue{TaskID: s.TaskID, Attempt: s.Attempt, SubmittedAt: s.submitted, Reason: park.ReasonShutdown}
	finish := lot.Finish{TaskID: s.TaskID, Attempt: s.Attempt, SubmittedAt: s.submitted}
	var op lot.Op = requeue
	if s.spec == nil && context.Cause(s.ctx) == nil {
		finish.Outcome = park.Failure(park.ReasonExecutorError, "the task's submission is not in the store")
		op = finish
	} else if o, ended := p.execute(s.ctx, s); ended {
		finish.Outcome = o
		op = finish
	} else if o.Shortage != nil && context.Cause(s.ctx) == nil {
		requeue.Reason = park.ReasonStartDeferred
		s.run.report.shortage = o.Shortage
		op = requeue
	} else if o.Reason == park.ReasonNodeLost || errors.Is(context.Cause(s.ctx), cluster.ErrNodeLost) {
		requeue.Reason = park.ReasonNodeLost
		op = requeue
	}
	p.activeRuns.remove(s.run)
	s.run.report.run = s.run
	s.run.report.setOp(op)
	_ = p.send(context.Background(), &s.run.report)
}

// execute calls the executor. ended is false if the task is to be requeued.
func (p *pool) execute(ctx context.Context, s runStart) (o park.Outcome, ended bool) {
	a := park.Assignment{PoolID: p.ID, TaskID: s.TaskID, Attempt: s.Attempt}
	if s.spec != nil { // else the run has no work to do
		a.Tenant, a.Units, a.Timeout = s.spec.Tenant, s.spec.Units, s.spec.Timeout
		a.Payload, a.Command, a.WorkDir = s.spec.Payload, s.spec.Command, s.spec.WorkDir
	}
	if p.node != nil {
		a.Proved = p.node.SinceHeartbeat
	}
	if a.Timeout > 0 {
		left := a.Timeout - (p.eng.env.Mono() - s.startedAt) // the read of the submission may have taken long
		if left <= 0 {
			s.run.cancel(park.ErrTimeout)
		}
		defer p.eng.env.AfterFunc(max(left, 0), func() { s.run.cancel(park.ErrTimeout) })()
	}
	o = p.runRecovered(ctx, a)
	cause := context.Cause(ctx)
	switch {
	case o.Status == park.Completed:
	case o.Shortage != nil && cause == nil:
		return o, false
	case o.Reason == park.ReasonNodeLost:
		return o, false
	case errors.Is(cause, park.ErrTimeout):
		o.Reason = park.ReasonTimeout
		if o.Message == "" {
			o.Message = cause.Error()
		}
	case cause != nil && !errors.Is(cause, park.ErrCancelled):
		return o, false
	case o.Status != park.Failed:
		o = park.Failure(park.ReasonExecutorError, fmt.Sprintf("the executor ended the task as %q", o.Status))
	}
	o = p.fitOutcome(o) // before the JSON check: many large results that end together would keep the processors busy
	if len(o.Result) > 0 {
		if err := keptjson.Check(o.Result); err != nil {
			o = park.Failure(park.ReasonExecutorError, "the executor's result "+err.Error())
		}
	}
	return o, true
}

// runRecovered turns a panic of the executor into a failure of the task.
func (p *pool) runRecovered(ctx context.Context, a park.Assignment) (o park.Outcome) {
	defer func() {
		if v := recover(); v != nil {
			p.eng.log.Error("executor panicked", "pool", p.ID, "task", a.TaskID, "panic", v)
			o = park.Failure(park.ReasonExecutorError, fmt.Sprintf("the executor panicked: %v", v))
		}
	}()
	if cause := context.Cause(ctx); cause != nil { // not every executor checks ctx first
		return park.Failure(park.ReasonCancelled, cause.Error())
	}
	return p.Executor.Run(ctx, a)
}

// forgetRun removes a run whose outcome was stored or came too late.
func (l *loop) forgetRun(r *run) {
	if l.runs[r.task] == r {
		r.cancel(nil)
		delete(l.runs, r.task)
		l.runsChanged()
	}
}

func (l *loop) stopRun(id string, cause error) {
	if r := l.runs[id]; r != nil {
		r.cancel(cause)
	}
}

// endRun removes a run that a step has ended, and its submission.
func (l *loop) endRun(c *ledger.Update) {
	if c.State.Status.Ended() {
		l.specs.take(c.TaskID)
		if c.State.Status == park.Completed || c.State.Status == park.Failed {
			l.runTime.add(c.State.EndedAt.Sub(c.State.StartedAt.Time))
		}
	}
	if r := l.runs[c.TaskID]; r != nil && r.attempt <= c.State.Attempt {
		r.cancel(nil)
		delete(l.runs, c.TaskID)
		l.runsChanged()
	}
}

func (l *loop) runsChanged() {
	l.runningHere.Store(int64(len(l.runs)))
	if l.drained != nil && len(l.runs) == 0 {
		select {
		case <-l.drained:
		default:
			close(l.drained)
		}
	}
}

// reconcile makes this node's runs those that the lot says run here, after another node or a failed store has changed
// the lot.
func (l *loop) reconcile() {
	for id, r := range l.runs {
		if s, _, ok := l.lot.State(id); !ok || s.Status != park.Running || !l.sameRun(r, &s) || s.Cancelled {
			r.cancel(park.ErrCancelled)
		}
	}
	if l.Runtime.Leased() {
		return
	}
	var started []runStart
	for _, id := range l.lot.RunningTasks() {
		s, _, _ := l.lot.State(id)
		if r := l.runs[id]; s.Node == l.lotNode && (r == nil || !l.sameRun(r, &s)) {
			started = append(started, runStart{Started: lot.Started{TaskID: id, Attempt: s.Attempt}, submitted: l.lot.SubmittedAt(id)})
		}
	}
	l.prefetch = nil
	l.launch(started)
}

// sameRun reports whether a run here is the current run of a live task in state s.
func (l *loop) sameRun(r *run, s *ledger.State) bool {
	return r.attempt == s.Attempt && r.submitted.Micro() == l.lot.SubmittedAt(r.task).Micro()
}

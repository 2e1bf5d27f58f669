package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/parkd-dev/parkd/pkg/lot"
	"github.com/parkd-dev/parkd/pkg/park"
)

// run is a task that runs on this node.
type run struct {
	task      string
	attempt   int
	submitted park.Time // of the task: its id may be used again while something of the run is left
	cancel    context.CancelCauseFunc
	over      bool // its executor has returned; its outcome is to be stored
	report    request
}

// executing counts the runs whose executors have not returned.
func (p *pool) executing() (n int) {
	for _, r := range p.runs {
		if !r.over {
			n++
		}
	}
	return n
}

// start is a run to begin. spec is nil where it has to be read from the store.
type start struct {
	lot.Started
	submitted park.Time
	spec      *park.Spec
	ctx       context.Context // of the run; ends with the reason to stop
	run       *run
	at        time.Duration // monotonic
}

// among returns the start's submission, unless what was read is that of another task with the id.
func (s *start) among(byID map[string]*park.Spec) *park.Spec {
	spec := byID[s.TaskID]
	if spec == nil || spec.SubmittedAt.Micro() != s.submitted.Micro() {
		return nil
	}
	return spec
}

// readRest is how long a start whose payload could not be read rests before it tries again.
const readRest = 100 * time.Millisecond

// launch begins runs. It must not block the loop, so what has to be read is read elsewhere. A run that somebody has
// asked to stop already ends without having begun its work.
func (p *pool) launch(started []start) {
	if p.Runtime.Leased() {
		p.handOver(started)
		return
	}
	if p.node != nil && (!p.node.alive() || p.as != p.nodeName()) {
		return // others may have taken them over already; if not, they are found once this node is alive again
	}
	var unread []start
	now := p.eng.env.Mono()
	for _, s := range started {
		var cancel context.CancelCauseFunc
		s.at = now
		s.ctx, cancel = context.WithCancelCause(p.life())
		s.run = &run{task: s.TaskID, attempt: s.Attempt, submitted: s.submitted, cancel: cancel}
		if old := p.runs[s.TaskID]; old != nil {
			old.cancel(park.ErrCancelled)
		}
		p.runs[s.TaskID] = s.run
		if why := p.stopped(s.TaskID); why != nil {
			cancel(why)
		} else if s.spec == nil {
			unread = append(unread, s)
			continue
		}
		p.eng.env.Go(func() { p.run(s) })
	}
	if len(unread) == 0 {
		return
	}
	ahead := p.ahead
	p.eng.env.Go(func() {
		p.read(unread, ahead)
		for _, s := range unread {
			p.eng.env.Go(func() { p.run(s) })
		}
	})
}

// stopped says why a run that begins now has to stop at once, or nil: its task was cancelled by the step that started it,
// or after that by another node; or the engine closes, and has told its other runs.
func (p *pool) stopped(id string) error {
	if s, _, _ := p.lot.State(id); s.Cancelled {
		return park.ErrCancelled
	}
	return p.work.closed()
}

// life is the context that runs live under.
func (p *pool) life() context.Context {
	if p.node != nil {
		return p.node.base.Load().ctx
	}
	return p.eng.ctx
}

// read fills in the specs, from what was read ahead or from the store. It goes on until it has them, for the tasks have
// their units already, or until none of the runs is to go on.
func (p *pool) read(starts []start, ahead *fetch) {
	if p.fill(starts, ahead) {
		return
	}
	ids := make([]string, len(starts))
	for i := range starts {
		ids[i] = starts[i].TaskID
	}
	goesOn := func(s start) bool { return s.ctx == nil || s.ctx.Err() == nil }
	for p.ctx.Err() == nil && slices.ContainsFunc(starts, goesOn) {
		byID, err := p.submissions(ids)
		if err == nil {
			for i := range starts {
				starts[i].spec = starts[i].among(byID)
			}
			return
		}
		p.eng.log.Error("payload not read", "pool", p.ID, "error", err)
		p.eng.rest(readRest)
	}
}

// run does one task's work and reports its outcome.
func (p *pool) run(s start) {
	if why := p.work.add(s.run); why != nil {
		s.run.cancel(why)
	}
	back := lot.Requeue{TaskID: s.TaskID, Attempt: s.Attempt, Submitted: s.submitted, Reason: park.ReasonShutdown}
	end := lot.Finish{TaskID: s.TaskID, Attempt: s.Attempt, Submitted: s.submitted}
	var op lot.Op = back
	if s.spec == nil && context.Cause(s.ctx) == nil {
		end.Outcome = park.Failure(park.ReasonExecutorError, "the task's submission is not in the store")
		op = end
	} else if o, ended := p.execute(s.ctx, s); ended {
		end.Outcome = o
		op = end
	} else if o.Shortage != nil && context.Cause(s.ctx) == nil {
		back.Reason = park.ReasonStartDeferred
		s.run.report.short = o.Shortage
		op = back
	} else if o.Reason == park.ReasonNodeLost || errors.Is(context.Cause(s.ctx), errNodeLost) {
		back.Reason = park.ReasonNodeLost
		op = back
	}
	p.work.remove(s.run)
	s.run.report.owed = s.run
	s.run.report.single(op)
	_ = p.send(context.Background(), &s.run.report)
}

// execute runs the executor. ended is false where the work was given up because the node is closing.
func (p *pool) execute(ctx context.Context, s start) (o park.Outcome, ended bool) {
	a := park.Assignment{PoolID: p.ID, TaskID: s.TaskID, Attempt: s.Attempt}
	if s.spec != nil { // else it is not begun
		a.Tenant, a.Units, a.Timeout = s.spec.Tenant, s.spec.Units, s.spec.Timeout
		a.Payload, a.Command, a.WorkDir = s.spec.Payload, s.spec.Command, s.spec.WorkDir
	}
	if p.node != nil {
		a.Proved = p.node.proved
	}
	if a.Timeout > 0 {
		left := a.Timeout - (p.eng.env.Mono() - s.at) // to read the submission may have taken long
		if left <= 0 {
			s.run.cancel(park.ErrTimeout)
		}
		defer p.eng.env.AfterFunc(max(left, 0), func() { s.run.cancel(park.ErrTimeout) })()
	}
	o = p.guarded(ctx, a)
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
	o = p.fit(o) // before its bytes are looked at: many large results that end together would keep the processors busy
	if len(o.Result) > 0 {
		if err := park.CheckJSON(o.Result); err != nil {
			o = park.Failure(park.ReasonExecutorError, "the executor's result "+err.Error())
		}
	}
	return o, true
}

// guarded turns a panic of the executor into a failure of the task.
func (p *pool) guarded(ctx context.Context, a park.Assignment) (o park.Outcome) {
	defer func() {
		if v := recover(); v != nil {
			p.eng.log.Error("executor panicked", "pool", p.ID, "task", a.TaskID, "panic", v)
			o = park.Failure(park.ReasonExecutorError, fmt.Sprintf("the executor panicked: %v", v))
		}
	}()
	if cause := context.Cause(ctx); cause != nil { // not every executor looks before it begins
		return park.Failure(park.ReasonCancelled, cause.Error())
	}
	return p.Executor.Run(ctx, a)
}

// forget lets go of a run whose outcome was stored, or came too late to be.
func (p *pool) forget(r *run) {
	if p.runs[r.task] == r {
		r.cancel(nil)
		delete(p.runs, r.task)
		p.noteIdle()
	}
}

func (p *pool) stopRun(id string, cause error) {
	if r := p.runs[id]; r != nil {
		r.cancel(cause)
	}
}

// endRun forgets a run that is over, and its submission.
func (p *pool) endRun(c *park.Update) {
	if c.State.Status.Ended() {
		p.specs.take(c.TaskID)
		if c.State.Status == park.Completed || c.State.Status == park.Failed {
			p.pace.add(c.State.EndedAt.Sub(c.State.StartedAt.Time))
		}
	}
	if r := p.runs[c.TaskID]; r != nil && r.attempt <= c.State.Attempt {
		r.cancel(nil)
		delete(p.runs, c.TaskID)
		p.noteIdle()
	}
}

func (p *pool) noteIdle() {
	p.here.Store(int64(len(p.runs)))
	if p.drained != nil && len(p.runs) == 0 {
		select {
		case <-p.drained:
		default:
			close(p.drained)
		}
	}
}

// pace is a moving average of how long runs take.
type pace struct{ mean time.Duration }

func (a *pace) add(d time.Duration) {
	if a.mean == 0 {
		a.mean = d
	}
	a.mean += (d - a.mean) / 16
}

// retryAfter estimates when a full lot has a place again: when the next of the running tasks has ended.
func (p *pool) retryAfter() time.Duration {
	mean := p.pace.mean
	if mean == 0 {
		mean = min(p.DefaultTimeout, time.Minute)
	}
	if p.lot.Row().State == park.Paused {
		return time.Minute
	}
	return min(max(mean/time.Duration(max(1, p.lot.Running())), time.Second), 10*time.Minute)
}

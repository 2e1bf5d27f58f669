package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

var errLost = errors.New("the lease was lost")

// tenure is one lease and its proof: when the request began that the daemon has last said yes to.
type tenure struct {
	park.Lease
	worker *Worker
	proved atomic.Int64 // by the worker's clock
}

// proof returns how old the proof is.
func (t *tenure) proof() time.Duration { return t.worker.now() - time.Duration(t.proved.Load()) }

// work runs one leased task and reports its end. The lease was asked for at the given time.
func (w *Worker) work(life context.Context, l park.Lease, asked time.Duration) {
	log := w.cfg.Log.With("task", l.TaskID, "attempt", l.Attempt)
	t := &tenure{Lease: l, worker: w}
	t.proved.Store(int64(asked))
	// An answer that was long on its way, or in a long poll, may be of a lease that has run out since.
	if t.proof() > w.cfg.TTL/freshShare {
		if err := w.keepOnce(life, t, w.cfg.TTL/lostShare); err != nil {
			log.Warn("not started: the lease could not be kept", "error", err)
			return
		}
	}
	log.Info("started", "units", l.Units)
	// The lease outlives a hurry: what has come to its end by then is still to be reported.
	held, lose := context.WithCancelCause(context.WithoutCancel(life))
	kept := w.hold(held, t, lose)
	ctx, stop := context.WithCancelCause(held)
	defer stop(nil)
	defer context.AfterFunc(life, func() { stop(context.Cause(life)) })()
	outcome := w.run(ctx, t)
	if outcome.Shortage == nil {
		w.pauses.end(w.cfg.Log)
	}
	if outcome.Shortage != nil && ctx.Err() == nil {
		w.giveBack(t, outcome.Shortage, log)
	} else if ofTheTask(ctx, outcome) {
		w.report(t, outcome, log)
	} else {
		log.Warn("stopped, not reported", "cause", context.Cause(ctx), "reason", outcome.Reason)
	}
	lose(nil)
	kept.Wait()
}

// ofTheTask reports whether an outcome is the task's own, and not what became of a run that had to end because the lease,
// the worker or its machine did. Such a task is another's once the lease has run out.
func ofTheTask(ctx context.Context, o park.Outcome) bool {
	if o.Status == park.Completed {
		return true
	}
	return ctx.Err() == nil && o.Reason != park.ReasonNodeLost && o.Reason != park.ReasonShutdown
}

// report tells the daemon how a task ended, for as long as the lease may live. The lease is kept meanwhile.
func (w *Worker) report(t *tenure, o park.Outcome, log *slog.Logger) {
	// Only the daemon can say for certain that the lease has run out.
	ctx, cancel := context.WithTimeoutCause(context.Background(), w.cfg.TTL, errLost)
	defer cancel()
	o = o.Tidy() // a daemon refuses what it could not keep
	end := func() error {
		return w.cfg.Service.EndLease(ctx, t.LeaseID, park.LeaseResult{
			Status: o.Status, Payload: o.Result, Reason: o.Reason, Message: o.Message,
		})
	}
	err := w.insist(ctx, "report the end", end)
	if park.CodeOf(err) == park.PayloadTooLarge {
		o = park.Failure(park.ReasonResultTooLarge, fmt.Sprintf("the result has %d bytes, which is more than the daemon takes: %v", len(o.Result), err))
		err = w.insist(ctx, "report the end", end)
	}
	if err != nil {
		log.Warn("end not reported", "error", err)
		return
	}
	log.Info("ended", "status", o.Status, "reason", o.Reason)
}

// run runs the task within its timeout.
func (w *Worker) run(ctx context.Context, t *tenure) park.Outcome {
	l := &t.Lease
	timeout := time.Duration(l.TimeoutSecs) * time.Second
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, timeout, park.ErrTimeout)
		defer cancel()
	}
	return w.cfg.Executor.Run(ctx, park.Assignment{
		PoolID: l.PoolID, TaskID: l.TaskID, Tenant: l.Tenant, Units: l.Units, Attempt: l.Attempt,
		Payload: l.Payload, Command: l.Command, WorkDir: l.WorkDir, Timeout: timeout, Proved: t.proof,
	})
}

// hold keeps the lease until held ends, and calls lose if it is lost: to a cancel, or to the clock. It judges by this
// machine's clock from before the daemon last said yes, and gives up a part of the TTL early: so the work has stopped
// before anybody else is given the task.
func (w *Worker) hold(held context.Context, t *tenure, lose context.CancelCauseFunc) *sync.WaitGroup {
	var both sync.WaitGroup
	both.Go(func() { w.keep(held, t, lose) })
	both.Go(func() {
		for {
			left := w.cfg.TTL - w.cfg.TTL/lastShare - t.proof()
			if left <= 0 {
				lose(errLost)
				return
			}
			// Timers stand still while the machine is suspended.
			if !rest(held, min(left, w.cfg.TTL/lostShare)) {
				return
			}
		}
	})
	return &both
}

func (w *Worker) keep(held context.Context, t *tenure, lose context.CancelCauseFunc) {
	retry := w.cfg.TTL / lostShare
	for pause := w.cfg.TTL/keepShare - t.proof(); rest(held, pause); {
		began := time.Now()
		err := w.keepOnce(held, t, retry)
		switch {
		case err == nil:
			pause = w.cfg.TTL/keepShare - time.Since(began)
		case final(err):
			lose(errLost)
			return
		case held.Err() == nil:
			w.cfg.Log.Warn("lease not kept", "task", t.TaskID, "error", err)
			pause = retry - time.Since(began)
		}
	}
}

// rest waits, and reports false if ctx ends first.
func rest(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

func (w *Worker) keepOnce(ctx context.Context, t *tenure, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	asked := w.now()
	_, err := w.cfg.Service.KeepLease(ctx, t.LeaseID, park.KeepRequest{TTL: park.Duration(w.cfg.TTL)})
	if err == nil {
		t.proved.Store(int64(asked))
	}
	return err
}

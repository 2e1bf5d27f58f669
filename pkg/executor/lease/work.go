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

// heldLease is a lease and the time at which its latest successful renewal was requested.
type heldLease struct {
	park.Lease
	worker  *Worker
	renewed atomic.Int64 // when, by the worker's clock
}

// sinceRenewal returns how long ago the latest successful renewal was requested.
func (t *heldLease) sinceRenewal() time.Duration {
	return t.worker.now() - time.Duration(t.renewed.Load())
}

// runTask runs one leased task and reports its outcome. The lease was requested at the given time.
func (w *Worker) runTask(workCtx context.Context, l park.Lease, requested time.Duration) {
	log := w.cfg.Log.With("task", l.TaskID, "attempt", l.Attempt)
	t := &heldLease{Lease: l, worker: w}
	t.renewed.Store(int64(requested))
	// After a long poll or a slow answer the lease may have expired already.
	if t.sinceRenewal() > w.cfg.TTL/freshFraction {
		if err := w.renew(workCtx, t, w.cfg.TTL/retryFraction); err != nil {
			log.Warn("not started: the lease could not be renewed", "error", err)
			return
		}
	}
	log.Info("started", "units", l.Units)
	// The lease outlives an abort: a run that has ended by then is still reported.
	leaseCtx, lose := context.WithCancelCause(context.WithoutCancel(workCtx))
	loops := w.holdLease(leaseCtx, t, lose)
	ctx, stop := context.WithCancelCause(leaseCtx)
	defer stop(nil)
	defer context.AfterFunc(workCtx, func() { stop(context.Cause(workCtx)) })()
	outcome := w.execute(ctx, t)
	if outcome.Shortage == nil {
		w.shortage.end(w.cfg.Log)
	}
	if outcome.Shortage != nil && ctx.Err() == nil {
		w.releaseLease(t, outcome.Shortage, log)
	} else if isTaskOutcome(ctx, outcome) {
		w.report(t, outcome, log)
	} else {
		log.Warn("stopped, not reported", "cause", context.Cause(ctx), "reason", outcome.Reason)
	}
	lose(nil)
	loops.Wait()
}

// isTaskOutcome reports whether the task itself caused the outcome, and not the loss of its lease, its worker or its machine.
// In the latter case another worker gets the task once the lease expires.
func isTaskOutcome(ctx context.Context, o park.Outcome) bool {
	if o.Status == park.Completed {
		return true
	}
	return ctx.Err() == nil && o.Reason != park.ReasonNodeLost && o.Reason != park.ReasonShutdown
}

// report sends the outcome of a task. It tries until the lease may have expired; the lease is renewed meanwhile.
func (w *Worker) report(t *heldLease, o park.Outcome, log *slog.Logger) {
	// Only the daemon knows for certain whether the lease has expired.
	ctx, cancel := context.WithTimeoutCause(context.Background(), w.cfg.TTL, errLost)
	defer cancel()
	o = o.Tidy() // the daemon rejects what it cannot store
	end := func() error {
		return w.cfg.Service.EndLease(ctx, t.LeaseID, park.LeaseResult{
			Status: o.Status, Payload: o.Result, Reason: o.Reason, Message: o.Message,
		})
	}
	err := w.retry(ctx, "report an outcome", end)
	if park.CodeOf(err) == park.PayloadTooLarge {
		o = park.Failure(park.ReasonResultTooLarge, fmt.Sprintf("the result has %d bytes, which is more than the daemon takes: %v", len(o.Result), err))
		err = w.retry(ctx, "report an outcome", end)
	}
	if err != nil {
		log.Warn("outcome not reported", "error", err)
		return
	}
	log.Info("ended", "status", o.Status, "reason", o.Reason)
}

// execute runs the task within its timeout.
func (w *Worker) execute(ctx context.Context, t *heldLease) park.Outcome {
	l := &t.Lease
	timeout := time.Duration(l.TimeoutSecs) * time.Second
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, timeout, park.ErrTimeout)
		defer cancel()
	}
	return w.cfg.Executor.Run(ctx, park.Assignment{
		PoolID: l.PoolID, TaskID: l.TaskID, Tenant: l.Tenant, Units: l.Units, Attempt: l.Attempt,
		Payload: l.Payload, Command: l.Command, WorkDir: l.WorkDir, Timeout: timeout, Proved: t.sinceRenewal,
	})
}

// holdLease renews the lease until leaseCtx ends, and calls lose if the lease is lost: because the daemon says so, or
// because too much time has passed since the last renewal. That time is counted from the request, on this machine's clock,
// and a part of the TTL is left unused: the run has stopped before another worker gets the task.
func (w *Worker) holdLease(leaseCtx context.Context, t *heldLease, lose context.CancelCauseFunc) *sync.WaitGroup {
	var loops sync.WaitGroup
	loops.Go(func() { w.renewLoop(leaseCtx, t, lose) })
	loops.Go(func() {
		for {
			remaining := w.cfg.TTL - w.cfg.TTL/marginFraction - t.sinceRenewal()
			if remaining <= 0 {
				lose(errLost)
				return
			}
			// Timers stand still while the machine is suspended.
			if !sleep(leaseCtx, min(remaining, w.cfg.TTL/retryFraction)) {
				return
			}
		}
	})
	return &loops
}

func (w *Worker) renewLoop(leaseCtx context.Context, t *heldLease, lose context.CancelCauseFunc) {
	retryAfter := w.cfg.TTL / retryFraction
	for delay := w.cfg.TTL/renewFraction - t.sinceRenewal(); sleep(leaseCtx, delay); {
		began := time.Now()
		err := w.renew(leaseCtx, t, retryAfter)
		switch {
		case err == nil:
			delay = w.cfg.TTL/renewFraction - time.Since(began)
		case permanent(err):
			lose(errLost)
			return
		case leaseCtx.Err() == nil:
			w.cfg.Log.Warn("lease not renewed", "task", t.TaskID, "error", err)
			delay = retryAfter - time.Since(began)
		}
	}
}

// sleep waits, and returns false if ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

func (w *Worker) renew(ctx context.Context, t *heldLease, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	requested := w.now()
	_, err := w.cfg.Service.KeepLease(ctx, t.LeaseID, park.KeepRequest{TTL: park.Duration(w.cfg.TTL)})
	if err == nil {
		t.renewed.Store(int64(requested))
	}
	return err
}

package lease

import (
	"context"
	"errors"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

var errLost = errors.New("the lease was lost")

// work runs one leased task and reports its end.
func (w *Worker) work(life context.Context, l park.Lease, granted time.Time) {
	log := w.cfg.Log.With("task", l.TaskID, "attempt", l.Attempt)
	log.Info("started", "units", l.Units)
	ctx, stop := context.WithCancelCause(life)
	defer stop(nil)
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		w.keep(ctx, l, granted, stop)
	}()
	outcome := w.run(ctx, l)
	lost := context.Cause(ctx)
	if errors.Is(lost, errLost) || errors.Is(lost, park.ErrShutdown) {
		<-kept
		log.Warn("stopped, not reported", "cause", lost)
		return
	}
	// The lease is kept while its end is on the way, for that may take a while too.
	err := w.insist(ctx, "report the end", func() error {
		return w.cfg.Service.EndLease(ctx, l.LeaseID, park.LeaseResult{
			Status: outcome.Status, Payload: outcome.Result, Reason: outcome.Reason, Message: outcome.Message,
		})
	})
	stop(nil)
	<-kept
	if err != nil {
		log.Warn("end not reported", "error", err)
		return
	}
	log.Info("ended", "status", outcome.Status, "reason", outcome.Reason)
}

// run runs the task within its timeout.
func (w *Worker) run(ctx context.Context, l park.Lease) park.Outcome {
	timeout := time.Duration(l.TimeoutSecs) * time.Second
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, timeout, park.ErrTimeout)
		defer cancel()
	}
	return w.cfg.Executor.Run(ctx, park.Assignment{
		PoolID: l.PoolID, TaskID: l.TaskID, Tenant: l.Tenant, Units: l.Units, Attempt: l.Attempt,
		Payload: l.Payload, Command: l.Command, WorkDir: l.WorkDir, Timeout: timeout,
	})
}

// keep keeps the lease until ctx ends. If it is lost (to a cancel, or to the clock), keep stops the work. It
// judges by this machine's clock from before the daemon last said yes, and gives up a part of the TTL early: so
// the work has stopped before anybody else is given the task.
func (w *Worker) keep(ctx context.Context, l park.Lease, granted time.Time, stop context.CancelCauseFunc) {
	every := w.cfg.TTL / keepsPerTTL
	tick := time.NewTicker(every)
	defer tick.Stop()
	expiry := time.AfterFunc(time.Until(granted.Add(w.cfg.TTL-every/2)), func() { stop(errLost) })
	defer expiry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		asked := time.Now()
		err := w.keepOnce(ctx, l, every)
		switch {
		case err == nil:
			expiry.Reset(time.Until(asked.Add(w.cfg.TTL - every/2)))
		case final(err):
			stop(errLost)
			return
		case ctx.Err() == nil:
			w.cfg.Log.Warn("lease not kept", "task", l.TaskID, "error", err)
		}
	}
}

func (w *Worker) keepOnce(ctx context.Context, l park.Lease, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	_, err := w.cfg.Service.KeepLease(ctx, l.LeaseID, park.KeepRequest{TTL: park.Duration(w.cfg.TTL)})
	return err
}

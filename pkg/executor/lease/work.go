package lease

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

var errLost = errors.New("the lease was lost")

// tenure is one lease and its proof: when the request began that the daemon has last said yes to.
type tenure struct {
	park.Lease
	proved atomic.Pointer[time.Time]
}

// proof returns how old the proof is.
func (t *tenure) proof() time.Duration { return time.Since(*t.proved.Load()) }

// work runs one leased task and reports its end. The lease was asked for at the given time.
func (w *Worker) work(life context.Context, l park.Lease, asked time.Time) {
	log := w.cfg.Log.With("task", l.TaskID, "attempt", l.Attempt)
	t := &tenure{Lease: l}
	t.proved.Store(&asked)
	// An answer that was long on its way, or in a long poll, may be of a lease that has run out since.
	if t.proof() > w.cfg.TTL/freshShare {
		if err := w.keepOnce(life, t, w.cfg.TTL/keepsPerTTL); err != nil {
			log.Warn("not started: the lease could not be kept", "error", err)
			return
		}
	}
	log.Info("started", "units", l.Units)
	ctx, stop := context.WithCancelCause(life)
	defer stop(nil)
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		w.keep(ctx, t, stop)
	}()
	outcome := w.run(ctx, t)
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

// keep keeps the lease until ctx ends. If it is lost (to a cancel, or to the clock), keep stops the work. It
// judges by this machine's clock from before the daemon last said yes, and gives up a part of the TTL early: so
// the work has stopped before anybody else is given the task.
func (w *Worker) keep(ctx context.Context, t *tenure, stop context.CancelCauseFunc) {
	every := w.cfg.TTL / keepsPerTTL
	tick := time.NewTicker(every)
	defer tick.Stop()
	expiry := time.AfterFunc(w.cfg.TTL-every/2-t.proof(), func() { stop(errLost) })
	defer expiry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := w.keepOnce(ctx, t, every)
		switch {
		case err == nil:
			expiry.Reset(w.cfg.TTL - every/2 - t.proof())
		case final(err):
			stop(errLost)
			return
		case ctx.Err() == nil:
			w.cfg.Log.Warn("lease not kept", "task", t.TaskID, "error", err)
		}
	}
}

func (w *Worker) keepOnce(ctx context.Context, t *tenure, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	asked := time.Now()
	_, err := w.cfg.Service.KeepLease(ctx, t.LeaseID, park.KeepRequest{TTL: park.Duration(w.cfg.TTL)})
	if err == nil {
		t.proved.Store(&asked)
	}
	return err
}

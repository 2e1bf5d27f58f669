package engine

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/env"
	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/internal/portion"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// Limits of a lease.
const (
	defaultTTL = 30 * time.Second
	minTTL     = time.Second
	maxTTL     = time.Hour
	maxLeases  = 1000
)

// Lease implements [park.LeaseService].
func (e *Engine) Lease(ctx context.Context, id string, r park.LeaseRequest) ([]park.Lease, error) {
	p, err := e.pool(id)
	if err != nil {
		return nil, err
	}
	w, err := newWaiter(p, r)
	if err != nil {
		return nil, err
	}
	if err := p.startWaiting(ctx, w); err != nil {
		return nil, err
	}
	waitCtx, stop := e.env.WithTimeout(ctx, time.Duration(r.Wait), context.DeadlineExceeded)
	defer stop()
	leases, err := receive(waitCtx, p, w.leases)
	if err == nil || waitCtx.Err() == nil {
		return leases, err
	}
	if err = ctx.Err(); err == nil {
		leases, err = p.stopWaiting(ctx, w, e.newDeadline())
	}
	if err != nil {
		p.returnLeases(w)
	}
	return leases, err
}

func newWaiter(p *pool, r park.LeaseRequest) (*waiter, error) {
	switch {
	case !p.Runtime.Leased():
		return nil, park.Errorf(park.PoolNotLeased, "pool %s runs its own tasks (runtime %s): they cannot be leased", p.ID, p.Runtime)
	case r.Max < 0 || r.Max > maxLeases:
		return nil, park.Errorf(park.InvalidRequest, "max must be from 1 to %d, not %d", maxLeases, r.Max)
	case r.Wait < 0:
		return nil, park.Errorf(park.InvalidRequest, "wait must not be negative")
	}
	ttl, err := checkTTL(r.TTL, defaultTTL)
	if err != nil {
		return nil, err
	}
	if r.Worker != "" {
		if err := park.CheckName("worker", r.Worker); err != nil {
			return nil, err
		}
	}
	var secret [16]byte
	p.eng.env.Read(secret[:])
	return &waiter{
		request: lot.LeaseRequest{Worker: r.Worker, Secret: hex.EncodeToString(secret[:]), Max: max(1, r.Max), MaxBytes: portion.MaxBytes, TTL: ttl},
		leases:  make(chan []park.Lease, 1),
	}, nil
}

func checkTTL(ttl park.Duration, unset time.Duration) (time.Duration, error) {
	d := time.Duration(ttl)
	if d == 0 {
		return unset, nil
	}
	if d < minTTL || d > maxTTL {
		return 0, park.Errorf(park.InvalidRequest, "ttl must be from %s to %s, not %s", minTTL, maxTTL, d)
	}
	return d, nil
}

func (p *pool) startWaiting(ctx context.Context, w *waiter) error {
	deadline := p.eng.newDeadline()
	m := &workerJoins{worker: w}
	m.reply = make(chan reply, 1)
	if err := p.sendBy(ctx, m, deadline); err != nil {
		return err
	}
	_, err := p.waitBy(ctx, &m.request, deadline)
	if err != nil {
		p.returnLeases(w)
	}
	return err
}

// stopWaiting ends a wait. If tasks were leased at the last moment, it returns them. If the deadline passes during a
// step, the step may hold leases for the worker, so the answer is that the outcome is unknown.
func (p *pool) stopWaiting(ctx context.Context, w *waiter, deadline time.Duration) ([]park.Lease, error) {
	m := &workerLeaves{worker: w}
	_, err := p.callBy(ctx, m, deadline)
	switch {
	case err != nil && ctx.Err() == nil && !env.Ready(p.done):
		return nil, errOutcomeUnknown("pool " + p.ID)
	case err != nil:
		return nil, err
	case !m.granted:
		return []park.Lease{}, nil
	}
	leases, err := receiveBy(ctx, p, w.leases, deadline)
	if errors.Is(err, errDeadline) {
		err = errOutcomeUnknown("pool " + p.ID)
	}
	return leases, err
}

// returnLeases ends the wait of a worker that has gone, and requeues the tasks that it was leased at the last moment.
func (p *pool) returnLeases(w *waiter) {
	p.eng.env.Go(func() {
		leases, err := p.stopWaiting(context.Background(), w, noDeadline)
		if err != nil {
			return
		}
		for _, l := range slices.Backward(leases) {
			m := &report{run: &run{task: l.TaskID, attempt: l.Attempt}}
			m.setOp(lot.Requeue{TaskID: l.TaskID, Attempt: l.Attempt, Reason: park.ReasonWorkerLost})
			_ = p.send(context.Background(), m)
		}
	})
}

// leaseRef is a parsed lease id.
type leaseRef struct {
	pool    *pool
	attempt int
	task    string
}

func (e *Engine) parseLease(id string) (leaseRef, error) {
	parts := strings.SplitN(id, ".", 4)
	if len(parts) == 4 {
		attempt, err := strconv.Atoi(parts[1])
		if p := e.pools[parts[0]]; p != nil && err == nil {
			return leaseRef{pool: p, attempt: attempt, task: parts[3]}, nil
		}
	}
	return leaseRef{}, errNoLease(id)
}

func errNoLease(id string) error { return park.Errorf(park.LeaseNotFound, "no such lease: %q", id) }

// KeepLease implements [park.LeaseService].
func (e *Engine) KeepLease(ctx context.Context, id string, r park.KeepRequest) (park.Kept, error) {
	l, err := e.parseLease(id)
	if err != nil {
		return park.Kept{}, err
	}
	ttl, err := checkTTL(r.TTL, 0)
	if err != nil {
		return park.Kept{}, err
	}
	if r.Progress != nil && (*r.Progress < 0 || *r.Progress > 1) {
		return park.Kept{}, park.Errorf(park.InvalidRequest, "progress must be from 0 to 1, not %g", *r.Progress)
	}
	res, err := l.pool.doRetryStale(ctx, lot.RenewLease{TaskID: l.task, Lease: id, TTL: ttl})
	if err != nil {
		return park.Kept{}, withTaskID(l.task, err)
	}
	if res[0].Stale {
		return park.Kept{}, l.pool.leaseLostError(ctx, id, l, "")
	}
	if n := l.pool.node; n != nil {
		kept := store.LeaseRenewal{PoolID: l.pool.ID, TaskID: l.task, Lease: id, TTL: res[0].LeaseTTL}
		counter, err := n.Store.RenewLease(ctx, kept)
		if err != nil {
			return park.Kept{}, withTaskID(l.task, e.writeError(ctx, "the leases", err))
		}
		// This node must not take the new counter for a renewal at another node, unless another node has renewed the
		// lease too.
		l.pool.post(&loopFunc{fn: func(l *loop) {
			if counter == l.renewals[id]+1 {
				l.renewals[id] = counter
			}
		}})
	}
	return park.Kept{LeaseID: id, ExpiresAt: res[0].LeaseUntil}, nil
}

// EndLease implements [park.LeaseService].
func (e *Engine) EndLease(ctx context.Context, id string, r park.LeaseResult) error {
	l, err := e.parseLease(id)
	if err != nil {
		return err
	}
	if r.Status != park.Completed && r.Status != park.Failed {
		return park.Errorf(park.InvalidRequest, "status must be completed or failed, not %q", r.Status)
	}
	if r.Status == park.Failed && r.Reason == "" {
		r.Reason = park.ReasonExecutorError
	}
	if err := checkResult(&r); err != nil {
		return err
	}
	if len(r.Reason) > park.MaxNameLength {
		return park.Errorf(park.InvalidRequest, "reason must have %d bytes at most, not %d", park.MaxNameLength, len(r.Reason))
	}
	if len(r.Message) > park.MaxMessage {
		return park.Errorf(park.InvalidRequest, "message must have %d bytes at most, not %d", park.MaxMessage, len(r.Message))
	}
	o := l.pool.fitOutcome(park.Outcome{Status: r.Status, Reason: r.Reason, Message: r.Message, Result: r.Payload})
	res, err := l.pool.doRetryStale(ctx, lot.Finish{TaskID: l.task, Attempt: l.attempt, Lease: id, Outcome: o})
	if err != nil {
		return withTaskID(l.task, err)
	}
	if res[0].Stale {
		return l.pool.leaseLostError(ctx, id, l, o.Status)
	}
	return nil
}

// ReleaseLease implements [park.LeaseService].
func (e *Engine) ReleaseLease(ctx context.Context, id string, r park.LeaseRelease) error {
	l, err := e.parseLease(id)
	if err != nil {
		return err
	}
	if len(r.Message) > maxReleaseMessage {
		return park.Errorf(park.InvalidRequest, "message must have %d bytes at most, not %d", maxReleaseMessage, len(r.Message))
	}
	op := lot.Requeue{TaskID: l.task, Attempt: l.attempt, Lease: id, Reason: park.ReasonStartDeferred}
	res, err := l.pool.doRetryStale(ctx, op)
	if err != nil {
		return withTaskID(l.task, err)
	}
	if res[0].Stale {
		return l.pool.leaseLostError(ctx, id, l, "")
	}
	e.log.Info("lease released: the worker did not start the task", "pool", l.pool.ID, "task", l.task, "message", r.Message)
	return nil
}

// maxReleaseMessage bounds the message of a worker that gives a lease back.
const maxReleaseMessage = 4 << 10

// leaseLostError returns why a lease is no longer valid. If this lease has already ended the task with the status, it
// returns nil: the first reply was lost.
func (p *pool) leaseLostError(ctx context.Context, id string, l leaseRef, status park.Status) error {
	records, err := p.queue.Records(ctx, p.ID, []string{l.task})
	if p.eng.health.Read(ctx, p.QueueBackend, err) != nil {
		return errors.Join(errPoolStore(p.ID, err), err)
	}
	if len(records) == 0 {
		return errNoLease(id)
	}
	r := &records[0]
	if status != "" && r.Lease == id && r.Status == status {
		return nil
	}
	what := fmt.Sprintf("task %s is %s", r.TaskID, r.Status)
	if !r.Status.Ended() {
		what += fmt.Sprintf(" in attempt %d", max(r.Attempt, 1))
	}
	return park.Errorf(park.LeaseLost, "the lease has expired or was revoked: %s", what)
}

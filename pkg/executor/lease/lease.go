// Package lease is a worker for a pool whose tasks are leased: it takes tasks from a daemon on another machine, runs
// them with a local executor, and reports their outcomes.
package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/parkd-dev/parkd/pkg/internal/suspend"
	"github.com/parkd-dev/parkd/pkg/park"
)

// Config is what a Worker is made from. Service, Pool and Executor are needed.
type Config struct {
	Service  park.LeaseService
	Pool     string
	Name     string // for people
	Executor park.Executor
	// Slots is how many tasks run at once; the pool's units limit it too. Default 1.
	Slots int
	// TTL is how long a lease lives without a renewal. After a worker is lost its tasks go to others once the TTL is
	// over. Default 30s.
	TTL time.Duration
	// Abort, once closed, stops all runs; their tasks are requeued when the leases expire. Outcomes of runs that have
	// ended by then are still reported.
	Abort <-chan struct{}
	// Suspended returns the total time this machine has been suspended, counted from any fixed point. By default it
	// asks the system.
	Suspended func() time.Duration
	Log       *slog.Logger // default: none
}

const (
	defaultTTL = 30 * time.Second
	// longPoll is how long the daemon may wait for a task before it answers.
	longPoll = 30 * time.Second
	// A lease is renewed after a quarter of its TTL. A request without an answer is repeated after an eighth, so a third
	// request is made in the middle of the TTL if two are lost. A run is told to stop after three quarters of the TTL,
	// counted from when the last successful renewal was requested.
	renewFraction  = 4
	retryFraction  = 8
	marginFraction = 4
	// A lease that was requested less than this fraction of the TTL ago is started without a renewal.
	freshFraction = 6
	maxBackoff    = 10 * time.Second
)

// Worker takes tasks and runs them.
type Worker struct {
	cfg      Config
	began    time.Time
	slots    chan struct{} // one element for each running task
	shortage shortageBackoff
}

// New returns a Worker.
func New(c Config) (*Worker, error) {
	if c.Service == nil || c.Pool == "" || c.Executor == nil {
		return nil, errors.New("a worker needs a service, a pool and an executor")
	}
	if c.Slots < 0 || c.TTL < 0 {
		return nil, errors.New("the slots and the TTL of a worker must not be negative")
	}
	if c.Slots == 0 {
		c.Slots = 1
	}
	if c.TTL == 0 {
		c.TTL = defaultTTL
	}
	if c.Suspended == nil {
		c.Suspended = suspend.New().Total
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Worker{cfg: c, began: time.Now(), slots: make(chan struct{}, c.Slots)}, nil
}

// now reads a monotonic clock that also counts the time the machine is suspended.
func (w *Worker) now() time.Duration { return time.Since(w.began) + w.cfg.Suspended() }

// Run takes and runs tasks until ctx ends; then it takes no more and returns nil once all runs have ended. It returns an
// error only if waiting cannot help, such as for an unknown pool. It waits for a daemon that cannot be reached.
func (w *Worker) Run(ctx context.Context) error {
	// Tasks outlive ctx; only Abort ends them.
	workCtx, end := context.WithCancelCause(context.WithoutCancel(ctx))
	defer end(nil)
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-w.cfg.Abort:
			end(park.ErrShutdown)
		case <-done:
		}
	}()
	var running sync.WaitGroup
	defer running.Wait()
	for {
		free, ok := w.waitForSlot(ctx)
		if !ok {
			return nil
		}
		if free, ok = w.waitOutShortage(ctx, free); !ok {
			return nil
		}
		leases, requested, err := w.takeTasks(ctx, free)
		if ctx.Err() != nil && len(leases) == 0 {
			return nil
		}
		if err != nil {
			return fmt.Errorf("take tasks of pool %s: %w", w.cfg.Pool, err)
		}
		for _, l := range leases {
			w.slots <- struct{}{}
			running.Go(func() {
				defer func() { <-w.slots }()
				w.runTask(workCtx, l, requested)
			})
		}
	}
}

// waitForSlot waits for a free slot and returns how many are free.
func (w *Worker) waitForSlot(ctx context.Context) (free int, ok bool) {
	select {
	case w.slots <- struct{}{}:
		// Only this goroutine fills slots, so it stays free.
		<-w.slots
	case <-ctx.Done():
		return 0, false
	}
	return cap(w.slots) - len(w.slots), ctx.Err() == nil
}

// takeTasks leases up to n tasks. It also returns when the request was made: the leases were granted after that.
func (w *Worker) takeTasks(ctx context.Context, n int) (leases []park.Lease, requested time.Duration, err error) {
	r := park.LeaseRequest{Worker: w.cfg.Name, Max: n, TTL: park.Duration(w.cfg.TTL), Wait: park.Duration(longPoll)}
	err = w.retry(ctx, "ask for tasks", func() error {
		requested = w.now()
		leases, err = w.cfg.Service.Lease(ctx, w.cfg.Pool, r)
		return err
	})
	return leases, requested, err
}

// retry repeats f until it succeeds or fails with a permanent error.
func (w *Worker) retry(ctx context.Context, action string, f func() error) error {
	policy := backoff.NewExponentialBackOff()
	policy.InitialInterval, policy.MaxInterval = 100*time.Millisecond, maxBackoff
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := f()
		if err != nil && permanent(err) {
			return struct{}{}, backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(policy), backoff.WithMaxElapsedTime(0), backoff.WithNotify(func(err error, delay time.Duration) {
		if ctx.Err() == nil {
			w.cfg.Log.Warn("no answer", "to", action, "error", err, "rest", delay.String())
		}
	}))
	return err
}

// permanent reports whether a repeated request would get the same error.
func permanent(err error) bool {
	code := park.CodeOf(err)
	if code == park.Internal {
		return false
	}
	return code.HTTPStatus() < http.StatusInternalServerError
}

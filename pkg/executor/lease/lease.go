// Package lease works for a pool whose tasks are leased: it takes tasks from a daemon elsewhere, runs them with
// an executor of this machine, and reports how they ended.
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
	// Slots is how many tasks run at once; what fits into the pool's units bounds it too. Default 1.
	Slots int
	// TTL is how long a lease lives without being kept: so long after this worker is gone others get its
	// tasks. Default 30s.
	TTL time.Duration
	// Hurry, once closed, stops what runs; its tasks are requeued when their leases have run out. What has come to its
	// end is reported all the same.
	Hurry <-chan struct{}
	// Slept returns for how long this machine has been suspended, from any zero. Default: what the system tells.
	Slept func() time.Duration
	Log   *slog.Logger // default: none
}

const (
	defaultTTL = 30 * time.Second
	// longPoll is how long the daemon is asked to wait for a task.
	longPoll = 30 * time.Second
	// A lease is kept after a quarter of its life. A request that is lost is given up, and made again, after an eighth:
	// so after two that were lost the third is made in the middle of the lease's life. What runs is told to stop after
	// three quarters of it, which are counted from before the daemon last said yes.
	keepShare = 4
	lostShare = 8
	lastShare = 4 // the last so-many-th is not used
	// freshShare is the part of the TTL within which a lease that was asked for is begun without keeping it first.
	freshShare  = 6
	longestRest = 10 * time.Second
)

// Worker takes tasks and runs them.
type Worker struct {
	cfg    Config
	began  time.Time
	slots  chan struct{} // holds one element for each task that runs
	pauses pauses
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
	if c.Slept == nil {
		c.Slept = suspend.New().Total
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Worker{cfg: c, began: time.Now(), slots: make(chan struct{}, c.Slots)}, nil
}

// now reads a clock that nobody sets and that goes on while the machine is suspended.
func (w *Worker) now() time.Duration { return time.Since(w.began) + w.cfg.Slept() }

// Run works until ctx ends; then it takes nothing more and returns nil when what runs has come to its end. An
// error is one that waiting does not mend, such as a pool that is not there. A daemon that cannot be reached
// is waited for.
func (w *Worker) Run(ctx context.Context) error {
	// Tasks outlive ctx; only a hurry ends them.
	life, end := context.WithCancelCause(context.WithoutCancel(ctx))
	defer end(nil)
	over := make(chan struct{})
	defer close(over)
	go func() {
		select {
		case <-w.cfg.Hurry:
			end(park.ErrShutdown)
		case <-over:
		}
	}()
	var running sync.WaitGroup
	defer running.Wait()
	for {
		free, ok := w.await(ctx)
		if !ok {
			return nil
		}
		if free, ok = w.pause(ctx, free); !ok {
			return nil
		}
		leases, asked, err := w.take(ctx, free)
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
				w.work(life, l, asked)
			})
		}
	}
}

// await waits for a free slot and returns how many there are.
func (w *Worker) await(ctx context.Context) (free int, ok bool) {
	select {
	case w.slots <- struct{}{}:
		// Only this goroutine fills slots, so they stay free.
		<-w.slots
	case <-ctx.Done():
		return 0, false
	}
	return cap(w.slots) - len(w.slots), ctx.Err() == nil
}

// take leases up to n tasks, and returns when it asked for them: they were granted after that.
func (w *Worker) take(ctx context.Context, n int) (leases []park.Lease, asked time.Duration, err error) {
	r := park.LeaseRequest{Worker: w.cfg.Name, Max: n, TTL: park.Duration(w.cfg.TTL), Wait: park.Duration(longPoll)}
	err = w.insist(ctx, "ask for tasks", func() error {
		asked = w.now()
		leases, err = w.cfg.Service.Lease(ctx, w.cfg.Pool, r)
		return err
	})
	return leases, asked, err
}

// insist repeats f while waiting may mend its error.
func (w *Worker) insist(ctx context.Context, what string, f func() error) error {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = 100*time.Millisecond, longestRest
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := f()
		if err != nil && final(err) {
			return struct{}{}, backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(pause), backoff.WithMaxElapsedTime(0), backoff.WithNotify(func(err error, rest time.Duration) {
		if ctx.Err() == nil {
			w.cfg.Log.Warn("no answer", "to", what, "error", err, "rest", rest.String())
		}
	}))
	return err
}

// final reports whether an error is an answer that stays the same.
func final(err error) bool {
	code := park.CodeOf(err)
	if code == park.Internal {
		return false
	}
	return code.HTTPStatus() < http.StatusInternalServerError
}

package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/parkd-dev/parkd/pkg/config"
	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/executor/command"
	"github.com/parkd-dev/parkd/pkg/executor/httpcall"
	"github.com/parkd-dev/parkd/pkg/executor/notify"
	"github.com/parkd-dev/parkd/pkg/executor/simulate"
	"github.com/parkd-dev/parkd/pkg/park"
)

// crew is the pools with those who do their work.
type crew struct {
	pools    []engine.Pool
	commands []*command.Executor
	dir      string // where commands keep their logs and locks
	scratch  bool   // it is gone with the daemon
	nodeTTL  time.Duration
	log      *slog.Logger
}

// hire makes the executors of all pools.
func hire(c *config.Config, log *slog.Logger) (*crew, error) {
	w := &crew{log: log, nodeTTL: c.NodeTTL}
	if err := w.house(c); err != nil {
		return nil, err
	}
	for _, pc := range c.Pools {
		p, err := w.pool(pc)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("pool %s: %w", pc.Name, err), w.close())
		}
		w.pools = append(w.pools, p)
	}
	return w, nil
}

// house chooses the folder of the commands: beside the database where there is one, for what a restarted
// daemon must know of the commands of the one before goes with the tasks; else for this daemon's time only.
func (w *crew) house(c *config.Config) error {
	if slices.Contains(c.Backends(), park.File) {
		w.dir = c.File.Path + ".runs"
		return nil
	}
	dir, err := os.MkdirTemp("", "parkd-runs-")
	if err != nil {
		return fmt.Errorf("make a folder for the logs of commands: %w", err)
	}
	w.dir, w.scratch = dir, true
	return nil
}

// enginePool returns a pool without those who do its work.
func enginePool(c config.Pool) engine.Pool {
	return engine.Pool{PoolSpec: c.Spec(), Idle: c.Idle, Settings: c.Common()}
}

func (w *crew) pool(c config.Pool) (engine.Pool, error) {
	p := enginePool(c)
	if n := c.Mailbox.Notifier; n != nil {
		notifier, err := notify.New(notify.Config{BaseURL: n.BaseURL, AuthHeader: n.AuthHeader, Secret: n.Secret})
		if err != nil {
			return p, fmt.Errorf("notifier: %w", err)
		}
		p.Notifier = notifier
	}
	var fence time.Duration
	if c.Queue.Kind() == park.Postgres {
		fence = w.nodeTTL * 7 / 8 // counted from the last proof; the rest is for a shim on a busy machine
	}
	err := w.executor(&p, c.Executor, fence)
	if err != nil {
		return p, fmt.Errorf("executor: %w", err)
	}
	return p, nil
}

func (w *crew) executor(p *engine.Pool, c config.Executor, fence time.Duration) (err error) {
	switch c.Type {
	case config.ExecutorExec:
		var e *command.Executor
		e, err = command.New(command.Config{
			Dir: w.dir, Command: c.Command, WorkDir: c.WorkDir, Env: c.Env, KillGrace: orNone(c.KillGrace), Fence: fence,
			MaxLogBytes: c.MaxLogBytes, Log: w.log,
		})
		if err == nil {
			w.commands = append(w.commands, e)
			p.Executor, p.Logs = e, e
		}
	case config.ExecutorHTTP:
		p.Executor, err = httpcall.New(httpcall.Config{URL: c.URL, Headers: c.Headers, MaxReply: c.MaxReplyBytes})
	case config.ExecutorSimulate:
		p.Executor = simulate.New()
	case config.ExecutorWorker:
	}
	return err
}

// orNone has an executor take no time for what it is: to it, 0 is a time that was not given.
func orNone(d time.Duration) time.Duration { return max(d, time.Nanosecond) }

// settle waits until nothing is left of the commands of an earlier daemon: only then may others have their units. A pool
// of which something is left after all that starts nothing; the others serve.
func (w *crew) settle(ctx context.Context) error {
	errs := make([]error, len(w.pools))
	var all sync.WaitGroup
	for i := range w.pools {
		if e, ok := w.pools[i].Executor.(*command.Executor); ok {
			all.Go(func() { errs[i] = e.WaitForOrphans(ctx, w.pools[i].ID, settleWithin) })
		}
	}
	all.Wait()
	return errors.Join(errs...)
}

func (w *crew) close() error {
	var errs []error
	for _, e := range w.commands {
		errs = append(errs, e.Close())
	}
	if w.scratch {
		errs = append(errs, os.RemoveAll(w.dir))
	}
	return errors.Join(errs...)
}

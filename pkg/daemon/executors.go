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

// executors are the pools with their executors.
type executors struct {
	pools     []engine.Pool
	commands  []*command.Executor
	runDir    string // logs and locks of commands
	temporary bool   // removed with the daemon
	nodeTTL   time.Duration
	log       *slog.Logger
}

// newExecutors makes the executors of all pools.
func newExecutors(c *config.Config, log *slog.Logger) (*executors, error) {
	x := &executors{log: log, nodeTTL: c.NodeTTL}
	if err := x.chooseRunDir(c); err != nil {
		return nil, err
	}
	for _, pc := range c.Pools {
		p, err := x.pool(pc)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("pool %s: %w", pc.Name, err), x.close())
		}
		x.pools = append(x.pools, p)
	}
	return x, nil
}

// chooseRunDir chooses the folder of the commands. With a SQLite file it is beside the file, because a restarted daemon must
// find the commands of the tasks in it. Otherwise it is temporary.
func (x *executors) chooseRunDir(c *config.Config) error {
	if slices.Contains(c.Backends(), park.File) {
		x.runDir = c.File.Path + ".runs"
		return nil
	}
	dir, err := os.MkdirTemp("", "parkd-runs-")
	if err != nil {
		return fmt.Errorf("make a folder for the logs of commands: %w", err)
	}
	x.runDir, x.temporary = dir, true
	return nil
}

// enginePool returns a pool without its executor.
func enginePool(c config.Pool) engine.Pool {
	return engine.Pool{PoolSpec: c.Spec(), Idle: c.Idle, Settings: c.Common()}
}

func (x *executors) pool(c config.Pool) (engine.Pool, error) {
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
		fence = x.nodeTTL * 7 / 8 // the rest is for a shim on a busy machine
	}
	err := x.executor(&p, c.Executor, fence)
	if err != nil {
		return p, fmt.Errorf("executor: %w", err)
	}
	return p, nil
}

func (x *executors) executor(p *engine.Pool, c config.Executor, fence time.Duration) (err error) {
	switch c.Type {
	case config.ExecutorExec:
		var e *command.Executor
		e, err = command.New(command.Config{
			Dir: x.runDir, Command: c.Command, WorkDir: c.WorkDir, Env: c.Env, KillGrace: positive(c.KillGrace), Fence: fence,
			MaxLogBytes: c.MaxLogBytes, Log: x.log,
		})
		if err == nil {
			x.commands = append(x.commands, e)
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

// positive returns a duration that an executor does not take for a missing one, as it does 0.
func positive(d time.Duration) time.Duration { return max(d, time.Nanosecond) }

// waitForOrphans waits until the commands of an earlier daemon have ended: only then may their units be reused. A pool whose
// orphans do not end in time starts nothing until they do; other pools are not affected.
func (x *executors) waitForOrphans(ctx context.Context) error {
	errs := make([]error, len(x.pools))
	var all sync.WaitGroup
	for i := range x.pools {
		if e, ok := x.pools[i].Executor.(*command.Executor); ok {
			all.Go(func() { errs[i] = e.WaitForOrphans(ctx, x.pools[i].ID, orphanTimeout) })
		}
	}
	all.Wait()
	return errors.Join(errs...)
}

func (x *executors) close() error {
	var errs []error
	for _, e := range x.commands {
		errs = append(errs, e.Close())
	}
	if x.temporary {
		errs = append(errs, os.RemoveAll(x.runDir))
	}
	return errors.Join(errs...)
}

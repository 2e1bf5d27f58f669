package cmd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/parkd-dev/parkd/pkg/executor/command"
	"github.com/parkd-dev/parkd/pkg/executor/lease"
)

type workerOptions struct {
	pool      string
	name      string
	slots     int
	ttl       duration
	grace     duration
	dir       string
	env       []string
	logLevel  choice
	logFormat choice
}

func newWorkerCommand(g *globals) *cobra.Command {
	host, _ := os.Hostname()
	o := workerOptions{ttl: duration(30 * time.Second), grace: duration(5 * time.Second)}
	c := &cobra.Command{
		Use:   "worker [flags] [-- command …]",
		Short: "Run a pool's tasks on this machine",
		Long: `Takes tasks from a pool whose runtime is web_worker or cloud_worker, and runs them on this machine under the same
supervisor as the daemon's own. The command after -- runs for each task, with the task's payload on standard
input. Without it, each task's own command runs.

If a worker dies, nothing is lost: its tasks go to other workers when its leases expire. The first Ctrl-C stops
taking tasks and lets the running ones finish. The second stops them.`,
		Example: `  parkd worker --pool gpu --server http://10.0.0.5:7275 -- python work.py
  parkd worker --pool gpu --slots 2 --name rig-7`,
		Args:              onlyAfterDash,
		ValidArgsFunction: commandAfterDash,
		RunE:              g.run(func(ctx context.Context, args []string) error { return runWorker(ctx, g, o, args) }),
	}
	fs := c.Flags()
	g.poolFlag(c, &o.pool, "pool to work for")
	fromEnv(fs, "pool", "PARKD_POOL")
	fs.StringVar(&o.name, "name", host, "name of this worker")
	describeDefault(fs, "name", "the host name")
	fs.IntVarP(&o.slots, "slots", "n", 1, "maximum number of tasks to run at once")
	fs.Var(&o.ttl, "ttl", "lease time: tasks go to other workers after this long without a heartbeat")
	fs.Var(&o.grace, "kill-grace", "time between TERM and KILL when a command is stopped")
	fs.StringVar(&o.dir, "dir", "", "directory to run the command in (default the current one)")
	fs.StringArrayVar(&o.env, "env", nil, "environment variable for commands: NAME or NAME=VALUE; may be repeated")
	logFlags(c, &o.logLevel, &o.logFormat)
	annotate(c, takesCommand, "yes")
	setExitCodes(c, exitDone, exitFailed, exitUsage, exitRejected, exitDenied)
	return c
}

func runWorker(ctx context.Context, g *globals, o workerOptions, argv []string) (err error) {
	switch {
	case o.pool == "":
		return usagef("--pool is required: the pool to work for")
	case o.slots < 1:
		return usagef("--slots must be at least 1, not %d", o.slots)
	case time.Duration(o.ttl) < time.Second:
		return usagef("--ttl must be at least 1s, not %s", time.Duration(o.ttl))
	}
	if err := o.canRun(argv); err != nil {
		return usage(err)
	}
	svc, _, err := g.connect()
	if err != nil {
		return err
	}
	log := logger(g.err, o.logLevel, o.logFormat)
	x, cleanup, err := o.executor(argv, command.Config{Log: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cleanup()) }()
	ctx, stopped := longRunning(ctx)
	defer stopped()
	abort, stop := secondSignal(ctx)
	defer stop()
	w, err := lease.New(lease.Config{
		Service: svc, Pool: o.pool, Name: o.name, Executor: x, Slots: o.slots, TTL: time.Duration(o.ttl), Abort: abort, Log: log,
	})
	if err != nil {
		return usage(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go pruneLogs(ctx, x, log)
	log.Info("working", "pool", o.pool, "slots", o.slots, "name", o.name)
	return w.Run(ctx)
}

// canRun refuses a missing directory or program: the worker would take task after task and fail each.
func (o *workerOptions) canRun(argv []string) error {
	if o.dir != "" {
		if info, err := os.Stat(o.dir); err != nil {
			return fmt.Errorf("--dir: %w", err)
		} else if !info.IsDir() {
			return fmt.Errorf("--dir: %s is not a directory", o.dir)
		}
	}
	ownPath := func(v string) bool { return strings.HasPrefix(v, "PATH=") }
	if len(argv) == 0 || !strings.Contains(argv[0], "/") && slices.ContainsFunc(o.env, ownPath) {
		return nil // the program or its path is known only when a task runs
	}
	program := argv[0]
	if strings.Contains(program, "/") && !filepath.IsAbs(program) {
		var err error
		if program, err = filepath.Abs(filepath.Join(o.dir, program)); err != nil {
			return fmt.Errorf("find the current directory: %w", err)
		}
	}
	if _, err := exec.LookPath(program); err != nil {
		return fmt.Errorf("the command after -- cannot be run: %w", err)
	}
	return nil
}

// logRetention is how long a worker keeps the logs of commands.
const logRetention = 24 * time.Hour

// pruneLogs removes old logs until ctx ends, because a worker may run for months.
func pruneLogs(ctx context.Context, x *command.Executor, log *slog.Logger) {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := x.PruneLogs(ctx, time.Now().Add(-logRetention)); err != nil && ctx.Err() == nil {
			log.Warn("logs not pruned", "error", err)
		}
	}
}

// executor returns the executor of the commands, and a function to remove it with its logs: task results have the ends
// of both streams.
func (o *workerOptions) executor(argv []string, c command.Config) (x *command.Executor, done func() error, err error) {
	dir, err := os.MkdirTemp("", "parkd-worker-")
	if err != nil {
		return nil, nil, fmt.Errorf("create a folder for the logs of commands: %w", err)
	}
	if c.WorkDir, err = filepath.Abs(o.dir); err != nil {
		return nil, nil, fmt.Errorf("find the current directory: %w", err)
	}
	// To an executor, 0 means the default.
	c.Dir, c.Command, c.Env, c.KillGrace = dir, argv, o.env, max(time.Duration(o.grace), time.Nanosecond)
	// A command ends with its lease even if this worker is frozen. The fence is later than when the worker itself would
	// stop it.
	c.Fence = time.Duration(o.ttl) / 8 * 7
	if x, err = command.New(c); err != nil {
		return nil, nil, errors.Join(usage(err), os.RemoveAll(dir))
	}
	return x, func() error { return errors.Join(x.Close(), os.RemoveAll(dir)) }, nil
}

package cmd

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/parkd-dev/parkd/pkg/park"
)

type logsOptions struct {
	pool   string
	follow bool
	raw    bool
}

func newLogsCommand(g *globals) *cobra.Command {
	var o logsOptions
	c := &cobra.Command{
		Use:   "logs [flags] TASK",
		Short: "Print what a task's command wrote",
		Long: `Prints the output of a task's command, standard output and standard error as they came.

Escape sequences, control characters and characters that reorder text are taken out, because they could
take over the terminal; --raw leaves them in. With --follow it goes on until the task has ended.`,
		Example: `  parkd logs render-41
  parkd logs -f render-41
  parkd logs --raw render-41 > render-41.log`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: g.completeTasks(&o.pool, false),
		RunE: g.run(func(ctx context.Context, args []string) error {
			svc, _, err := g.connect()
			if err != nil {
				return err
			}
			return runLogs(ctx, g, svc, o, args[0])
		}),
	}
	g.poolFlag(c, &o.pool, "pool of the task; default: all pools are searched")
	c.Flags().BoolVarP(&o.follow, "follow", "f", false, "go on until the task has ended")
	c.Flags().BoolVar(&o.raw, "raw", false, "do not take out what a terminal would obey")
	exits(c, exitDone, exitFailed, exitUsage, exitDenied, exitNoDaemon, exitInterrupted)
	return c
}

func runLogs(ctx context.Context, g *globals, svc park.Service, o logsOptions, id string) error {
	t, err := find(ctx, svc, o.pool, id)
	if err != nil {
		return err
	}
	w := g.logWriter(o.raw)
	if o.follow {
		if t.Attempt == 0 && !t.Status.Ended() {
			g.say("Task %s is %s; its log begins when it starts.", t.TaskID, t.Status)
		}
		return followLog(ctx, g, svc, t, w)
	}
	log, err := svc.Log(ctx, t.PoolID, t.TaskID, false)
	if err != nil {
		return err
	}
	defer log.Close()
	if _, err := io.Copy(w, log); err != nil {
		return err
	}
	return w.Close()
}

// logWriter returns where logs go. Programs that parse the output get them on standard error.
func (g *globals) logWriter(raw bool) io.WriteCloser {
	w := g.out
	if !g.output.forPeople() {
		w = g.err
	}
	if raw {
		return nopCloser{w}
	}
	return &cleanWriter{w: w}
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// follower reads a task's log to its end over broken connections and further attempts.
type follower struct {
	svc     park.Service
	task    park.Task
	out     io.Writer
	attempt int   // whose log is being read
	read    int64 // bytes of it that were printed
}

// followLog prints a task's log until the task has ended. A pool that keeps no logs has none to print.
func followLog(ctx context.Context, g *globals, svc park.Service, t park.Task, out io.WriteCloser) error {
	f := &follower{svc: svc, task: t, out: out}
	for {
		over, err := false, error(nil)
		err = g.patient().ask(ctx, func(ctx context.Context) (err error) {
			over, err = f.round(ctx)
			return err
		})
		switch {
		case park.CodeOf(err) == park.LogNotFound:
			g.say("There is no log: %v.", err)
			return out.Close()
		case err != nil:
			return err
		case over:
			return out.Close()
		}
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
	}
}

// round reads once as far as the log goes and reports whether the task has ended. The log also breaks off
// where the daemon stops or where a failed attempt is to be followed by another.
func (f *follower) round(ctx context.Context) (over bool, err error) {
	log, err := f.open(ctx)
	if err != nil {
		return false, err
	}
	defer log.Close()
	if _, err := io.CopyN(io.Discard, log, f.read); err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	n, err := io.Copy(f.out, log)
	f.read += n
	if err != nil {
		return false, err
	}
	now, err := f.svc.Task(ctx, f.task.PoolID, f.task.TaskID, 0)
	return now.Status.Ended() && now.Attempt == f.attempt, err
}

// open opens the log, waiting for the first start, and notes whose attempt it is. A log that was opened while
// one attempt gave way to the next is opened again, to be sure.
func (f *follower) open(ctx context.Context) (io.ReadCloser, error) {
	for {
		log, err := f.svc.Log(ctx, f.task.PoolID, f.task.TaskID, true)
		if err != nil {
			return nil, err
		}
		now, err := f.svc.Task(ctx, f.task.PoolID, f.task.TaskID, 0)
		if err == nil && now.Attempt == f.attempt {
			return log, nil
		}
		_ = log.Close()
		if err != nil {
			return nil, err
		}
		f.attempt, f.read = now.Attempt, 0
	}
}

// pause waits, unless ctx ends first.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

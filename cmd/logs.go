package cmd

import (
	"context"
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
		Short: "Print the output of a task's command",
		Long: `Prints the output of a task's command: standard output and standard error, in the order in which they came.

Escape sequences, control characters and characters that reorder text are removed, because they could control the
terminal; --raw keeps them. The log is that of the latest attempt. With --follow the command continues until the
task has ended, through further attempts and broken connections. If the beginning of a log was rotated away, a
message on standard error says so.`,
		Example: `  parkd logs render-41
  parkd logs -f render-41
  parkd logs --raw render-41 > render-41.log`,
		Args:              exactlyOne("TASK"),
		ValidArgsFunction: g.completeTasks(&o.pool, false),
		RunE: g.run(func(ctx context.Context, args []string) error {
			svc, _, err := g.connect()
			if err != nil {
				return err
			}
			return runLogs(ctx, g, svc, o, args[0])
		}),
	}
	g.poolFlag(c, &o.pool, "pool of the task (default search all pools)")
	c.Flags().BoolVarP(&o.follow, "follow", "f", false, "keep printing until the task has ended")
	c.Flags().BoolVar(&o.raw, "raw", false, "print control sequences unfiltered (progress bars, colours)")
	setExitCodes(c, exitDone, exitFailed, exitUsage, exitDenied, exitNoDaemon, exitInterrupted)
	return c
}

func runLogs(ctx context.Context, g *globals, svc park.Service, o logsOptions, id string) error {
	t, err := findTask(ctx, svc, o.pool, id)
	if err != nil {
		return err
	}
	w := g.logWriter(o.raw)
	if o.follow {
		if t.Attempt == 0 && !t.Status.Ended() {
			g.notice("Task %s is %s. Its log begins when it starts.", t.TaskID, t.Status)
		}
		return followLog(ctx, g, svc, t, w)
	}
	log, err := svc.Log(ctx, t.PoolID, t.TaskID, park.LogQuery{})
	if err != nil {
		return err
	}
	defer log.Close()
	g.noticeRotated(log.Attempt, 0, log.Offset)
	if _, err := io.Copy(w, log); err != nil {
		return err
	}
	return w.Close()
}

// noticeRotated says that bytes of an attempt are missing in its log.
func (g *globals) noticeRotated(attempt int, from, to int64) {
	switch {
	case to <= from:
	case from == 0:
		g.notice("The first %d bytes of attempt %d were rotated away.", to, attempt)
	default:
		g.notice("%d bytes of attempt %d were rotated away before they were read, from byte %d on.", to-from, attempt, from)
	}
}

// logWriter returns the writer for logs. If the output is for programs, that is standard error.
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

// sleep waits, unless ctx ends first.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

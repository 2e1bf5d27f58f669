package cmd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/parkd-dev/parkd/pkg/park"
)

type waitOptions struct {
	pool    string
	timeout duration
	bounded bool // a timeout was given; one of 0 is a look and no wait
}

func newWaitCommand(g *globals) *cobra.Command {
	var o waitOptions
	c := &cobra.Command{
		Use:   "wait [flags] TASK…",
		Short: "Wait for tasks to end",
		Long: `Waits until all given tasks have ended, then prints them. It keeps waiting if the daemon restarts meanwhile.

The exit code is that of the first task, in the given order, that did not complete. If the task's command failed,
it is the command's exit code. Interrupting the wait does not stop the tasks.`,
		Example: `  parkd wait render-41
  parkd wait render-41 render-42 --timeout 10m`,
		Args:              atLeastOne("TASK"),
		ValidArgsFunction: g.completeTasks(&o.pool, false),
		RunE: g.run(func(ctx context.Context, args []string) error {
			svc, _, err := g.connect()
			if err != nil {
				return err
			}
			return runWait(ctx, g, svc, o, args)
		}),
	}
	c.PreRun = func(*cobra.Command, []string) { o.bounded = c.Flags().Changed("timeout") }
	g.poolFlag(c, &o.pool, "pool of the tasks (default search all pools)")
	c.Flags().Var(&o.timeout, "timeout", "give up after this long; the tasks keep running")
	exits(c, exitDone, exitFailed, exitCancelled, exitExpired, exitUsage, exitDenied, exitNoDaemon, exitTimedOut, exitInterrupted)
	return c
}

func runWait(ctx context.Context, g *globals, svc park.Service, o waitOptions, ids []string) error {
	// All are looked up before any is waited for: a mistake in the last one is told now, and not in hours.
	tasks := make([]park.Task, len(ids))
	for i, id := range ids {
		t, err := findTask(ctx, svc, o.pool, id)
		if err != nil {
			return err
		}
		tasks[i] = t
	}
	whole := ctx
	if o.bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, time.Duration(o.timeout), errWaitOver)
		defer cancel()
	}
	for i, t := range tasks {
		t, err := g.awaitEnd(ctx, svc, t)
		switch {
		case errors.Is(context.Cause(ctx), errWaitOver) && err != nil:
			return timedOutf("task %s is still %s after %s", ids[i], t.Status, time.Duration(o.timeout))
		case err != nil:
			return g.detached(whole, err, ids[i])
		}
		tasks[i] = t
	}
	if err := printTasks(g, tasks); err != nil {
		return err
	}
	return ended(tasks...)
}

var errWaitOver = errors.New("the wait is over")

// printTasks prints one task as itself and several as a list.
func printTasks(g *globals, tasks []park.Task) error {
	if len(tasks) == 1 {
		return taskList().one(g.printer(), tasks[0])
	}
	return taskList().print(g.printer(), park.TaskPage{Tasks: tasks}, tasks)
}

// detached explains an error of a wait for a task; if it is an interruption, how to go on.
func (g *globals) detached(ctx context.Context, err error, id string) error {
	if ctx.Err() == nil {
		return err
	}
	return &cliError{
		Code: exitInterrupted, Name: "interrupted", Err: fmt.Errorf("stopped waiting for task %s, which keeps running", id),
		Hint: fmt.Sprintf("Wait again with 'parkd wait %[1]s', or stop the task with 'parkd cancel %[1]s'.", id),
	}
}

// How long one question waits for its answer, and how much longer the answer may be on its way.
const (
	longPoll = 30 * time.Second
	grace    = 15 * time.Second
)

// awaitEnd returns t when it has ended, and shows meanwhile how it stands. With an error it returns t as it
// was seen last.
func (g *globals) awaitEnd(ctx context.Context, svc park.Service, t park.Task) (park.Task, error) {
	show := g.newSpinner()
	defer show.close()
	for !t.Status.Ended() {
		show.task(t)
		err := g.patient().ask(ctx, func(ctx context.Context) error {
			poll := show.poll(longPoll)
			ctx, cancel := context.WithTimeout(ctx, poll+grace)
			defer cancel()
			now, err := svc.Task(ctx, t.PoolID, t.TaskID, poll)
			if err == nil {
				t = now
			}
			return err
		})
		if err != nil {
			return t, err
		}
	}
	return t, nil
}

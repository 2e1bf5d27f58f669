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
	bounded bool // a timeout was given; 0 means one check without a wait
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
	setExitCodes(c, exitDone, exitFailed, exitCancelled, exitExpired, exitUsage, exitDenied, exitNoDaemon, exitTimedOut, exitInterrupted)
	return c
}

func runWait(ctx context.Context, g *globals, svc park.Service, o waitOptions, ids []string) error {
	// All tasks are looked up before the wait, so that a mistake in the last id is reported now and not in hours.
	tasks := make([]park.Task, len(ids))
	for i, id := range ids {
		t, err := findTask(ctx, svc, o.pool, id)
		if err != nil {
			return err
		}
		tasks[i] = t
	}
	outer := ctx
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
			return g.explainInterrupt(outer, err, ids[i])
		}
		tasks[i] = t
	}
	if err := printTasks(g, tasks); err != nil {
		return err
	}
	return exitForTasks(tasks...)
}

var errWaitOver = errors.New("the wait is over")

// printTasks prints one task as itself and several as a list.
func printTasks(g *globals, tasks []park.Task) error {
	if len(tasks) == 1 {
		return taskList().printOne(g.printer(), tasks[0])
	}
	return taskList().print(g.printer(), park.TaskPage{Tasks: tasks}, tasks)
}

// explainInterrupt returns the error of a wait for a task; after an interrupt, with a hint how to go on.
func (g *globals) explainInterrupt(ctx context.Context, err error, id string) error {
	if ctx.Err() == nil {
		return err
	}
	return &cliError{
		Code: exitInterrupted, Name: "interrupted", Err: fmt.Errorf("stopped waiting for task %s, which keeps running", id),
		Hint: fmt.Sprintf("Wait again with 'parkd wait %[1]s', or stop the task with 'parkd cancel %[1]s'.", id),
	}
}

// longPoll is how long one request waits; answerMargin is how much longer its answer may take.
const (
	longPoll     = 30 * time.Second
	answerMargin = 15 * time.Second
)

// awaitEnd waits until t has ended, and shows its state meanwhile. With an error it returns t as last seen.
func (g *globals) awaitEnd(ctx context.Context, svc park.Service, t park.Task) (park.Task, error) {
	show := g.newSpinner()
	defer show.close()
	for !t.Status.Ended() {
		show.task(t)
		err := g.retryForever().do(ctx, func(ctx context.Context) error {
			poll := show.poll(longPoll)
			ctx, cancel := context.WithTimeout(ctx, poll+answerMargin)
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

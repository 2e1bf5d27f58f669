package cmd

import (
	"context"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/parkd-dev/parkd/pkg/park"
)

type cancelOptions struct {
	pool string
}

func newCancelCommand(g *globals) *cobra.Command {
	var o cancelOptions
	c := &cobra.Command{
		Use:   "cancel [flags] TASK…",
		Short: "Cancel tasks",
		Long: `Cancels tasks. A parked task is dropped at once. A running task is stopped with all its processes and then
dropped; the command waits for that. If a task has already ended, its cancellation is rejected (exit code 5).`,
		Example: `  parkd cancel render-41
  parkd status --status queued -o id | xargs parkd cancel`,
		Args:              atLeastOne("TASK"),
		ValidArgsFunction: g.completeTasks(&o.pool, true),
		RunE: g.run(func(ctx context.Context, args []string) error {
			svc, _, err := g.connect()
			if err != nil {
				return err
			}
			return runCancel(ctx, g, svc, o, args)
		}),
	}
	g.poolFlag(c, &o.pool, "pool of the tasks (default search all pools)")
	setExitCodes(c, exitDone, exitFailed, exitUsage, exitRejected, exitDenied, exitNoDaemon, exitInterrupted)
	return c
}

// maxConcurrentCancels bounds how many tasks are cancelled at once: stopping a running task takes time.
const maxConcurrentCancels = 8

func runCancel(ctx context.Context, g *globals, svc park.Service, o cancelOptions, ids []string) error {
	tasks := make([]park.Task, len(ids))
	errs := make([]error, len(ids))
	var work errgroup.Group
	work.SetLimit(maxConcurrentCancels)
	for i, id := range ids {
		work.Go(func() error {
			t, err := findTask(ctx, svc, o.pool, id)
			if err == nil {
				tasks[i], err = svc.Cancel(ctx, t.PoolID, t.TaskID)
			}
			errs[i] = err
			return nil
		})
	}
	_ = work.Wait()
	return printCancelled(g, tasks, errs)
}

// printCancelled prints the cancelled tasks and then the errors: the error of one task does not hide the others.
func printCancelled(g *globals, tasks []park.Task, errs []error) error {
	var done []park.Task
	var first error
	for i, err := range errs {
		switch {
		case err == nil:
			done = append(done, tasks[i])
		case first == nil:
			first = err
		default:
			g.report(err)
		}
	}
	if len(done) > 0 {
		if err := printTasks(g, done); err != nil {
			return err
		}
	}
	return first
}

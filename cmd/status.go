package cmd

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/parkd-dev/parkd/pkg/park"
)

type statusOptions struct {
	pool     string
	tasks    bool
	status   choice
	tenant   string
	limit    int
	watch    bool
	interval duration
}

func newStatusCommand(g *globals) *cobra.Command {
	o := statusOptions{status: choice{words: toStrings(park.Statuses())}, interval: duration(time.Second)}
	c := &cobra.Command{
		Use:   "status [flags] [TASK…]",
		Short: "Show pools or tasks",
		Long: `Without tasks as arguments it shows the pools. With --tasks, --status or --tenant it lists tasks, newest first.

With --watch it keeps running: on a terminal it redraws; otherwise it prints changes. If tasks are given as
arguments, it exits once all of them have ended.`,
		Example: `  parkd status
  parkd status render-41
  parkd status --status queued --pool gpu
  parkd status --watch`,
		ValidArgsFunction: g.completeTasks(&o.pool, false),
		RunE: g.run(func(ctx context.Context, args []string) error {
			svc, _, err := g.connect()
			if err != nil {
				return err
			}
			return runStatus(ctx, g, svc, o, args)
		}),
	}
	o.flags(g, c)
	setExitCodes(c, exitDone, exitFailed, exitUsage, exitDenied, exitNoDaemon, exitInterrupted)
	return c
}

func (o *statusOptions) flags(g *globals, c *cobra.Command) {
	fs := c.Flags()
	g.poolFlag(c, &o.pool, "only this pool (default all)")
	fs.BoolVarP(&o.tasks, "tasks", "t", false, "list tasks")
	fs.Var(&o.status, "status", "list the tasks with this status: queued, running, completed, failed, expired or dropped")
	fs.StringVar(&o.tenant, "tenant", "", "list the tasks of this tenant")
	fs.IntVar(&o.limit, "limit", 50, "maximum number of tasks to list")
	fs.BoolVarP(&o.watch, "watch", "w", false, "keep running and show changes")
	fs.Var(&o.interval, "every", "with --watch: refresh interval")
	completeWords(c, "status", toStrings(park.Statuses()))
}

func runStatus(ctx context.Context, g *globals, svc park.Service, o statusOptions, ids []string) error {
	if o.limit < 1 {
		return usagef("--limit must be at least 1, not %d", o.limit)
	}
	if o.interval <= 0 {
		return usagef("--every must be above 0")
	}
	switch {
	case len(ids) > 0:
		return watchView(ctx, g, o, taskList(), func(ctx context.Context) ([]park.Task, bool, error) {
			return o.byID(ctx, svc, ids)
		}, func(tasks []park.Task) any {
			if len(tasks) == 1 {
				return tasks[0]
			}
			return park.TaskPage{Tasks: tasks}
		})
	case o.tasks || o.status.value != "" || o.tenant != "":
		return watchView(ctx, g, o, taskList(), func(ctx context.Context) ([]park.Task, bool, error) {
			tasks, err := o.list(ctx, svc)
			return tasks, false, err
		}, func(tasks []park.Task) any { return park.TaskPage{Tasks: tasks} })
	}
	return watchView(ctx, g, o, poolList(), func(ctx context.Context) ([]park.Pool, bool, error) {
		pools, err := poolsOf(ctx, svc, o.pool)
		return pools, false, err
	}, func(pools []park.Pool) any { return poolPage{pools} })
}

// byID returns the tasks with the ids and whether all have ended.
func (o *statusOptions) byID(ctx context.Context, svc park.Service, ids []string) (tasks []park.Task, allEnded bool, err error) {
	allEnded = true
	for _, id := range ids {
		found, err := findTasks(ctx, svc, o.pool, id)
		if err != nil {
			return nil, false, err
		}
		for _, t := range found {
			allEnded = allEnded && t.Status.Ended()
		}
		tasks = append(tasks, found...)
	}
	return tasks, allEnded, nil
}

func (o *statusOptions) list(ctx context.Context, svc park.Service) ([]park.Task, error) {
	return listTasks(ctx, svc, o.pool, park.TaskQuery{Status: park.Status(o.status.value), Tenant: o.tenant, Limit: o.limit})
}

// taskPageSize is the maximum number of tasks in one response.
const taskPageSize = 1000

// listTasks lists up to q.Limit tasks of one pool, or of all, newest first.
func listTasks(ctx context.Context, svc park.Service, pool string, q park.TaskQuery) ([]park.Task, error) {
	pools, err := poolsOf(ctx, svc, pool)
	if err != nil {
		return nil, err
	}
	all := []park.Task{}
	for _, p := range pools {
		tasks, err := tasksOf(ctx, svc, p.PoolID, q)
		if err != nil {
			return nil, err
		}
		all = append(all, tasks...)
	}
	slices.SortStableFunc(all, func(a, b park.Task) int { return cmp.Compare(b.SubmittedAt.Micro(), a.SubmittedAt.Micro()) })
	return all[:min(len(all), q.Limit)], nil
}

func tasksOf(ctx context.Context, svc park.Service, pool string, q park.TaskQuery) ([]park.Task, error) {
	var all []park.Task
	pageSize := taskPageSize
	for remaining := q.Limit; remaining > 0; {
		q.Limit = min(remaining, pageSize)
		page, err := svc.Tasks(ctx, pool, q)
		if reducePageSize(&pageSize, q.Limit, err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, page.Tasks...)
		remaining -= len(page.Tasks)
		if page.Next == "" || len(page.Tasks) == 0 {
			break
		}
		q.Cursor = page.Next
	}
	return all, nil
}

// poolPage is the JSON form of a list of pools.
type poolPage struct {
	Pools []park.Pool `json:"pools"`
}

func poolsOf(ctx context.Context, svc park.Service, pool string) ([]park.Pool, error) {
	if pool == "" {
		return svc.Pools(ctx)
	}
	p, err := svc.Pool(ctx, pool)
	if err != nil {
		return nil, err
	}
	return []park.Pool{p}, nil
}

package cmd

import (
	"context"
	"strings"

	"github.com/parkd-dev/parkd/pkg/park"
)

// findTasks returns the tasks with an id: in the given pool, or else in all pools, because ids are unique only within a
// pool.
func findTasks(ctx context.Context, svc park.Service, pool, id string) ([]park.Task, error) {
	if pool != "" {
		t, err := svc.Task(ctx, pool, id, 0)
		if err != nil {
			return nil, err
		}
		return []park.Task{t}, nil
	}
	pools, err := svc.Pools(ctx)
	if err != nil {
		return nil, err
	}
	var found []park.Task
	for _, p := range pools {
		t, err := svc.Task(ctx, p.PoolID, id, 0)
		switch {
		case err == nil:
			found = append(found, t)
		case park.CodeOf(err) != park.TaskNotFound:
			return nil, err
		}
	}
	if len(found) == 0 {
		return nil, park.Errorf(park.TaskNotFound, "no such task: %s", id)
	}
	return found, nil
}

// findTask is findTasks for commands that need exactly one task.
func findTask(ctx context.Context, svc park.Service, pool, id string) (park.Task, error) {
	found, err := findTasks(ctx, svc, pool, id)
	if err != nil {
		return park.Task{}, err
	}
	if len(found) > 1 {
		in := make([]string, len(found))
		for i, t := range found {
			in[i] = t.PoolID
		}
		return park.Task{}, usagef("several pools (%[2]s) have a task %[1]q: choose one with --pool", id, strings.Join(in, ", "))
	}
	return found[0], nil
}

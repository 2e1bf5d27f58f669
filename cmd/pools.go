package cmd

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/parkd-dev/parkd/pkg/park"
)

func newPoolsCommand(g *globals) *cobra.Command {
	c := &cobra.Command{
		Use:     "pools",
		Short:   "Show and change pools",
		Long:    "Shows the pools, and changes their state and limits while the daemon runs.",
		Example: "  parkd pools\n  parkd pools list gpu -o wide\n  parkd pools set gpu --state paused",
		RunE: g.group(func(ctx context.Context) error {
			svc, _, err := g.connect()
			if err != nil {
				return err
			}
			return runPoolsList(ctx, g, svc, nil)
		}),
	}
	c.AddCommand(newPoolsListCommand(g), newPoolsSetCommand(g))
	setExitCodes(c, exitDone, exitFailed, exitUsage, exitDenied, exitNoDaemon)
	return c
}

func newPoolsListCommand(g *globals) *cobra.Command {
	c := &cobra.Command{
		Use:   "list [flags] [POOL…]",
		Short: "Show pools",
		Long: `Shows pools: their units in use and in total, their running tasks, and their parked tasks with the limit. A paused
pool parks tasks but starts none. A draining pool accepts no tasks and finishes those that it has.`,
		Example:           "  parkd pools list\n  parkd pools list gpu -o json",
		ValidArgsFunction: g.completePools,
		RunE: g.run(func(ctx context.Context, args []string) error {
			svc, _, err := g.connect()
			if err != nil {
				return err
			}
			return runPoolsList(ctx, g, svc, args)
		}),
	}
	setExitCodes(c, exitDone, exitFailed, exitUsage, exitDenied, exitNoDaemon)
	return c
}

func runPoolsList(ctx context.Context, g *globals, svc park.Service, ids []string) error {
	if len(ids) == 0 {
		ids = []string{""}
	}
	pools := []park.Pool{}
	for _, id := range ids {
		found, err := poolsOf(ctx, svc, id)
		if err != nil {
			return err
		}
		pools = append(pools, found...)
	}
	return poolList().print(g.printer(), poolPage{pools}, pools)
}

type poolsSetOptions struct {
	state choice
	units int64
	depth int
}

func newPoolsSetCommand(g *globals) *cobra.Command {
	o := poolsSetOptions{state: choice{words: toStrings(park.PoolStates())}}
	c := &cobra.Command{
		Use:   "set [flags] POOL",
		Short: "Change a pool's state or limits",
		Long: `Changes a pool while the daemon runs. Lowering the units never stops a running task: the pool starts nothing until
enough units are free. Parked tasks that cost more than the whole pool let others pass. The change persists until
the configuration file is changed.`,
		Example: `  parkd pools set gpu --state paused
  parkd pools set gpu --units 12 --depth 100
  parkd pools set gpu --state active`,
		Args:              exactlyOne("POOL"),
		ValidArgsFunction: g.completePools,
	}
	fs := c.Flags()
	fs.Var(&o.state, "state", "active, paused or draining")
	fs.Int64VarP(&o.units, "units", "u", 0, "capacity of the pool in units")
	fs.IntVar(&o.depth, "depth", 0, "maximum number of parked tasks")
	completeWords(c, "state", toStrings(park.PoolStates()))
	c.RunE = g.run(func(ctx context.Context, args []string) error {
		patch, err := o.patch(fs.Changed)
		if err != nil {
			return err
		}
		svc, _, err := g.connect()
		if err != nil {
			return err
		}
		return runPoolsSet(ctx, g, svc, args[0], patch)
	})
	setExitCodes(c, exitDone, exitFailed, exitUsage, exitDenied, exitNoDaemon)
	return c
}

// patch returns the changes that were given; 0 is a valid limit.
func (o *poolsSetOptions) patch(given func(string) bool) (park.PoolPatch, error) {
	var patch park.PoolPatch
	if given("state") {
		state := park.PoolState(o.state.value)
		patch.State = &state
	}
	if given("units") {
		if o.units < 0 || o.units > park.MaxUnits {
			return patch, park.Errorf(park.InvalidRequest, "--units must be from 0 to %d, not %d", int64(park.MaxUnits), o.units)
		}
		patch.MaxUnits = &o.units
	}
	if given("depth") {
		if o.depth < 0 || o.depth > park.MaxQueueDepth {
			return patch, park.Errorf(park.InvalidRequest, "--depth must be from 0 to %d, not %d", park.MaxQueueDepth, o.depth)
		}
		patch.MaxQueueDepth = &o.depth
	}
	if patch == (park.PoolPatch{}) {
		return patch, usagef("give at least one of --state, --units and --depth")
	}
	return patch, nil
}

func runPoolsSet(ctx context.Context, g *globals, svc park.Service, id string, patch park.PoolPatch) error {
	p, err := svc.SetPool(ctx, id, patch)
	if err != nil {
		return err
	}
	if p.Warning != "" {
		g.notice("Warning: %s", p.Warning)
	}
	return poolList().printOne(g.printer(), p)
}

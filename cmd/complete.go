package cmd

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/parkd-dev/parkd/pkg/client"
	"github.com/parkd-dev/parkd/pkg/park"
)

// What the shell offers when the user presses tab. A daemon that does not answer quickly has nothing to offer.

const (
	completeWithin = 500 * time.Millisecond
	completeMost   = 50 // tasks of each pool
)

type completion = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective)

// fixed offers the words of a flag that takes one of a few.
func fixed(c *cobra.Command, flag string, all []string) {
	_ = c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(all, cobra.ShellCompDirectiveNoFileComp))
}

// poolFlag declares --pool and offers the daemon's pools for it.
func (g *globals) poolFlag(c *cobra.Command, pool *string, text string) {
	c.Flags().StringVarP(pool, "pool", "p", "", text)
	_ = c.RegisterFlagCompletionFunc("pool", g.completePools)
}

func (g *globals) completePools(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return g.offer(c, func(ctx context.Context, svc *client.Client) (out []string, err error) {
		pools, err := svc.Pools(ctx)
		for _, p := range pools {
			out = append(out, cobra.CompletionWithDesc(p.PoolID, poolState(p)))
		}
		return out, err
	})
}

// completeTasks offers the ids of tasks that are not on the line yet; with live only those that have not ended.
func (g *globals) completeTasks(pool *string, live bool) completion {
	return func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		return g.offer(c, func(ctx context.Context, svc *client.Client) ([]string, error) {
			return offerTasks(ctx, svc, *pool, live, args)
		})
	}
}

func offerTasks(ctx context.Context, svc park.Service, pool string, live bool, taken []string) ([]string, error) {
	tasks, err := listTasks(ctx, svc, pool, park.TaskQuery{Limit: completeMost})
	on := strings.Join(taken, " ") + " "
	var out []string
	for _, t := range tasks {
		if (live && t.Status.Ended()) || strings.Contains(" "+on, " "+t.TaskID+" ") {
			continue
		}
		out = append(out, cobra.CompletionWithDesc(t.TaskID, t.PoolID+", "+string(t.Status)))
	}
	return out, err
}

func (g *globals) offer(c *cobra.Command, words func(context.Context, *client.Client) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(c.Context(), completeWithin)
	defer cancel()
	// Completion runs no command, so nothing has read the environment yet.
	if g.applyEnv(c) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	svc, _, err := g.connect()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	found, err := words(ctx, svc)
	if err != nil {
		cobra.CompDebugln(clean(err.Error()), false)
	}
	for i := range found {
		// The tab stands between a word and its description.
		found[i] = strings.ReplaceAll(clean(found[i]), "\n", " ")
	}
	return found, cobra.ShellCompDirectiveNoFileComp
}

// commandAfterDash offers files once the command begins.
func commandAfterDash(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	if c.ArgsLenAtDash() >= 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}

package cmd

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/parkd-dev/parkd/pkg/client"
	"github.com/parkd-dev/parkd/pkg/park"
)

// Shell completion. If the daemon does not answer quickly, nothing is offered.

const (
	completionTimeout = 500 * time.Millisecond
	completionLimit   = 50 // tasks of each pool
)

type completion = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective)

// completeWords completes a flag with a fixed set of words.
func completeWords(c *cobra.Command, flag string, all []string) {
	_ = c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(all, cobra.ShellCompDirectiveNoFileComp))
}

// poolFlag declares --pool and completes it with the daemon's pools.
func (g *globals) poolFlag(c *cobra.Command, pool *string, text string) {
	c.Flags().StringVarP(pool, "pool", "p", "", text)
	_ = c.RegisterFlagCompletionFunc("pool", g.completePools)
}

func (g *globals) completePools(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return g.completeFrom(c, func(ctx context.Context, svc *client.Client) (out []string, err error) {
		pools, err := svc.Pools(ctx)
		for _, p := range pools {
			out = append(out, cobra.CompletionWithDesc(p.PoolID, poolState(p)))
		}
		return out, err
	})
}

// completeTasks completes ids of tasks that are not on the command line yet; if live is set, only of tasks that have
// not ended.
func (g *globals) completeTasks(pool *string, live bool) completion {
	return func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		return g.completeFrom(c, func(ctx context.Context, svc *client.Client) ([]string, error) {
			return offerTasks(ctx, svc, *pool, live, args)
		})
	}
}

func offerTasks(ctx context.Context, svc park.Service, pool string, live bool, args []string) ([]string, error) {
	tasks, err := listTasks(ctx, svc, pool, park.TaskQuery{Limit: completionLimit})
	given := strings.Join(args, " ") + " "
	var out []string
	for _, t := range tasks {
		if (live && t.Status.Ended()) || strings.Contains(" "+given, " "+t.TaskID+" ") {
			continue
		}
		out = append(out, cobra.CompletionWithDesc(t.TaskID, t.PoolID+", "+string(t.Status)))
	}
	return out, err
}

func (g *globals) completeFrom(c *cobra.Command, words func(context.Context, *client.Client) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(c.Context(), completionTimeout)
	defer cancel()
	// Completion runs no command, so the environment has not been applied yet.
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
		// A tab separates a word from its description.
		found[i] = strings.ReplaceAll(clean(found[i]), "\n", " ")
	}
	return found, cobra.ShellCompDirectiveNoFileComp
}

// commandAfterDash completes file names after --.
func commandAfterDash(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	if c.ArgsLenAtDash() >= 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}

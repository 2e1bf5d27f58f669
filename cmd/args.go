package cmd

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// noArgs refuses arguments.
func noArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("unexpected argument %q", args[0])
	}
	return nil
}

// exactlyOne takes one argument; name is its name in the usage.
func exactlyOne(name string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usagef("%s is required: %s", name, c.UseLine())
		}
		return noArgs(c, args[1:])
	}
}

// atLeastOne takes one argument or more.
func atLeastOne(name string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usagef("at least one %s is required: %s", name, c.UseLine())
		}
		return nil
	}
}

// atMostOne takes no argument or one.
func atMostOne(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return noArgs(c, args[1:])
}

// onlyAfterDash refuses arguments before --, so that flags of the command are not taken for parkd's.
func onlyAfterDash(c *cobra.Command, args []string) error {
	at := c.ArgsLenAtDash()
	switch {
	case len(args) > 0 && at != 0:
		return &cliError{
			Code: exitUsage, Name: "usage", Err: fmt.Errorf("unexpected argument %q", args[0]),
			Hint: fmt.Sprintf("Put -- before the command to run: %s [flags] -- %s", c.CommandPath(), strings.Join(args, " ")),
		}
	case at == 0 && len(args) == 0:
		return usagef("no command after --")
	}
	return nil
}

// newHelpCommand makes 'parkd help COMMAND', which fails for a command that does not exist.
func newHelpCommand(g *globals) *cobra.Command {
	c := &cobra.Command{
		Use:     "help [COMMAND]",
		Short:   "Print the help of a command",
		Long:    "Prints the help of a command, as 'parkd COMMAND --help' does.",
		Example: "  parkd help submit",
	}
	c.ValidArgsFunction = func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		var names []string
		if of, rest, err := c.Root().Find(args); err == nil && len(rest) == 0 {
			for _, sub := range of.Commands() {
				if sub.IsAvailableCommand() {
					names = append(names, cobra.CompletionWithDesc(sub.Name(), sub.Short))
				}
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
	run := g.run(func(_ context.Context, args []string) error {
		of, rest, err := c.Root().Find(args)
		if err != nil || of == nil {
			of, rest = c.Root(), args
		}
		if len(rest) > 0 {
			return unknownCommand(of, rest[0])
		}
		of.InitDefaultHelpFlag()
		return of.Help()
	})
	c.RunE = run
	setExitCodes(c, exitDone, exitUsage)
	return c
}

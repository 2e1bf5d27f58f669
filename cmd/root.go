package cmd

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// The groups of commands in the help.
const (
	groupDaemon   = "daemon"
	groupTasks    = "tasks"
	groupOutcomes = "outcomes"
	groupOperate  = "operate"
)

// The annotations that the help uses.
const (
	exitCodes    = "exit_codes"
	takesCommand = "takes_command" // arguments after -- are a command
)

// newRootCommand makes the commands for a command line: the one that args begin with, or all of them.
func newRootCommand(g *globals, args []string) *cobra.Command {
	root := &cobra.Command{
		Use:   "parkd",
		Short: "Run what fits, park the rest, keep every outcome",
		Long: `parkd starts the tasks that fit into a pool's units and parks the rest in order. It starts
each parked task as soon as enough units are free, and keeps every outcome until you collect it.`,
		Example: `  parkd serve                                      start a daemon (no configuration needed)
  parkd submit --pool gpu --units 8 -- python x.py  run a command when 8 units are free
  parkd status                                     show the pools
  parkd mailbox poll                               show how your tasks ended`,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(c *cobra.Command, args []string) error {
			if err := g.applyEnv(c); err != nil {
				return err
			}
			return checkInput(c, args)
		},
		Args: cobra.ArbitraryArgs, // runGroup refuses them
		RunE: runGroup,
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetOut(g.out)
	root.SetErr(g.err)
	root.SetHelpTemplate(helpTemplate)
	root.SetUsageTemplate(helpTemplate)
	root.AddGroup(
		&cobra.Group{ID: groupDaemon, Title: "Daemon:"}, &cobra.Group{ID: groupTasks, Title: "Tasks:"},
		&cobra.Group{ID: groupOutcomes, Title: "Outcomes:"}, &cobra.Group{ID: groupOperate, Title: "Operations:"},
	)
	root.SetFlagErrorFunc(flagError)
	root.SetHelpCommand(newHelpCommand(g))
	g.flags(root)
	addCommands(root, g, args)
	strictHelp(root)
	setExitCodes(root, exitDone, exitUsage)
	return root
}

// constructor makes a command.
type constructor struct {
	group, name string
	make        func(*globals) *cobra.Command
}

func constructors() []constructor {
	return []constructor{
		{groupDaemon, "serve", newServeCommand},
		{groupDaemon, "config", newConfigCommand},
		{groupDaemon, "migrate", newMigrateCommand},
		{groupDaemon, "backup", newBackupCommand},
		{groupDaemon, "restore", newRestoreCommand},
		{groupTasks, "submit", newSubmitCommand},
		{groupTasks, "status", newStatusCommand},
		{groupTasks, "wait", newWaitCommand},
		{groupTasks, "logs", newLogsCommand},
		{groupTasks, "cancel", newCancelCommand},
		{groupOutcomes, "mailbox", newMailboxCommand},
		{groupOutcomes, "audit", newAuditCommand},
		{groupOperate, "pools", newPoolsCommand},
		{groupOperate, "top", newTopCommand},
		{groupOperate, "worker", newWorkerCommand},
		{groupOperate, "loadtest", newLoadtestCommand},
		{"", completionName, newCompletionCommand},
		{"", "version", newVersionCommand},
	}
}

// addCommands makes only the command that args begin with, because making all of them costs several times as much as a
// short command itself. It makes all if args begin with anything else, such as a flag or a request for help, and for
// shell completion.
func addCommands(root *cobra.Command, g *globals, args []string) {
	all := constructors()
	chosen := slices.IndexFunc(all, func(c constructor) bool {
		return len(args) > 0 && args[0] == c.name && c.name != completionName
	})
	if chosen >= 0 {
		all = all[chosen : chosen+1]
	}
	for _, c := range all {
		made := c.make(g)
		made.GroupID = c.group
		root.AddCommand(made)
	}
}

// strictHelp makes cobra's help command refuse unknown commands.
func strictHelp(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	for _, c := range root.Commands() {
		if c.Name() == "help" {
			c.Example = "  parkd help audit verify"
			setExitCodes(c, exitDone, exitUsage)
			c.Run, c.RunE = nil, func(_ *cobra.Command, args []string) error {
				of, rest, _ := root.Find(args)
				if len(rest) > 0 {
					return runGroup(of, rest)
				}
				of.InitDefaultHelpFlag()
				return of.Help()
			}
		}
	}
}

// flags declares the flags of all commands.
func (g *globals) flags(root *cobra.Command) {
	fs := root.PersistentFlags()
	fs.VarP(&g.output, "output", "o", "output format: "+strings.Join(formats(), ", "))
	fromEnv(fs, "output", "PARKD_OUTPUT")
	fs.StringVar(&g.server, "server", "", "daemon to use: http://host:port or unix:///path (default the socket of your own daemon on this machine)")
	fromEnv(fs, "server", "PARKD_SERVER")
	fs.StringVar(&g.token, "token", "", "access token for the daemon")
	fromEnv(fs, "token", "PARKD_TOKEN")
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats(), cobra.ShellCompDirectiveNoFileComp))
}

// runGroup runs a command that only groups subcommands.
func runGroup(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return c.Help()
	}
	return unknownCommand(c, args[0])
}

func unknownCommand(c *cobra.Command, name string) error {
	c.SuggestionsMinimumDistance = 2
	message := fmt.Sprintf("unknown command %q for %q", name, c.CommandPath())
	if near := c.SuggestionsFor(name); len(near) > 0 {
		message += "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return usagef("%s", message)
}

// group returns the RunE of a command that has an action of its own and subcommands.
func (g *globals) group(f func(ctx context.Context) error) func(*cobra.Command, []string) error {
	run := g.run(func(ctx context.Context, _ []string) error { return f(ctx) })
	return func(c *cobra.Command, args []string) error {
		if len(args) > 0 {
			return runGroup(c, args)
		}
		return run(c, args)
	}
}

// setExitCodes adds a command's exit codes to its help.
func setExitCodes(c *cobra.Command, codes ...int) {
	var b strings.Builder
	for _, code := range codes {
		fmt.Fprintf(&b, "  %3d  %s\n", code, exitMeaning(code))
	}
	annotate(c, exitCodes, strings.TrimRight(b.String(), "\n"))
}

func annotate(c *cobra.Command, key, value string) {
	if c.Annotations == nil {
		c.Annotations = map[string]string{}
	}
	c.Annotations[key] = value
}

const helpTemplate = `{{with (or .Long .Short)}}{{. | trimTrailingWhitespaces}}

{{end}}Usage:{{if .HasAvailableSubCommands}}
  {{.CommandPath}} COMMAND{{else}}
  {{.UseLine}}{{end}}{{if .HasExample}}

Examples:
{{.Example}}{{end}}{{if .HasAvailableSubCommands}}{{$cmds := .Commands}}{{if eq (len .Groups) 0}}

Commands:{{range $cmds}}{{if .IsAvailableCommand}}
  {{rpad .Name .NamePadding }} {{.Short}}{{end}}{{end}}{{else}}{{range $group := .Groups}}

{{.Title}}{{range $cmds}}{{if (and (eq .GroupID $group.ID) .IsAvailableCommand)}}
  {{rpad .Name .NamePadding }} {{.Short}}{{end}}{{end}}{{end}}

Other:{{range $cmds}}{{if (and (eq .GroupID "") .IsAvailableCommand)}}
  {{rpad .Name .NamePadding }} {{.Short}}{{end}}{{end}}{{end}}{{end}}{{if .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}{{if .HasAvailableInheritedFlags}}

Global flags:
{{.InheritedFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}{{with index .Annotations "exit_codes"}}

Exit codes:
{{.}}{{end}}{{if .HasAvailableSubCommands}}

See '{{.CommandPath}} COMMAND --help' for details of a command.{{end}}
`

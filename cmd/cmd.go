// Package cmd is the command line. Each file has one cobra command with its flags and output. It decides only how to ask
// and what to show, and reaches a daemon only through [park.Service].
package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	// A shim ends in there, before the other packages are initialised.
	_ "github.com/parkd-dev/parkd/cmd/shim"
)

// globals is shared by all commands: the streams, the environment, and the flags of the root command.
type globals struct {
	in      io.Reader
	out     io.Writer
	err     io.Writer
	getenv  func(string) string
	now     func() time.Time
	version string

	server string
	token  string
	output format

	// fromEnvironment names the flags that were set by the environment and not by the command line.
	fromEnvironment map[string]bool
	// started is set when a command runs: earlier errors are usage errors.
	started bool
}

// Main runs the program with os.Args and returns its exit code. A shim never gets here: see package cmd/shim.
func Main(version string) int {
	g := &globals{
		in: os.Stdin, out: os.Stdout, err: os.Stderr,
		getenv: os.Getenv, now: time.Now, version: version, output: asTable, fromEnvironment: map[string]bool{},
	}
	ctx, stop := interruptible(context.Background())
	defer stop()
	return g.execute(ctx, os.Args[1:])
}

// execute runs one command line.
func (g *globals) execute(ctx context.Context, args []string) int {
	root := newRootCommand(g, args)
	root.SetArgs(args)
	c, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitDone
	}
	if !g.started {
		g.guessOutput(args)
		err = g.withUsageHint(c, err)
	}
	return g.report(err)
}

// withUsageHint adds a hint to cobra's error about a command line.
func (g *globals) withUsageHint(c *cobra.Command, err error) error {
	if e, ok := errors.AsType[*cliError](err); ok && e.Code != exitUsage {
		return err
	}
	e := toCLIError(usage(err))
	if e.Hint == "" {
		e.Hint = fmt.Sprintf("See '%s --help'.", c.CommandPath())
		if c.Annotations[takesCommand] != "" && strings.HasPrefix(e.Error(), "unknown ") {
			e.Hint = fmt.Sprintf("Put -- before the command to run: %s [flags] -- command …\n%s", c.CommandPath(), e.Hint)
		}
	}
	return e
}

// guessOutput finds the output format if not all flags could be parsed.
func (g *globals) guessOutput(args []string) {
	if v := g.getenv("PARKD_OUTPUT"); v != "" && g.output == asTable {
		_ = g.output.Set(v)
	}
	for i, a := range args {
		if a == "--" {
			return
		}
		for _, name := range []string{"--output", "-o"} {
			rest, ok := strings.CutPrefix(a, name)
			if ok && rest == "" && i+1 < len(args) {
				rest = args[i+1]
			}
			if ok {
				_ = g.output.Set(strings.TrimPrefix(rest, "="))
			}
		}
	}
}

// run returns the RunE of a command.
func (g *globals) run(f func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		g.started = true
		err := f(c.Context(), args)
		if e, ok := errors.AsType[*cliError](err); ok && e.Code == exitUsage && e.Name == "usage" {
			return g.withUsageHint(c, err)
		}
		return err
	}
}

// printer returns a printer for the selected output format.
func (g *globals) printer() *printer {
	return &printer{w: g.out, format: g.output, now: g.now}
}

// notice prints a message for people on standard error. It prints nothing if the output is for programs.
func (g *globals) notice(f string, args ...any) {
	if g.output.forPeople() {
		fmt.Fprintln(g.err, strings.TrimRight(clean(fmt.Sprintf(f, args...)), "\n"))
	}
}

// isTerminal reports whether a stream is a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// interactive reports whether messages go to a terminal, so that progress can be shown.
func (g *globals) interactive() bool { return isTerminal(g.err) && g.output.forPeople() }

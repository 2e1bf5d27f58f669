// Package cmd is the command line: one cobra command a file, its flags and its printing. What is decided here
// is only how to ask and how to show; a daemon is reached through [park.Service] alone.
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

	// What is started to supervise a command ends in there, before the other packages are initialised.
	_ "github.com/parkd-dev/parkd/cmd/shim"
)

// globals is what every command shares: the outer world and the flags of the root.
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

	// inherited names the flags that the environment gave and not the command line.
	inherited map[string]bool
	// started is set when a command runs: errors before that are wrong usage.
	started bool
}

// Main runs the program with os.Args and returns its exit code. A program that is started as a shim does not come here: see
// package cmd/shim.
func Main(version string) int {
	g := &globals{
		in: os.Stdin, out: os.Stdout, err: os.Stderr,
		getenv: os.Getenv, now: time.Now, version: version, output: asTable, inherited: map[string]bool{},
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
		err = g.usageOf(c, err)
	}
	return g.report(err)
}

// usageOf turns what cobra says of a wrong command line into an error with a way on.
func (g *globals) usageOf(c *cobra.Command, err error) error {
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

// guessOutput finds the format where the flags could not all be read.
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

// run makes the RunE of a command.
func (g *globals) run(f func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		g.started = true
		err := f(c.Context(), args)
		if e, ok := errors.AsType[*cliError](err); ok && e.Code == exitUsage && e.Name == "usage" {
			return g.usageOf(c, err)
		}
		return err
	}
}

// printer prints data as the flags say.
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

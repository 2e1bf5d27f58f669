// Command prove runs the campaigns of the proof programme and writes a report.
//
//	go run ./pkg/internal/proof/prove -form long -minutes 480 -o docs/reliability.md
//
// Each campaign is a test; see package proof. The log has one line for each campaign, and the report is made from it
// however the run ends: an interrupt ends the running campaign and skips the rest.
//
// The exit code is 0 only if each selected campaign ran, reached its targets, and broke no guarantee. If -minutes
// limits it, less may be done: the report and the exit code then say so.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	"github.com/parkd-dev/parkd/pkg/internal/proof"
)

type options struct {
	form    string
	minutes float64
	log     string
	report  string
	only    string
	absent  *regexp.Regexp
	jobs    int
	again   bool
	list    bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		err = run(ctx, &o, campaigns(), os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "prove:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop was called
	}
}

func parse(args []string) (o options, err error) {
	fs := flag.NewFlagSet("prove", flag.ContinueOnError)
	fs.StringVar(&o.form, "form", proof.CI, "how much is done: ci or long")
	fs.Float64Var(&o.minutes, "minutes", 0, "share so many minutes among the campaigns; 0: as long as it takes")
	fs.StringVar(&o.log, "log", "", "add the campaigns' lines to this file; default: a new one that is removed")
	fs.StringVar(&o.report, "o", "", "write the report there")
	fs.BoolVar(&o.again, "report-only", false, "run nothing: make the report of the log")
	fs.BoolVar(&o.list, "list", false, "run nothing: list the campaigns")
	fs.IntVar(&o.jobs, "jobs", 1, "run so many campaigns at once, of those that mostly wait twice as many; only without -minutes")
	fs.StringVar(&o.only, "only", "", "run only campaigns whose name matches; of several expressions, set apart by commas, each has to match some")
	absent := fs.String("absent", "", "take no offence where a campaign whose line's name matches cannot run on this machine")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if fs.NArg() > 0 {
		return o, fmt.Errorf("there are only flags, not %q", fs.Args())
	}
	if o.form != proof.CI && o.form != proof.Long {
		return o, fmt.Errorf("-form must be ci or long, not %q", o.form)
	}
	if !(o.minutes >= 0 && o.minutes <= 1e6) {
		return o, fmt.Errorf("-minutes must be from 0 to 1000000, but is %g", o.minutes)
	}
	if o.jobs < 1 || o.jobs > 1 && o.minutes > 0 {
		return o, fmt.Errorf("-jobs must be at least 1, and 1 together with -minutes, not %d", o.jobs)
	}
	if o.again && (o.log == "" || o.report == "") {
		return o, errors.New("-report-only needs -log and -o")
	}
	if *absent == "" {
		*absent = "^$"
	}
	if o.absent, err = regexp.Compile(*absent); err != nil {
		return o, fmt.Errorf("-absent: %w", err)
	}
	return o, nil
}

// choose returns the campaigns of a form whose names match. An expression that matches none is an error, because the
// intended campaign would not run.
func choose(all []campaign, form, only string) (chosen []campaign, err error) {
	taken := make(map[string]bool)
	for expression := range strings.SplitSeq(only, ",") {
		re, err := regexp.Compile(expression)
		if err != nil {
			return nil, fmt.Errorf("-only: %w", err)
		}
		found := false
		for _, c := range all {
			if c.inForm(form) && re.MatchString(c.name) {
				found, taken[c.name] = true, true
			}
		}
		if !found {
			return nil, fmt.Errorf("no campaign of the %s form is called %q: -list shows them", form, expression)
		}
	}
	for _, c := range all {
		if taken[c.name] {
			chosen = append(chosen, c)
		}
	}
	return chosen, nil
}

func run(ctx context.Context, o *options, all []campaign, out io.Writer) error {
	chosen, err := choose(all, o.form, o.only)
	if err != nil {
		return err
	}
	if o.list {
		return list(out, chosen)
	}
	if o.log == "" {
		dir, err := os.MkdirTemp("", "parkd-proof-log-")
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(dir) }()
		o.log = filepath.Join(dir, "log")
	}
	var failed []string
	if o.again {
		_, err = os.Stat(o.log) // if the name is wrong, the report would say that nothing ran
	} else {
		failed, err = runAll(ctx, o, chosen, out)
	}
	if err != nil {
		return err
	}
	if o.report != "" {
		if err := report(o, all); err != nil {
			return err
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("not proven: %s", strings.Join(failed, "; "))
	}
	return nil
}

func list(out io.Writer, chosen []campaign) error {
	for _, c := range chosen {
		test := "fuzz tests"
		if !c.fuzz {
			test = c.pkg + " " + c.tests
		}
		if _, err := fmt.Fprintf(out, "%s: %s (%s)\n", c.name, strings.Join(c.lines, ", "), test); err != nil {
			return err
		}
	}
	return nil
}

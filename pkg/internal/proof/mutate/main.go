// Command mutate makes small changes to the program, one at a time, and lists those that no test notices.
//
//	go run ./pkg/internal/proof/mutate -pkg ./pkg/internal/lot
//
// All changes to a package are built into its test binaries at once, each behind a switch (mutant schemata: Untch,
// Offutt, Harrold, "Mutation analysis using mutant schemata", ISSTA 1993), and applied with go test -overlay: the product
// has none of it. The switch is a number in the environment. Each test runs once to tell which changes it reaches, and
// then a change is tried with the tests that reach it, the quickest first, until one fails.
//
// A change that cannot be noticed (because it only makes the program slower, say) is written off in written_off.txt,
// with the reason. The exit code is 1 if a change was neither noticed nor written off, or if one that is written off no
// longer exists or is noticed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"strings"
	"syscall"
)

type options struct {
	pkg    string
	judges []string
	only   *regexp.Regexp
	skip   *regexp.Regexp // tests that are not used
	jobs   int
	every  int
	list   bool
	off    string // the file of changes that are written off
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		err = run(ctx, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop was called
	}
}

func parse(args []string) (o options, err error) {
	fs := flag.NewFlagSet("mutate", flag.ContinueOnError)
	fs.StringVar(&o.pkg, "pkg", "./pkg/internal/lot", "change this package")
	judges := fs.String("judges", "", "packages whose tests must notice, separated by commas; default: the package's own and those known to test it")
	only := fs.String("only", "", "only changes whose name matches")
	skip := fs.String("skip", "^TestModel$", "tests that are not asked; that one says what TestAgainstOracle does, over stores and for long")
	fs.IntVar(&o.jobs, "jobs", runtime.GOMAXPROCS(0), "try so many changes at once")
	fs.IntVar(&o.every, "every", 1, "try only every so manieth change")
	fs.BoolVar(&o.list, "list", false, "list the changes, try none")
	fs.StringVar(&o.off, "off", "pkg/internal/proof/mutate/written_off.txt", "the changes that are written off, with the reason")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if fs.NArg() > 0 {
		return o, fmt.Errorf("there are only flags, not %q", fs.Args())
	}
	if o.jobs < 1 || o.every < 1 {
		return o, errors.New("-jobs and -every must be at least 1")
	}
	o.judges = judgesOf(o.pkg)
	if *judges != "" {
		o.judges = strings.Split(*judges, ",")
	}
	var err1, err2 error
	o.only, err1 = regexp.Compile(*only)
	o.skip, err2 = regexp.Compile(*skip)
	return o, errors.Join(err1, err2)
}

// judgesOf returns the packages whose tests test a package.
func judgesOf(pkg string) []string {
	switch pkg {
	case "./pkg/internal/lot":
		return []string{"./pkg/internal/lot", "./pkg/internal/sim", "./pkg/engine"}
	case "./pkg/engine":
		return []string{"./pkg/internal/sim", "./pkg/engine"}
	case "./pkg/internal/cluster", "./pkg/internal/env", "./pkg/internal/health", "./pkg/internal/portion",
		"./pkg/internal/relay", "./pkg/internal/retention", "./pkg/internal/topic":
		return []string{pkg, "./pkg/internal/sim", "./pkg/engine"}
	case "./pkg/internal/replay":
		return []string{"./pkg/internal/replay", "./pkg/loadtest", "./cmd"}
	}
	return []string{pkg}
}

func run(ctx context.Context, o options) error {
	off, err := readWrittenOff(o.off)
	if err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "parkd-mutate-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	p, err := load(ctx, o.pkg)
	if err != nil {
		return err
	}
	changes, err := p.writeOverlay(scratch)
	if err != nil {
		return err
	}
	chosen := choose(changes, o)
	if len(chosen) == 0 {
		return fmt.Errorf("none of %d changes of %s has a name like %q: -list shows them", len(changes), o.pkg, o.only)
	}
	if o.list {
		for _, c := range chosen {
			fmt.Println(c.name)
		}
		fmt.Printf("%d changes\n", len(chosen))
		return nil
	}
	b, err := build(ctx, o, p, scratch, len(changes))
	if err != nil {
		return err
	}
	if err := b.try(ctx, chosen, o.jobs); err != nil {
		return err
	}
	return printReport(chosen, off, o)
}

// choose returns the changes to try.
func choose(changes []*change, o options) (chosen []*change) {
	for i, c := range changes {
		if i%o.every == 0 && o.only.MatchString(c.name) {
			chosen = append(chosen, c)
		}
	}
	return chosen
}

// Bench compares parkd with its limits on the same machine and with other systems, and writes docs/performance.md.
//
//	make bench         the table, about a quarter of an hour
//	make bench-large   also the rows with a million parked tasks and ten million events
//
// A target is a ratio of two things that were measured alternately in one run, or a short time. The daemon is the real
// binary in a separate process. The load for parkd and for the systems that it is compared with uses connections of
// [github.com/parkd-dev/parkd/pkg/loadtest/transport]. This is a separate module, so that those systems are not in the
// product's go.mod.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// bench is one run.
type bench struct {
	parkd    string // the binary
	root     string // of the repository
	dir      string // for files of the run
	rounds   int
	duration time.Duration // of one measurement under load
	results  *results
	selected map[string]bool
	profile  string
	parked   int // tasks of the large rows
	events   int
}

// section is a part of the table that can be measured alone.
type section struct {
	name  string
	large bool
	run   func(*bench, context.Context) error
}

func sections() []section {
	return []section{
		{"memory", false, (*bench).memory},
		{"file", false, (*bench).file},
		{"postgres", false, (*bench).postgres},
		{"wake", false, (*bench).wake},
		{"command", false, (*bench).command},
		{"across", false, (*bench).across},
		{"lot", false, (*bench).lot},
		{"small", false, (*bench).small},
		{"start", false, (*bench).start},
		{"peers", false, (*bench).peers},
		{"parked", true, (*bench).parkedRows},
		{"audit", true, (*bench).audit},
		{"retention", true, (*bench).retention},
	}
}

func main() {
	if runChild(os.Args[1:]) {
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	b := &bench{}
	var only string
	var large bool
	flag.StringVar(&b.parkd, "parkd", "", "binary to measure; default: built from the repository as for a release")
	flag.StringVar(&b.root, "root", "../..", "the repository")
	flag.IntVar(&b.rounds, "rounds", 5, "number of rounds")
	flag.DurationVar(&b.duration, "length", 3*time.Second, "duration of one measurement under load")
	flag.StringVar(&only, "only", "", "sections to measure, separated by commas: "+names())
	flag.BoolVar(&large, "large", false, "measure also the rows that take long")
	flag.StringVar(&b.profile, "profile", "", "folder to which the daemons write profiles")
	flag.IntVar(&b.parked, "parked", 1_000_000, "number of parked tasks, and of old rows, in the large measurements")
	flag.IntVar(&b.events, "events", 10_000_000, "number of events in the log in the large measurements")
	flag.Parse()
	b.selected = make(map[string]bool)
	for name := range strings.SplitSeq(only, ",") {
		if name != "" && !strings.Contains(" "+names()+" ", " "+name+" ") {
			return fmt.Errorf("there is no section %q; there are %s", name, names())
		}
		b.selected[name] = name != ""
	}
	if err := b.prepare(ctx); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	return b.sections(ctx, large)
}

func (b *bench) prepare(ctx context.Context) (err error) {
	if b.root, err = filepath.Abs(b.root); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp("", "parkd-bench-"); err != nil {
		return err
	}
	if b.parkd == "" {
		b.parkd = filepath.Join(b.dir, "parkd")
		if err := build(ctx, b.root, b.parkd); err != nil {
			return err
		}
	}
	b.results, err = openResults(filepath.Join(b.root, "docs", "bench", "results.json"), filepath.Join(b.root, "docs", "performance.md"))
	return err
}

// sections runs the selected sections. An error of one does not prevent the others.
func (b *bench) sections(ctx context.Context, large bool) error {
	var errs []error
	for _, s := range sections() {
		if b.selected[""] = false; len(b.selected) > 1 && !b.selected[s.name] || len(b.selected) == 1 && s.large && !large {
			continue
		}
		began := time.Now()
		b.logf("== %s", s.name)
		if err := s.run(b, ctx); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s.name, err))
			b.logf("%s: %v", s.name, err)
		}
		b.logf("== %s: %s", s.name, time.Since(began).Round(time.Second))
		if ctx.Err() != nil {
			return errors.Join(append(errs, ctx.Err())...)
		}
		if err := b.results.write(); err != nil {
			return err
		}
	}
	return errors.Join(errs...)
}

func names() string {
	var all []string
	for _, s := range sections() {
		all = append(all, s.name)
	}
	return strings.Join(all, " ")
}

func (b *bench) logf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}

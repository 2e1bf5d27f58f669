// Bench measures parkd beside what bounds it on the same machine, and beside peers, and writes docs/performance.md.
//
//	make bench         the table, about a quarter of an hour
//	make bench-large   the rows with a million parked tasks and ten million events too
//
// Every figure of a target is a ratio of two things measured in turn in one run, or a time that is short enough not to
// need one. The daemon is the real binary in a process of its own; the load comes over connections of
// [github.com/parkd-dev/parkd/pkg/client.Conn], to parkd and to what it is compared with alike. This module is apart from
// the product's so that the peers never enter its go.mod.
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
	parkd   string // the binary
	root    string // of the repository
	dir     string // for files of the run
	rounds  int
	length  time.Duration // of one measurement under load
	book    *book
	only    map[string]bool
	profile string
	parked  int // tasks of the large rows
	events  int
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
	if child(os.Args[1:]) {
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
	flag.StringVar(&b.parkd, "parkd", "", "binary to measure; default: built from the repository, as a release is")
	flag.StringVar(&b.root, "root", "../..", "the repository")
	flag.IntVar(&b.rounds, "rounds", 5, "alternating rounds")
	flag.DurationVar(&b.length, "length", 3*time.Second, "of one measurement under load")
	flag.StringVar(&only, "only", "", "sections to measure, by comma: "+names())
	flag.BoolVar(&large, "large", false, "the rows that take long too")
	flag.StringVar(&b.profile, "profile", "", "have the daemons write profiles below this folder")
	flag.IntVar(&b.parked, "parked", 1_000_000, "parked tasks, and old rows, of the large rows")
	flag.IntVar(&b.events, "events", 10_000_000, "events in the log of the large rows")
	flag.Parse()
	b.only = make(map[string]bool)
	for name := range strings.SplitSeq(only, ",") {
		if name != "" && !strings.Contains(" "+names()+" ", " "+name+" ") {
			return fmt.Errorf("there is no section %q; there are %s", name, names())
		}
		b.only[name] = name != ""
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
	b.book, err = openBook(filepath.Join(b.root, "docs", "bench", "results.json"), filepath.Join(b.root, "docs", "performance.md"))
	return err
}

// sections runs what was asked for. One that cannot be measured here does not keep the others from it.
func (b *bench) sections(ctx context.Context, large bool) error {
	var errs []error
	for _, s := range sections() {
		if b.only[""] = false; len(b.only) > 1 && !b.only[s.name] || len(b.only) == 1 && s.large && !large {
			continue
		}
		began := time.Now()
		b.say("== %s", s.name)
		if err := s.run(b, ctx); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s.name, err))
			b.say("%s: %v", s.name, err)
		}
		b.say("== %s: %s", s.name, time.Since(began).Round(time.Second))
		if ctx.Err() != nil {
			return errors.Join(append(errs, ctx.Err())...)
		}
		if err := b.book.write(); err != nil {
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

func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}

// Command prove runs the campaigns of the proof programme, one after the other, and writes what they did.
//
//	go run ./pkg/proof/prove -form long -minutes 480 -o docs/reliability.md
//
// Each campaign is a test; see package proof. What campaigns have done stands in the log, one line each, and the report
// is made of that however the run ends: an interrupt ends the campaign under way and skips the rest.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/parkd-dev/parkd/pkg/proof"
)

type options struct {
	form    string
	minutes float64
	log     string
	report  string
	only    *regexp.Regexp
	jobs    int
	again   bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o, err := parse(os.Args[1:])
	if err == nil {
		err = run(ctx, o)
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
	fs.IntVar(&o.jobs, "jobs", 1, "run so many campaigns at once; only without -minutes")
	only := fs.String("only", "", "run only campaigns whose name matches")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if o.form != proof.CI && o.form != proof.Long {
		return o, fmt.Errorf("-form must be ci or long, not %q", o.form)
	}
	if o.minutes < 0 {
		return o, fmt.Errorf("-minutes must not be negative, but is %g", o.minutes)
	}
	if o.jobs < 1 || o.jobs > 1 && o.minutes > 0 {
		return o, fmt.Errorf("-jobs must be at least 1, and 1 together with -minutes, not %d", o.jobs)
	}
	if o.again && o.log == "" {
		return o, errors.New("-report-only needs -log")
	}
	o.only, err = regexp.Compile(*only)
	return o, err
}

func run(ctx context.Context, o options) error {
	if o.log == "" {
		dir, err := os.MkdirTemp("", "parkd-proof-log-")
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(dir) }()
		o.log = filepath.Join(dir, "log")
	}
	log, err := filepath.Abs(o.log)
	if err != nil {
		return err
	}
	o.log = log
	var failed []string
	if !o.again {
		failed = runAll(ctx, o)
	}
	if o.report != "" {
		if err := report(o.log, o.report); err != nil {
			return err
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("not proven: %s", strings.Join(failed, ", "))
	}
	return nil
}

// runAll runs the campaigns and returns those that failed.
func runAll(ctx context.Context, o options) (failed []string) {
	var chosen []campaign
	var weight float64
	for _, c := range campaigns() {
		if o.only.MatchString(c.name) && (o.form == proof.Long || !c.fuzz) {
			chosen, weight = append(chosen, c), weight+c.weight
		}
	}
	left := o.minutes * 60
	var mu sync.Mutex // held for failed and to print
	var running errgroup.Group
	running.SetLimit(o.jobs)
	for _, c := range chosen {
		share := left * c.weight / weight
		began := time.Now()
		running.Go(func() error {
			var out bytes.Buffer
			err := errors.New("interrupted")
			if ctx.Err() == nil {
				err = c.run(ctx, o, share, &out)
			}
			mu.Lock()
			defer mu.Unlock()
			fmt.Printf("== %s\n%s== %s: %.0fs\n", c.name, out.Bytes(), c.name, time.Since(began).Seconds())
			if err != nil {
				failed = append(failed, c.name)
			}
			return err
		})
		if o.jobs == 1 {
			_ = running.Wait() // it stands in failed
		}
		// What one campaign has not used is for those after it.
		left, weight = max(left-time.Since(began).Seconds(), 0), weight-c.weight
	}
	_ = running.Wait()
	return failed
}

// campaign is one call of go test, which may hold several campaigns of package proof.
type campaign struct {
	name   string
	pkg    string
	tests  string
	tags   string  // of the build
	weight float64 // share of the time
	parts  float64 // into how many campaigns its time is divided
	fuzz   bool
}

// slack is how much longer than its time a campaign may take: to see that nothing was lost takes a while.
const slack = 15 * time.Minute

func (c campaign) run(ctx context.Context, o options, share float64, out io.Writer) error {
	if c.fuzz {
		return fuzzAll(ctx, o, share, out)
	}
	if _, err := os.Stat(strings.TrimSuffix(c.pkg, "/...")); errors.Is(err, os.ErrNotExist) {
		fmt.Fprintln(out, "there is no", c.pkg)
		return nil
	}
	args := []string{"test", "-count=1", "-tags", c.tags, "-run", c.tests, "-v", "-timeout", (2*slack + time.Duration(share)*time.Second).String(), c.pkg}
	env := []string{proof.EnvForm + "=" + o.form, proof.EnvLog + "=" + o.log}
	if share > 0 {
		env = append(env, proof.EnvSeconds+"="+strconv.Itoa(max(1, int(share/c.parts))))
	}
	return goTool(ctx, out, env, args...)
}

// goTool runs the go command in a group of its own. When ctx ends the group is interrupted, so that the campaign under
// way comes to its end early and tidies up.
func goTool(ctx context.Context, out io.Writer, env []string, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), env...), out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = slack
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go %s: %w", args[0], err)
	}
	return nil
}

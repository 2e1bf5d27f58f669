package cmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/parkd-dev/parkd/pkg/loadtest"
)

type loadtestOptions struct {
	loadtest.Options
	duration duration
	work     duration
}

func newLoadtestCommand(g *globals) *cobra.Command {
	var o loadtestOptions
	c := &cobra.Command{
		Use:   "loadtest [flags]",
		Short: "Load-test a daemon and check its guarantees",
		Long: `Submits many tasks over HTTP, cancels a few of them and waits until all have ended. It then compares the audit
log, the event stream, the mailboxes and the tasks with what was requested, and reports for each guarantee whether
it was kept. Nothing else needs to run: the command starts a daemon of its own and removes it afterwards. With
--server on the command line it tests a running daemon instead, in a pool with the executor simulate.

The exit code is 1 if a guarantee was broken.`,
		Example: `  parkd loadtest -n 10000
  parkd loadtest -n 10000 --backend file --report report.html
  parkd loadtest --rate 500 --duration 1m -o json
  parkd loadtest --backend file --restart
  parkd loadtest --server http://127.0.0.1:7275 --pool sim`,
		Args: noArgs,
	}
	c.RunE = g.run(func(ctx context.Context, _ []string) error {
		if err := o.check(c.Flags()); err != nil {
			return err
		}
		return runLoadtest(ctx, g, o)
	})
	o.flags(c)
	setExitCodes(c, exitDone, exitFailed, exitUsage, exitDenied, exitNoDaemon, exitInterrupted)
	return c
}

func (o *loadtestOptions) flags(c *cobra.Command) {
	fs := c.Flags()
	fs.IntVarP(&o.N, "tasks", "n", 0, "number of tasks to submit (default 10000, or the whole trace)")
	fs.Var(&o.duration, "duration", "submit for this long")
	fs.StringVar(&o.Backend, "backend", "", "backend of the daemon that it starts: memory, file or postgres (default memory)")
	fs.IntVar(&o.Nodes, "nodes", 0, "number of daemons that share one Postgres (default 1)")
	fs.StringVar(&o.DSN, "dsn", "", "use this Postgres database instead of starting a server; the pool of the test stays in it")
	fs.BoolVar(&o.Quiet, "quiet-nodes", false, "disable notifications between nodes (polling only)")
	fs.Int64VarP(&o.Units, "units", "u", 0, "units of the pool that it creates (default 24, or to suit the trace)")
	fs.StringVarP(&o.Pool, "pool", "p", "", "pool of the running daemon")
	fs.StringVar(&o.Tenant, "tenant", "", "give all tasks the same tenant (default several tenants)")
	fs.IntVarP(&o.Concurrency, "concurrency", "c", 0, "number of concurrent clients (default 64)")
	fs.Float64Var(&o.Rate, "rate", 0, "submit this many tasks per second, at random times, whether or not the daemon keeps up")
	fs.IntVar(&o.Batch, "batch", 0, "tasks per submission (default 1)")
	fs.Var(&o.work, "work", "mean run time of a task (default 5ms)")
	fs.Uint64Var(&o.Seed, "seed", 1, "random seed; the same seed gives the same tasks")
	fs.StringVar(&o.Trace, "trace", "", "take the submissions from this recorded trace")
	fs.Float64Var(&o.Speed, "speed", 0, "replay the trace this many times faster (default 1)")
	fs.BoolVar(&o.Restart, "restart", false, "kill and restart the daemon that it starts, midway")
	fs.StringVar(&o.Report, "report", "", "write an HTML report with plots to this file")
	completeWords(c, "backend", []string{"memory", "file", "postgres"})
}

// check refuses zero and negative values that were given, because Options takes them for missing ones, and a report
// that could not be written after a long run.
func (o *loadtestOptions) check(fs *pflag.FlagSet) error {
	for _, name := range []string{"tasks", "speed", "duration", "work", "units", "concurrency", "batch", "nodes"} {
		f := fs.Lookup(name)
		if v := f.Value.String(); f.Changed && (v == "0" || v == "0s" || strings.HasPrefix(v, "-")) {
			return usagef("--%s must be above 0, not %s", name, v)
		}
	}
	if o.Report == "" {
		return nil
	}
	if _, err := os.Stat(filepath.Dir(o.Report)); err != nil {
		return usagef("--report: %w", err)
	}
	return nil
}

func runLoadtest(ctx context.Context, g *globals, o loadtestOptions) error {
	o.Duration, o.Work = time.Duration(o.duration), time.Duration(o.work)
	// A server in the environment is one for daily work, and must not be load-tested by accident.
	if g.server != "" && !g.fromEnvironment["server"] {
		o.Server, o.Token = g.server, g.token
	}
	show := g.newLoadBar()
	o.Progress = show.progress
	r, err := loadtest.Run(ctx, o.Options)
	show.close()
	if err != nil {
		return err
	}
	if err := printReport(g, r); err != nil {
		return err
	}
	if o.Report != "" {
		g.notice("The report is in %s.", o.Report)
	}
	if !r.OK() {
		return &cliError{Code: exitFailed, Name: "promise_broken", Err: errors.New("broken guarantees: " + strings.Join(broken(r), "; "))}
	}
	return nil
}

func broken(r *loadtest.Report) []string {
	var out []string
	for _, v := range r.Verdicts {
		if !v.OK {
			out = append(out, v.Promise)
		}
	}
	return out
}

func printReport(g *globals, r *loadtest.Report) error {
	if !g.output.forPeople() {
		return g.printer().json(r)
	}
	err := verdictRows().print(g.printer(), r, r.Verdicts)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(g.out, `
%d submitted, %d accepted, %d rejected; %d completed, %d failed, %d expired
%.0f submissions/s, %.0f tasks/s; at most %d of %d units in use, %d parked
submit %s
wake   %s
audit  %s
cpu    %s
`, r.Submitted, r.Accepted, r.Rejected, r.Completed, r.Failed, r.Expired,
		r.SubmitPerSec, r.TasksPerSec, r.MaxUnitsInUse, r.MaxUnits, r.MaxParked,
		quantiles(r.SubmitMs), quantiles(r.WakeMs), quantiles(r.AuditMs), shares(r))
	for _, n := range r.Notes {
		g.notice("Note: %s.", n)
	}
	for _, n := range r.Offences {
		g.notice("Violation: %s", n)
	}
	return err
}

// shares prints how the processor time was shared between daemon and load generator.
func shares(r *loadtest.Report) string {
	if r.DaemonCPUSecs == 0 {
		return fmt.Sprintf("load generator %.1f s", r.GeneratorCPUSecs)
	}
	return fmt.Sprintf("daemon %.1f s, load generator %.1f s (%.0f %%)",
		r.DaemonCPUSecs, r.GeneratorCPUSecs, 100*r.GeneratorCPUShare)
}

func quantiles(q loadtest.Quantiles) string {
	if q.Count == 0 {
		return "none"
	}
	return fmt.Sprintf("p50 %.1f ms, p95 %.1f ms, p99 %.1f ms, max %.1f ms", q.P50, q.P95, q.P99, q.Max)
}

func verdictRows() listing[loadtest.Verdict] {
	number := func(f float64) string { return strconv.FormatFloat(f, 'g', 5, 64) }
	return listing[loadtest.Verdict]{
		id: func(v loadtest.Verdict) string { return v.Promise },
		columns: []column[loadtest.Verdict]{
			{name: "kept", cell: func(_ *printer, v loadtest.Verdict) string {
				if v.OK {
					return "yes"
				}
				return "NO"
			}},
			{name: "guarantee", cell: func(_ *printer, v loadtest.Verdict) string { return v.Promise }},
			{name: "value", right: true, cell: func(_ *printer, v loadtest.Verdict) string { return number(v.Value) }},
			{name: "limit", right: true, cell: func(_ *printer, v loadtest.Verdict) string {
				if v.AtLeast {
					return "at least " + number(v.Limit)
				}
				return "at most " + number(v.Limit)
			}},
		},
	}
}

// loadBar shows the progress of a load test; without a terminal it shows nothing.
type loadBar struct {
	g     *globals
	bar   *progressbar.ProgressBar
	phase loadtest.Phase
}

func (g *globals) newLoadBar() *loadBar { return &loadBar{g: g} }

func (b *loadBar) progress(p loadtest.Progress) {
	if !b.g.interactive() {
		return
	}
	if b.phase != p.Phase {
		b.close()
		b.phase = p.Phase
		total := -1
		if p.Total > 0 && (p.Phase == loadtest.Submitting || p.Phase == loadtest.Draining) {
			total = p.Total
		}
		b.bar = progressbar.NewOptions(total, progressbar.OptionSetWriter(b.g.err), progressbar.OptionClearOnFinish(),
			progressbar.OptionSetDescription(string(p.Phase)), progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionFullWidth(), progressbar.OptionShowCount())
	}
	b.bar.Describe(fmt.Sprintf("%s: %d running, %d parked", p.Phase, p.Running, p.Parked))
	switch p.Phase {
	case loadtest.Submitting:
		_ = b.bar.Set(p.Submitted)
	case loadtest.Draining:
		_ = b.bar.Set(p.Ended)
	case loadtest.Starting, loadtest.Judging:
		_ = b.bar.Add(1)
	}
}

func (b *loadBar) close() {
	if b.bar != nil {
		_ = b.bar.Finish()
		b.bar = nil
	}
}

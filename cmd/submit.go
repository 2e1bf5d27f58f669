package cmd

import (
	"context"
	"fmt"
	"os"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/parkd-dev/parkd/pkg/park"
)

type submitOptions struct {
	mailboxFlags
	pool     string
	units    int64
	priority choice
	startBy  string
	timeout  duration
	id       string
	payload  string
	retry    int
	backoff  duration
	dir      string
	wait     bool
	follow   bool
	raw      bool
	// given reports whether a flag was given, because 0 may be a value
	given func(flag string) bool
}

func newSubmitCommand(g *globals) *cobra.Command {
	o := submitOptions{priority: choice{value: park.Normal.String(), words: priorities()}}
	c := &cobra.Command{
		Use:   "submit [flags] [-- command …]",
		Short: "Submit a task: a command, a payload, or both",
		Long: `Submits a task to a pool. If enough units are free, the task starts at once. Otherwise it is parked. If the pool
cannot do either, it rejects the task (exit code 5).

The arguments after -- are the command to run, for pools that run commands. If the daemon runs the command on this
machine, it runs in the current directory. Otherwise it runs in the directory that the daemon or the worker is set
up with. The payload is the command's standard input, or the input of the pool's executor.

The outcome is kept in a mailbox: see 'parkd mailbox poll'. With --wait or --follow, parkd waits until the task
has ended, even if the daemon restarts meanwhile, and exits with the exit code of the task's command. Interrupting
it does not stop the task.`,
		Example: `  parkd submit --pool gpu --units 8 -- python train.py --epochs 3
  parkd submit --pool gpu --priority high --start-by 10m --timeout 1h -- ./render.sh
  parkd submit --pool infer --payload '{"prompt":"hello"}' --wait
  parkd submit --pool infer --payload @request.json -o id`,
		Args:              onlyAfterDash,
		ValidArgsFunction: commandAfterDash,
		RunE: g.run(func(ctx context.Context, args []string) error {
			return runSubmit(ctx, g, o, args)
		}),
	}
	o.flags(g, c)
	o.given = c.Flags().Changed
	annotate(c, takesCommand, "yes")
	setExitCodes(c, exitDone, exitFailed, exitUsage, exitCancelled, exitExpired, exitRejected, exitDenied, exitNoDaemon, exitInterrupted)
	return c
}

func (o *submitOptions) flags(g *globals, c *cobra.Command) {
	fs := c.Flags()
	g.poolFlag(c, &o.pool, "pool to submit to")
	o.pool = "default"
	fs.Lookup("pool").DefValue = o.pool
	fromEnv(fs, "pool", "PARKD_POOL")
	fs.Int64VarP(&o.units, "units", "u", 1, "units that the task uses while it runs")
	fs.Var(&o.priority, "priority", "critical, high, normal or low: critical starts first")
	fs.StringVar(&o.startBy, "start-by", "", "expire the task if it has not started by this time, a duration from now (10m) or an RFC 3339 time; does not delay the start")
	fs.Var(&o.timeout, "timeout", "stop the task after this long (default the pool's timeout)")
	fs.StringVar(&o.id, "id", "", "id of the task; submitting the same task again changes nothing (default a new UUID)")
	fs.StringVar(&o.payload, "payload", "", "JSON input of the task: text, @FILE to read a file, - to read standard input")
	fs.IntVar(&o.retry, "retry", 0, "retry a failed task up to this many times")
	fs.Var(&o.backoff, "backoff", "wait before the first retry; the wait doubles with each further retry")
	fs.StringVar(&o.dir, "dir", "", "directory to run the command in (default the current one, if the daemon on this machine runs the command)")
	fs.BoolVar(&o.wait, "wait", false, "wait until the task has ended and print the outcome")
	fs.BoolVarP(&o.follow, "follow", "f", false, "wait, and print the output of the command")
	fs.BoolVar(&o.raw, "raw", false, "with --follow: print control sequences unfiltered (progress bars, colours)")
	o.mailboxFlags.flags(fs, `mailbox for the outcome, "" for none`)
	mark(fs, mayBeEmpty, "mailbox")
	completeWords(c, "priority", priorities())
}

func runSubmit(ctx context.Context, g *globals, o submitOptions, command []string) error {
	sub, err := o.submission(g, command)
	if err != nil {
		return err
	}
	svc, at, err := g.connect()
	if err != nil {
		return err
	}
	if sub.WorkDir, err = o.workDir(ctx, svc, at, command); err != nil {
		return err
	}
	if err := sub.Normalize(); err != nil {
		return err
	}
	accepted, err := submitOne(ctx, svc, o.pool, sub)
	if park.CodeOf(err) == park.DeadlinePast {
		return park.Errorf(park.DeadlinePast, "--start-by %s is in the past", o.startBy)
	}
	if err != nil {
		return err
	}
	if !o.wait && !o.follow {
		return g.accepted(accepted)
	}
	return g.awaitOutcome(ctx, svc, o, accepted)
}

// submission makes a submission from the flags.
func (o *submitOptions) submission(g *globals, command []string) (park.Submission, error) {
	s := park.Submission{
		TaskID: o.id, Tenant: o.tenant, MailboxKey: park.MailboxRef{Key: o.mailbox},
		ResourceCost: park.Cost{Units: park.Units(o.units)}, Command: command, CreatedAt: park.At(g.now()),
	}
	if o.units < 1 {
		return s, usagef("--units must be at least 1, not %d", o.units)
	}
	var err error
	if s.Retry, err = o.retries(); err != nil {
		return s, err
	}
	if s.Priority, err = park.ParsePriority(o.priority.value); err != nil {
		return s, usage(err)
	}
	if s.Deadline, err = parseFuture("start-by", o.startBy, g.now()); err != nil {
		return s, err
	}
	if o.given("timeout") && o.timeout == 0 {
		return s, usagef("--timeout must be at least 1s; leave it out to use the pool's timeout")
	}
	if s.TimeoutSecs, err = seconds("timeout", o.timeout); err != nil {
		return s, err
	}
	if s.Payload, err = readPayload(g.in, o.payload); err != nil {
		return s, err
	}
	return withID(s)
}

// maxRetries is one less than the maximum number of attempts of a task.
const maxRetries = 999

// retries returns the retry setting from the flags, or none to use the pool's. Zero retries is a setting too.
func (o *submitOptions) retries() (park.Retry, error) {
	switch {
	case o.retry < 0 || o.retry > maxRetries:
		return park.Retry{}, usagef("--retry must be from 0 to %d, not %d", maxRetries, o.retry)
	case o.given("backoff") && o.retry == 0:
		return park.Retry{}, usagef("--backoff is the wait before a retry: give --retry too, at least 1")
	case !o.given("retry"):
		return park.Retry{}, nil
	}
	return park.Retry{MaxAttempts: o.retry + 1, Backoff: park.Duration(o.backoff)}, nil
}

// withID chooses the task's id here and not in the daemon, so that the submission can be repeated if its answer is
// lost.
func withID(s park.Submission) (park.Submission, error) {
	if s.TaskID == "" {
		id, err := uuid.NewV7()
		if err != nil {
			return s, fmt.Errorf("make a task id: %w", err)
		}
		s.TaskID = id.String()
	}
	return s, s.Normalize()
}

// workDir returns the directory for the command. Other machines do not have this machine's directories, so the current
// one is sent only if a daemon on this machine runs the command itself.
func (o *submitOptions) workDir(ctx context.Context, svc park.Service, at endpoint, command []string) (string, error) {
	if o.dir != "" && len(command) == 0 {
		return "", usagef("--dir needs a command")
	}
	if o.dir != "" || len(command) == 0 || !at.local() {
		return o.dir, nil
	}
	pool, err := svc.Pool(ctx, o.pool)
	if err != nil || pool.Runtime.Leased() {
		return "", err
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the current directory: %w", err)
	}
	if !utf8.ValidString(dir) {
		return "", usagef("the name of the current directory is not valid UTF-8: %q; choose another with --dir", dir)
	}
	return dir, nil
}

// submitTimeout bounds how long a submission without an answer is repeated.
const submitTimeout = 10 * time.Second

// submitOne submits a task, and repeats it if the answer was lost; the id makes that safe.
func submitOne(ctx context.Context, svc park.Service, pool string, s park.Submission) (park.Accepted, error) {
	var accepted park.Accepted
	sent := false
	policy := retryPolicy{limit: submitTimeout, except: func(err error) bool { return !sent && dialFailed(err) }}
	err := policy.do(ctx, func(ctx context.Context) error {
		results, err := svc.Submit(ctx, pool, []park.Submission{s})
		switch {
		case err != nil:
			sent = sent || !dialFailed(err)
			return err
		case len(results) != 1:
			return fmt.Errorf("submit: the daemon answered %d results for one task", len(results))
		case results[0].Err != nil:
			return results[0].Err
		}
		accepted = results[0].Accepted
		return nil
	})
	if sent && unreachable(err) {
		err = fmt.Errorf("it is unknown whether task %[1]s was accepted; to find out, submit the same task again with --id %[1]s: %[2]w", s.TaskID, err)
	}
	return accepted, err
}

// accepted prints that a task was accepted.
func (g *globals) accepted(a park.Accepted) error {
	if err := acceptedList().printOne(g.printer(), a); err != nil {
		return err
	}
	if g.interactive() {
		g.notice("See the task with 'parkd status %[1]s', and its outcome with 'parkd wait %[1]s' or 'parkd mailbox poll'.", a.TaskID)
	}
	return nil
}

// awaitOutcome waits for the end of an accepted task, and exits as its command did.
func (g *globals) awaitOutcome(ctx context.Context, svc park.Service, o submitOptions, a park.Accepted) error {
	g.notice("Task %s is %s.", a.TaskID, statusText(a))
	t := park.Task{TaskID: a.TaskID, PoolID: a.PoolID, Status: a.Status, Position: a.Position, SubmittedAt: a.SubmittedAt}
	var err error
	if o.follow {
		err = followLog(ctx, g, svc, t, g.logWriter(o.raw))
	}
	if err == nil {
		t, err = g.awaitEnd(ctx, svc, t)
	}
	if err != nil {
		return g.explainInterrupt(ctx, err, a.TaskID)
	}
	if o.follow && g.output.forPeople() {
		// Standard output has only the log.
		g.notice("Task %s %s.", t.TaskID, outcome(g.printer(), t))
		return exitForTasks(t)
	}
	if err := taskList().printOne(g.printer(), t); err != nil {
		return err
	}
	return exitForTasks(t)
}

func statusText(a park.Accepted) string {
	if a.Status == park.Queued && a.Position > 0 {
		return fmt.Sprintf("parked at position %d of pool %s", a.Position, a.PoolID)
	}
	return fmt.Sprintf("%s in pool %s", a.Status, a.PoolID)
}

func outcome(p *printer, t park.Task) string {
	text := string(t.Status)
	if took := p.took(t); took != "" {
		text += " after " + took
	}
	if t.Reason != "" {
		text += ": " + p.note(t)
	}
	return text
}

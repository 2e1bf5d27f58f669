// Package command runs commands: one process tree for each run of a task.
//
// The daemon does not start a command itself. It starts its own program again as a small supervisor, the shim, and the shim
// starts the command. The shim is a subreaper: orphans of the command become the shim's children and are killed before
// the run counts as ended, so a task's units are never reused while one of its processes lives. The shim has a pipe to the
// daemon; when the daemon dies the pipe closes and the shim kills the tree at once. The shim watches the run's time limit
// itself, so a frozen daemon cannot extend it. And for its whole life it holds a shared lock on a file in the state folder;
// a restarted daemon waits for that lock ([Executor.WaitForOrphans]) before it runs anything.
//
// If a command ends by itself, its remaining processes are killed at once (KILL). If it is stopped, by a cancel, its timeout
// or the end of the daemon, its process group gets TERM; processes outside the group get TERM when the command has ended.
// KILL follows after the grace period if anything is left of the tree.
//
// Limits. The shim cannot signal a process that changed its user (sudo); the run then lasts until that process ends. The
// same holds for a process that the kernel cannot kill. If the shim itself is killed, its command dies with it, and the
// daemon kills the shim's session and every process with the run's variable in its environment; a process that left the
// session and cleared its environment survives. On systems other than Linux there is no subreaper: processes that leave
// the command's group are not found.
package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/shortage"
	"github.com/parkd-dev/parkd/pkg/park"
)

// ShimArg is the first argument of a program that is started as the shim; it then must call [ShimMain].
const ShimArg = "__shim"

// Config is what an Executor is made from. Only Dir is needed.
type Config struct {
	// Dir is the state folder for logs and locks, created with mode 0700. Executors of one daemon may share it; daemons may
	// not.
	Dir string
	// Program starts the shim; by default the running program with [ShimArg].
	Program []string
	// Command is fixed by the operator; if it is empty each task has its own.
	Command []string
	// WorkDir is the working directory of tasks that name none; default: the daemon's.
	WorkDir string
	// Env lists further variables of a command: NAME takes the daemon's value, NAME=VALUE sets one.
	Env []string
	// KillGrace is the time between TERM and KILL; default 5s. It applies to the whole tree: if the command itself ends at
	// once, its other processes still have the rest of the time.
	KillGrace time.Duration
	// Fence is for daemons whose tasks may be taken over: the shim kills a command when its node, or its lease, was last
	// known to be alive this long ago ([park.Assignment]). 0: never. The shim gets that time anew every eighth of Fence.
	Fence time.Duration
	// MaxLogBytes limits each file of a run's log; the newest two files are kept. Default 16 MiB.
	MaxLogBytes int64
	// ResultBytes limits how much of the end of each stream is in the result; default 64 KiB.
	ResultBytes int
	Log         *slog.Logger // default: none
}

// Defaults of a Config.
const (
	defaultGrace    = 5 * time.Second
	defaultLogBytes = 16 << 20
	defaultResult   = 64 << 10
	minFence        = 100 * time.Millisecond
)

// Executor runs commands. It implements [park.Executor].
type Executor struct {
	cfg  Config
	env  []string // the part of a command's environment that is the same for all runs
	null *os.File
	logs *logs

	orphans    atomic.Pointer[string] // processes left by an earlier daemon, for people; nil: none
	background sync.WaitGroup         // waits for them
	closing    context.Context
	stop       context.CancelFunc
}

var _ park.Executor = (*Executor)(nil)

// New creates the state folder and returns an Executor. Call [Executor.WaitForOrphans] before Run.
func New(c Config) (*Executor, error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	env, err := baseEnv(os.Environ(), c.Env)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the state folder: %w", err)
	}
	logs, err := openLogs(filepath.Join(c.Dir, "logs"))
	if err != nil {
		return nil, err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, errors.Join(err, logs.close())
	}
	closing, stop := context.WithCancel(context.Background())
	return &Executor{cfg: c, env: env, null: null, logs: logs, closing: closing, stop: stop}, nil
}

// complete checks c and fills in the defaults.
func (c *Config) complete() error {
	if c.Dir == "" {
		return errors.New("a command executor needs a state folder")
	}
	if c.KillGrace < 0 || c.MaxLogBytes < 0 || c.ResultBytes < 0 || c.Fence < 0 {
		return errors.New("the limits of a command executor must not be negative")
	}
	if c.Fence > 0 && c.Fence < minFence {
		return fmt.Errorf("the fence must be at least %s, not %s", minFence, c.Fence)
	}
	if len(c.Command) > 0 && c.Command[0] == "" {
		return errors.New("command[0] must name a program")
	}
	if c.KillGrace == 0 {
		c.KillGrace = defaultGrace
	}
	if c.MaxLogBytes == 0 {
		c.MaxLogBytes = defaultLogBytes
	}
	if c.ResultBytes == 0 {
		c.ResultBytes = defaultResult
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if len(c.Program) > 0 {
		return nil
	}
	self, err := thisProgram()
	if err != nil {
		return fmt.Errorf("find the program that is running: %w", err)
	}
	c.Program = []string{self, ShimArg}
	return nil
}

// Close frees what the Executor holds. No run may be under way.
func (e *Executor) Close() error {
	e.stop()
	e.background.Wait()
	return errors.Join(e.null.Close(), e.logs.close())
}

// Run implements [park.Executor]: it runs the operator's command, or the task's, with the payload on standard input. The
// result is {"exitCode","stdout","stderr"}, with only the ends of long streams ("truncated"). When ctx ends the tree gets
// TERM and, after the grace period, KILL.
func (e *Executor) Run(ctx context.Context, a park.Assignment) park.Outcome {
	if ctx.Err() != nil {
		return stopped(ctx, &report{})
	}
	j := e.job(a)
	if len(j.Command) == 0 {
		return park.Failure(park.ReasonExecutorError, "no command given, and pool "+a.PoolID+" has no default command")
	}
	if s := e.orphanShortage(); s != nil {
		return park.PutOff(s)
	}
	r, err := e.start(ctx, a, j)
	if err != nil {
		if ctx.Err() != nil {
			return stopped(ctx, &report{})
		}
		return park.PutOff(shortage.Own(err)) // none of these errors is the task's fault
	}
	rep, err := r.wait(ctx)
	if s, ok := errors.AsType[*park.ShortageError](err); ok && ctx.Err() == nil {
		return park.PutOff(s)
	}
	if err != nil {
		e.cfg.Log.Error("shim lost", "pool", a.PoolID, "task", a.TaskID, "attempt", a.Attempt, "error", err)
		return park.Failure(park.ReasonExecutorError, err.Error())
	}
	if ctx.Err() != nil && !rep.done() {
		return stopped(ctx, rep)
	}
	if rep.LogError != "" {
		e.cfg.Log.Warn("log not kept", "pool", a.PoolID, "task", a.TaskID, "attempt", a.Attempt, "error", rep.LogError)
	}
	return e.outcome(ctx, a, rep)
}

func (e *Executor) job(a park.Assignment) *job {
	j := &job{
		Command: e.cfg.Command, WorkDir: e.cfg.WorkDir, Run: newRunID(), Attempt: a.Attempt,
		Grace: e.cfg.KillGrace, Fence: e.cfg.Fence, LogBytes: e.cfg.MaxLogBytes, TailBytes: e.cfg.ResultBytes,
		payload: a.Payload,
	}
	if len(j.Command) == 0 {
		j.Command = a.Command
		if a.WorkDir != "" {
			j.WorkDir = a.WorkDir
		}
	}
	if a.Timeout > 0 {
		j.Deadline = bootTime() + a.Timeout
	}
	if a.Proved != nil {
		j.Alive = bootTime() - a.Proved()
	}
	j.Env = taskEnv(e.env, a, j.Run)
	return j
}

// outcome returns the outcome of a run from its report.
func (e *Executor) outcome(ctx context.Context, a park.Assignment, r *report) park.Outcome {
	if r.Shortage != "" {
		return park.PutOff(&park.ShortageError{Reason: r.Shortage, Err: errors.New(r.Error)})
	}
	if r.Error != "" {
		return park.Failure(park.ReasonExecutorError, r.Error)
	}
	o := park.Outcome{Status: park.Completed}
	switch {
	case r.StopReason == stoppedByDeadline:
		o = park.Failure(park.ReasonTimeout, fmt.Sprintf("timed out after %s", a.Timeout))
	case r.StopReason == stoppedByFence:
		o = park.Failure(park.ReasonNodeLost, fmt.Sprintf("the lease could not be confirmed for %s: the command was killed", e.cfg.Fence))
	case r.StopReason != notStopped:
		o = stopped(ctx, r)
	case r.Signal != "":
		o = park.Failure(park.ReasonExitNonzero, "killed by signal "+r.Signal)
	case r.ExitCode != 0:
		o = park.Failure(park.ReasonExitNonzero, fmt.Sprintf("exit status %d", r.ExitCode))
	}
	o.Result = r.result()
	return o
}

// stopped is the outcome of a run that ctx ended.
func stopped(ctx context.Context, r *report) park.Outcome {
	cause := context.Cause(ctx)
	o := park.Failure(park.ReasonCancelled, "the command was stopped")
	switch {
	case errors.Is(cause, park.ErrTimeout):
		o = park.Failure(park.ReasonTimeout, cause.Error())
	case errors.Is(cause, park.ErrShutdown):
		o = park.Failure(park.ReasonShutdown, cause.Error())
	case cause != nil:
		o.Message = cause.Error()
	}
	if r.done() {
		o.Result = r.result()
	}
	return o
}

// result returns the task's result.
func (r *report) result() json.RawMessage {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(struct {
		ExitCode  int    `json:"exitCode"`
		Stdout    string `json:"stdout"`
		Stderr    string `json:"stderr"`
		Truncated bool   `json:"truncated,omitempty"`
	}{r.ExitCode, text(r.Stdout), text(r.Stderr), r.Truncated}) // strings and numbers always encode
	return bytes.TrimSpace(b.Bytes())
}

// text returns the output of a command as valid UTF-8.
func text(b []byte) string { return strings.ToValidUTF8(string(b), "\uFFFD") }

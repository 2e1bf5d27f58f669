package command

// The daemon's side of one run.

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// run is a shim at work.
type run struct {
	job     *job
	proved  func() time.Duration
	shim    *os.Process
	control *os.File
	report  *os.File
	command atomic.Int64 // the command's process, once known; also its group. Only where there are no sessions to look for
}

// start starts the shim. It is told what to do by wait.
func (e *Executor) start(ctx context.Context, a park.Assignment, j *job) (*run, error) {
	r, err := e.tryStart(ctx, a, j)
	if !errors.Is(err, fs.ErrNotExist) {
		return r, err
	}
	// Temporary folders are cleaned from time to time.
	if err := e.remake(); err != nil {
		return nil, err
	}
	return e.tryStart(ctx, a, j)
}

// remake makes the state folder again. The shims at work hold the lock of the old one, which nobody can wait for any more:
// they end with the daemon, as ever.
func (e *Executor) remake() error {
	if err := os.MkdirAll(e.cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("make the state folder: %w", err)
	}
	e.cfg.Log.Warn("the state folder was gone: made again", "dir", e.cfg.Dir)
	return e.logs.root.reopen()
}

func (e *Executor) tryStart(ctx context.Context, a park.Assignment, j *job) (*run, error) {
	lock, err := e.share(ctx, a.PoolID)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	dir, err := e.logs.begin(a.PoolID, a.TaskID, a.Attempt)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	theirControl, control, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe to the shim: %w", err)
	}
	defer theirControl.Close()
	reports, theirReports, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make a pipe from the shim: %w", err), control.Close())
	}
	defer theirReports.Close()
	shim, err := os.StartProcess(e.cfg.Program[0], e.argv(), &os.ProcAttr{
		Env:   []string{},
		Files: []*os.File{e.null, e.null, theirReports, theirControl, theirReports, dir, lock},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the shim: %w", err), control.Close(), reports.Close())
	}
	return &run{job: j, proved: a.Proved, shim: shim, control: control, report: reports}, nil
}

// argv keeps the name that the program itself was called by: what it does may depend on it.
func (e *Executor) argv() []string {
	argv := append([]string(nil), e.cfg.Program...)
	if argv[0] == selfExe {
		argv[0] = os.Args[0]
	}
	return argv
}

// wait returns when nothing of the run is left. An error means that the shim is dead without a report.
func (r *run) wait(ctx context.Context) (*report, error) {
	over := make(chan struct{})
	var steering sync.WaitGroup
	steering.Go(func() { r.steer(ctx, over) })
	last, noise := readReports(r.report, func(pid int) { r.command.Store(int64(pid)) })
	close(over)
	if last == nil {
		awaitDeath(r.shim.Pid)
		hunt(r.job.Run, r.shim.Pid, int(r.command.Load()))
	}
	state, err := r.shim.Wait()
	_ = r.control.Close() // the job may still be on its way to a shim that died
	steering.Wait()
	_ = r.report.Close()
	if last != nil {
		return last, nil
	}
	if r.command.Load() == 0 && state != nil {
		return nil, unborn(state, noise)
	}
	if err != nil {
		return nil, fmt.Errorf("wait for the shim: %w", err)
	}
	if noise != "" {
		noise = ": " + noise
	}
	return nil, fmt.Errorf("the supervisor of the command died (%s) and its processes were killed%s", state, noise)
}

// unborn is what became of a shim that died before it had started its command: for want of threads or memory, mostly,
// without which no program begins.
func unborn(state *os.ProcessState, noise string) *park.ShortageError {
	s := &park.ShortageError{Reason: park.ShortOther, Err: fmt.Errorf("the supervisor of the command died before it began (%s): %s", state, noise)}
	switch {
	case strings.Contains(noise, "failed to create new OS thread"):
		s.Reason = park.ShortProcesses
	case strings.Contains(noise, "out of memory"), strings.Contains(noise, "cannot allocate memory"):
		s.Reason = park.ShortMemory
	}
	return s
}

const (
	// nudge is how often a shim that has been told to stop is roused.
	nudge = time.Second
	// signWithin bounds the wait for a shim that does not read: it may be stopped.
	signWithin = 10 * time.Millisecond
)

// steer hands the job over, passes on the proofs that the node lives and, when ctx ends, tells the shim to stop.
func (r *run) steer(ctx context.Context, over <-chan struct{}) {
	if !r.hand(ctx) {
		return
	}
	var beat <-chan time.Time
	if r.job.Fence > 0 {
		t := time.NewTicker(max(r.job.Fence/signsPerFence, minFence/signsPerFence))
		defer t.Stop()
		beat = t.C
	}
	nudges := time.NewTicker(nudge)
	defer nudges.Stop()
	done := ctx.Done()
	for {
		select {
		case <-over:
			return
		case <-beat:
			r.sign()
		case <-nudges.C:
			r.rouse(ctx)
		case <-done:
			done = nil
			r.rouse(ctx)
			_, _ = r.control.Write([]byte{askStop})
		}
	}
}

// signsPerFence is how often in the length of the fence the shim is told of the last proof.
const signsPerFence = 8

// sign tells the shim when the node last proved alive. One that cannot be told now hears of it the next time.
func (r *run) sign() {
	at := bootTime()
	if r.proved != nil {
		at -= r.proved()
	}
	b := binary.LittleEndian.AppendUint64([]byte{signAlive}, uint64(max(at, 0)))
	_ = r.control.SetWriteDeadline(time.Now().Add(signWithin))
	_, _ = r.control.Write(b) // so few bytes go into a pipe whole, or not at all
	_ = r.control.SetWriteDeadline(time.Time{})
}

// rouse wakes a shim that has to stop its command and may have been stopped itself.
func (r *run) rouse(ctx context.Context) {
	if ctx.Err() != nil {
		_ = r.shim.Signal(syscall.SIGCONT)
	}
}

// hand sends the job. It gives up, and thereby the run, when ctx ends first.
func (r *run) hand(ctx context.Context) bool {
	b, err := r.job.encode()
	if err != nil {
		_ = r.control.Close()
		return false
	}
	sent := make(chan error, 1)
	go func() {
		_, err := r.control.Write(b)
		sent <- err
	}()
	select {
	case err = <-sent:
	case <-ctx.Done():
		_ = r.control.SetWriteDeadline(time.Now())
		err = <-sent
		_ = r.control.SetWriteDeadline(time.Time{})
	}
	if err != nil {
		_ = r.control.Close()
		r.rouse(ctx)
	}
	return err == nil
}

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

// run is a running shim.
type run struct {
	job        *job
	sinceAlive func() time.Duration
	shim       *os.Process
	control    *os.File
	report     *os.File
	command    atomic.Int64 // the command's process and group, once known; used on systems other than Linux
}

// start starts the shim. [run.wait] sends the job to it.
func (e *Executor) start(ctx context.Context, a park.Assignment, j *job) (*run, error) {
	r, err := e.tryStart(ctx, a, j)
	if !errors.Is(err, fs.ErrNotExist) {
		return r, err
	}
	// The folder may be temporary and have been cleaned up.
	if err := e.recreateDir(); err != nil {
		return nil, err
	}
	return e.tryStart(ctx, a, j)
}

// recreateDir creates the state folder again. Running shims hold the lock of the old one, for which nobody can wait any more;
// they still end with the daemon.
func (e *Executor) recreateDir() error {
	if err := os.MkdirAll(e.cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("make the state folder: %w", err)
	}
	e.cfg.Log.Warn("the state folder was missing and has been created again", "dir", e.cfg.Dir)
	return e.logs.root.reopen()
}

func (e *Executor) tryStart(ctx context.Context, a park.Assignment, j *job) (*run, error) {
	lock, err := e.lockShared(ctx, a.PoolID)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	dir, err := e.logs.beginRun(a.PoolID, a.TaskID, a.Attempt)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	shimControl, control, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe to the shim: %w", err)
	}
	defer shimControl.Close()
	reports, shimReports, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make a pipe from the shim: %w", err), control.Close())
	}
	defer shimReports.Close()
	shim, err := os.StartProcess(e.cfg.Program[0], e.argv(), &os.ProcAttr{
		Env:   []string{},
		Files: []*os.File{e.null, e.null, shimReports, shimControl, shimReports, dir, lock},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the shim: %w", err), control.Close(), reports.Close())
	}
	return &run{job: j, sinceAlive: a.Proved, shim: shim, control: control, report: reports}, nil
}

// argv keeps the name by which this program was called, because a program may depend on it.
func (e *Executor) argv() []string {
	argv := append([]string(nil), e.cfg.Program...)
	if argv[0] == selfExe {
		argv[0] = os.Args[0]
	}
	return argv
}

// wait returns when nothing of the run is left. An error means that the shim died without a report.
func (r *run) wait(ctx context.Context) (*report, error) {
	ended := make(chan struct{})
	var supervisor sync.WaitGroup
	supervisor.Go(func() { r.supervise(ctx, ended) })
	last, output := readReports(r.report, func(pid int) { r.command.Store(int64(pid)) })
	close(ended)
	if last == nil {
		waitForExit(r.shim.Pid)
		killStragglers(r.job.Run, r.shim.Pid, int(r.command.Load()))
	}
	state, err := r.shim.Wait()
	_ = r.control.Close() // the job may still be on its way to a shim that died
	supervisor.Wait()
	_ = r.report.Close()
	if last != nil {
		return last, nil
	}
	if r.command.Load() == 0 && state != nil {
		return nil, startFailure(state, output)
	}
	if err != nil {
		return nil, fmt.Errorf("wait for the shim: %w", err)
	}
	if output != "" {
		output = ": " + output
	}
	return nil, fmt.Errorf("the supervisor of the command died (%s) and its processes were killed%s", state, output)
}

// startFailure describes the death of a shim before it started its command, which mostly is a lack of threads or memory.
func startFailure(state *os.ProcessState, output string) *park.ShortageError {
	s := &park.ShortageError{Reason: park.ShortOther, Err: fmt.Errorf("the supervisor of the command died before it began (%s): %s", state, output)}
	switch {
	case strings.Contains(output, "failed to create new OS thread"):
		s.Reason = park.ShortProcesses
	case strings.Contains(output, "out of memory"), strings.Contains(output, "cannot allocate memory"):
		s.Reason = park.ShortMemory
	}
	return s
}

const (
	// wakeInterval is how often a shim that was told to stop gets SIGCONT.
	wakeInterval = time.Second
	// aliveTimeout bounds the wait for a shim that does not read because it may be stopped.
	aliveTimeout = 10 * time.Millisecond
)

// supervise sends the job and the times at which the node was alive, and tells the shim to stop when ctx ends.
func (r *run) supervise(ctx context.Context, ended <-chan struct{}) {
	if !r.sendJob(ctx) {
		return
	}
	var alive <-chan time.Time
	if r.job.Fence > 0 {
		t := time.NewTicker(max(r.job.Fence/alivePerFence, minFence/alivePerFence))
		defer t.Stop()
		alive = t.C
	}
	wake := time.NewTicker(wakeInterval)
	defer wake.Stop()
	done := ctx.Done()
	for {
		select {
		case <-ended:
			return
		case <-alive:
			r.sendAlive()
		case <-wake.C:
			r.wakeIfStopping(ctx)
		case <-done:
			done = nil
			r.wakeIfStopping(ctx)
			_, _ = r.control.Write([]byte{msgStop})
		}
	}
}

// alivePerFence is how many alive messages the shim gets in the length of the fence.
const alivePerFence = 8

// sendAlive tells the shim when the node was last known to be alive. If it cannot, the next message does.
func (r *run) sendAlive() {
	at := bootTime()
	if r.sinceAlive != nil {
		at -= r.sinceAlive()
	}
	b := binary.LittleEndian.AppendUint64([]byte{msgAlive}, uint64(max(at, 0)))
	_ = r.control.SetWriteDeadline(time.Now().Add(aliveTimeout))
	_, _ = r.control.Write(b) // writes to a pipe are atomic at this size
	_ = r.control.SetWriteDeadline(time.Time{})
}

// wakeIfStopping continues a shim that has to stop its command but may be stopped itself.
func (r *run) wakeIfStopping(ctx context.Context) {
	if ctx.Err() != nil {
		_ = r.shim.Signal(syscall.SIGCONT)
	}
}

// sendJob sends the job. If ctx ends first it closes the pipe, which ends the run.
func (r *run) sendJob(ctx context.Context) bool {
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
		r.wakeIfStopping(ctx)
	}
	return err == nil
}

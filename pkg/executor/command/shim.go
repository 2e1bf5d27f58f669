package command

// The shim: the small supervisor between the daemon and one command.

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/parkd-dev/parkd/pkg/internal/shortage"
)

// ShimMain is the main function of the shim; it returns the exit code. It must be called before the program
// does anything else, on its first goroutine.
func ShimMain([]string) int {
	// The command dies with the thread that started it, so that thread must last as long as the shim.
	runtime.LockOSThread()
	// A signal to all processes of this name is meant for the daemon, which stops commands itself. The signals are caught
	// and not ignored, because a command would inherit that.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT)
	for fd := controlFD; fd <= lockFD; fd++ {
		unix.CloseOnExec(fd)
	}
	control := bufio.NewReader(os.NewFile(controlFD, "control"))
	reports := os.NewFile(reportFD, "reports")
	j, err := readJob(control)
	if err != nil {
		return 1 // the daemon has died or given up: nobody reads a report
	}
	s := &shim{job: j, reports: reports}
	last := s.run(control)
	last.Over = true
	s.send(last)
	return 0
}

// shim is a run as the shim sees it.
type shim struct {
	job     *job
	reports *os.File
	log     *logWriter
	tails   [2]*tail
	pid     int
	status  unix.WaitStatus
	// commandEnded is closed when the command itself has ended, treeEnded when none of its descendants is left.
	commandEnded chan struct{}
	treeEnded    chan struct{}
	stopReason   stopReason
	// reaping is held while a child is reaped, and while a process id is used that an unreaped child keeps reserved.
	reaping sync.Mutex
}

func (s *shim) send(r *report) {
	b, err := json.Marshal(r)
	if err != nil {
		return
	}
	// It fails if the daemon has died.
	_, _ = s.reports.Write(append(b, '\n'))
}

// run runs the command until its whole process tree has ended.
func (s *shim) run(control io.Reader) *report {
	s.log = newLogWriter(logsFD, s.job.Attempt, s.job.LogBytes)
	s.tails = [2]*tail{{limit: s.job.TailBytes}, {limit: s.job.TailBytes}}
	s.commandEnded, s.treeEnded = make(chan struct{}), make(chan struct{})
	adoptOrphans()
	if s.job.Fence > 0 && s.job.Alive > 0 && bootTime()-s.job.Alive >= s.job.Fence {
		return &report{StopReason: stoppedByFence} // the job came late: another node may have the task by now
	}
	if err := s.log.failure; err != nil { // no goroutine writes yet
		return &report{Error: "begin the log: " + err.Error(), Shortage: shortage.Own(err).Reason}
	}
	var copying sync.WaitGroup
	streams, err := s.start(&copying)
	if err != nil {
		r := &report{Error: err.Error()}
		if short := shortage.Of(err); short != nil {
			r.Shortage = short.Reason
		}
		return r
	}
	s.send(&report{PID: s.pid})
	go s.reap()
	s.supervise(s.readMessages(control))
	s.killRest()
	// A process outside the tree may have the streams open; its output is not waited for.
	for _, r := range streams {
		_ = r.SetReadDeadline(time.Now().Add(drainTimeout))
	}
	copying.Wait()
	s.log.close()
	return s.report()
}

const drainTimeout = 2 * time.Second

// start starts the command in its own process group, begins to copy its streams, and returns them.
func (s *shim) start(copying *sync.WaitGroup) (streams []*os.File, err error) {
	path, err := s.findProgram()
	if err != nil {
		return nil, err
	}
	stdin, err := s.stdin()
	if err != nil {
		return nil, err
	}
	defer stdin.Close()
	files := []uintptr{stdin.Fd()}
	for i := range s.tails {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, fmt.Errorf("make a pipe for the command: %w", err)
		}
		defer w.Close()
		files, streams = append(files, w.Fd()), append(streams, r)
		copying.Go(func() { s.copy(r, s.tails[i]) })
	}
	s.pid, err = syscall.ForkExec(path, s.job.Command, &syscall.ProcAttr{
		Dir: s.job.WorkDir, Env: s.job.Env, Files: files, Sys: childAttr(),
	})
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", strconv.Quote(s.job.Command[0]), err)
	}
	return streams, nil
}

// stdin returns what the command reads: the payload, or nothing.
func (s *shim) stdin() (*os.File, error) {
	if len(s.job.payload) == 0 {
		f, err := os.Open(os.DevNull)
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", os.DevNull, err)
		}
		return f, nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe for the payload: %w", err)
	}
	go func() {
		// A command need not read its payload.
		_, _ = io.Copy(w, bytes.NewReader(s.job.payload))
		_ = w.Close()
	}()
	return r, nil
}

// copy reads a stream of the command to its end, even if the log fails: a full disk must not block the command.
func (s *shim) copy(r *os.File, t *tail) {
	defer r.Close()
	chunk := make([]byte, 32<<10)
	for {
		n, err := r.Read(chunk)
		if n > 0 {
			t.add(chunk[:n])
			s.log.write(chunk[:n])
		}
		if err != nil {
			return
		}
	}
}

func (s *shim) report() *report {
	r := &report{StopReason: s.stopReason, ExitCode: s.status.ExitStatus(), LogError: s.log.errorText()}
	if s.status.Signaled() {
		r.Signal = unix.SignalName(s.status.Signal())
		r.ExitCode = 128 + int(s.status.Signal())
	}
	var cut [2]bool
	r.Stdout, cut[0] = s.tails[0].end()
	r.Stderr, cut[1] = s.tails[1].end()
	r.Truncated = cut[0] || cut[1]
	return r
}

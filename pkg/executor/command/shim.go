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

	"github.com/parkd-dev/parkd/pkg/park"
)

// ShimMain is the main function of the shim; it returns the exit code. It must be called before the program
// does anything else, on its first goroutine.
func ShimMain([]string) int {
	// The command dies with the thread that started it, so that thread must last as long as the shim.
	runtime.LockOSThread()
	// Whoever kills all processes of this name means the daemon, which has its own way to stop commands. The
	// signals are caught and not ignored, for a command would inherit that.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT)
	for fd := controlFD; fd <= lockFD; fd++ {
		unix.CloseOnExec(fd)
	}
	control := bufio.NewReader(os.NewFile(controlFD, "control"))
	reports := os.NewFile(reportFD, "reports")
	j, err := readJob(control)
	if err != nil {
		return 1 // the daemon has died or given up: there is nobody to tell
	}
	s := &shim{job: j, reports: reports}
	last := s.run(control)
	last.Over = true
	s.tell(last)
	return 0
}

// shim is one run on the shim's side.
type shim struct {
	job     *job
	reports *os.File
	log     *logWriter
	tails   [2]*tail
	pid     int
	status  unix.WaitStatus
	// leader is closed when the command itself has ended, gone when nothing that it began is left.
	leader chan struct{}
	gone   chan struct{}
	why    why
	// reaping is held while a child is reaped, and while a number is used that a child keeps from being given to others.
	reaping sync.Mutex
}

func (s *shim) tell(r *report) {
	b, err := json.Marshal(r)
	if err != nil {
		return
	}
	// A daemon that has died reads no reports.
	_, _ = s.reports.Write(append(b, '\n'))
}

// run runs the command to the end of all that it began.
func (s *shim) run(control io.Reader) *report {
	s.log = newLogWriter(logsFD, s.job.Attempt, s.job.LogBytes)
	s.tails = [2]*tail{{most: s.job.TailBytes}, {most: s.job.TailBytes}}
	s.leader, s.gone = make(chan struct{}), make(chan struct{})
	adoptOrphans()
	if s.job.Fence > 0 && s.job.Alive > 0 && bootTime()-s.job.Alive >= s.job.Fence {
		return &report{Why: stoppedByFence} // the job came late: others may have the task by now
	}
	if err := s.log.failure; err != nil { // nobody writes yet
		return &report{Error: "begin the log: " + err.Error(), Short: park.OwnShortage(err).Reason}
	}
	var copying sync.WaitGroup
	streams, err := s.start(&copying)
	if err != nil {
		r := &report{Error: err.Error()}
		if short := park.ShortageOf(err); short != nil {
			r.Short = short.Reason
		}
		return r
	}
	s.tell(&report{PID: s.pid})
	go s.reap()
	s.supervise(s.listen(control))
	s.sweep()
	// Somebody beyond the tree may have been handed the streams; what he writes is not waited for.
	for _, r := range streams {
		_ = r.SetReadDeadline(time.Now().Add(drainWithin))
	}
	copying.Wait()
	s.log.close()
	return s.report()
}

const drainWithin = 2 * time.Second

// start starts the command in a group of its own and returns the ends of its streams, which are being read.
func (s *shim) start(copying *sync.WaitGroup) (streams []*os.File, err error) {
	path, err := s.look()
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

// copy reads a stream of the command to its end, whatever becomes of the log: a command must not block or fail
// because a disk is full.
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
	r := &report{Why: s.why, ExitCode: s.status.ExitStatus(), LogError: s.log.trouble()}
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

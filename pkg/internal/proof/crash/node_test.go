//go:build linux

package crash_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/client"
	"github.com/parkd-dev/parkd/pkg/internal/proof"
)

// node is a daemon's folder and the processes that run in it, one after another.
type node struct {
	testing.TB
	dir     string // of the configuration, the socket and the output
	config  string
	tmp     string   // for the daemon's temporary files
	wrapper []string // a command that starts the daemon, if any
	setup   setup    // nil: it prints into its folder, without a terminal

	mu      sync.Mutex
	process *exec.Cmd
	ended   chan struct{} // closed when the process has ended
	client  *client.Client
	url     string
}

// setup changes how a daemon is started. started is called after the start, or the attempt.
type setup func(*exec.Cmd) (started func(), err error)

func newNode(t testing.TB, dir, config string) *node {
	n := &node{TB: t, dir: dir, tmp: dir, config: filepath.Join(dir, "scheduler-config.json")}
	if err := os.WriteFile(n.config, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.end)
	return n
}

func (n *node) end() {
	n.kill()
	if n.Failed() {
		b, _ := os.ReadFile(n.output())
		n.Logf("%s printed at last:\n%s", n.dir, b[max(0, len(b)-4000):])
	}
}

func (n *node) output() string { return filepath.Join(n.dir, "output") }

// start starts a daemon and waits until it listens.
func (n *node) start() {
	n.Helper()
	if err := n.tryStart(); err != nil {
		b, _ := os.ReadFile(n.output())
		n.Fatalf("the daemon does not get ready: %v\n%s", err, b[max(0, len(b)-4000):])
	}
}

func (n *node) tryStart() error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	out, err := os.OpenFile(n.output(), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	argv := append(slices.Clone(n.wrapper), program(n, "parkd"), "serve", "--config", n.config, "--ready-fd", "3")
	c := exec.Command(argv[0], argv[1:]...)
	c.Dir, c.Env = n.dir, n.env()
	c.ExtraFiles, c.Stdout, c.Stderr = []*os.File{w}, out, out
	// An interrupt from a terminal is meant for the campaign, which still has to query the daemon.
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := func() {}
	if n.setup != nil {
		if started, err = n.setup(c); err != nil {
			return errors.Join(err, w.Close())
		}
	}
	err = c.Start()
	w.Close()
	started()
	if err != nil {
		return err
	}
	return n.awaitReady(c, r)
}

func (n *node) env() []string {
	return append(os.Environ(), "HOME="+n.dir, "XDG_STATE_HOME="+n.dir, "XDG_RUNTIME_DIR="+n.dir, "TMPDIR="+n.tmp)
}

// awaitReady reads the daemon's address from r.
func (n *node) awaitReady(c *exec.Cmd, r *os.File) error {
	ended := make(chan struct{})
	go func() {
		_ = c.Wait()
		close(ended)
	}()
	var ready struct{ URL, Socket string }
	err := r.SetReadDeadline(time.Now().Add(proof.Patience))
	if err == nil {
		err = json.NewDecoder(r).Decode(&ready)
	}
	var reach *client.Client
	if err == nil {
		reach, err = client.New(client.Config{Socket: ready.Socket})
	}
	if err != nil {
		_ = c.Process.Kill()
		return errors.Join(err, awaitEnd(ended))
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.process, n.ended, n.client, n.url = c, ended, reach, ready.URL
	return nil
}

// awaitEnd waits for the end of a process.
func awaitEnd(ended <-chan struct{}) error {
	select {
	case <-ended:
		return nil
	case <-time.After(proof.Patience):
		return fmt.Errorf("a process does not end within %s", proof.Patience)
	}
}

// apiClient returns a client of the latest daemon.
func (n *node) apiClient() *client.Client {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.client
}

func (n *node) signal(s syscall.Signal) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.process != nil {
		_ = n.process.Process.Signal(s)
	}
}

// wait waits for the daemon's end and returns its exit code, or -1 if a signal ended it. A daemon that does not end is
// killed.
func (n *node) wait() int {
	n.mu.Lock()
	c, ended, reach := n.process, n.ended, n.client
	n.mu.Unlock()
	if c == nil {
		return 0
	}
	if err := awaitEnd(ended); err != nil {
		_ = c.Process.Kill()
		if err := errors.Join(err, awaitEnd(ended)); err != nil {
			n.Errorf("the daemon was to end: %v", err)
		}
	}
	reach.Close()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.process = nil
	select {
	case <-ended:
		return c.ProcessState.ExitCode()
	default:
		return -1
	}
}

func (n *node) kill() {
	n.signal(syscall.SIGKILL)
	n.wait()
}

// isRunning reports whether a daemon was started and has not been waited for.
func (n *node) isRunning() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.process != nil
}

func (n *node) pid() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.process.Process.Pid
}

// processes returns how many processes have the text in their command line.
func processes(text string) int {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	n := 0
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && strings.Contains(string(b), text) {
			n++
		}
	}
	return n
}

// wantGone fails the test unless all processes with the text end, and counts those that took over two seconds, as they
// may on a busy machine.
func wantGone(c *proof.Campaign, text string) {
	c.Helper()
	began := time.Now()
	for processes(text) > 0 {
		if time.Since(began) > proof.Patience {
			c.Fatalf("%d processes outlive their daemon by %s", processes(text), proof.Patience)
		}
		time.Sleep(5 * time.Millisecond)
	}
	if time.Since(began) > 2*time.Second {
		c.Add("ends of commands after 2 s", 1)
	}
}

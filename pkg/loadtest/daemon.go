package loadtest

// The daemon that a run starts: a process in its own folder, which is removed afterwards.

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// daemon is a parkd process that the run started.
type daemon struct {
	program string
	dir     string
	config  daemonConfig
	url     string

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited chan struct{} // closed when the process has ended
	killed bool          // on purpose
}

const (
	readyWithin = 30 * time.Second
	stopWithin  = 20 * time.Second
	depthSpare  = 1000
)

type daemonConfig struct {
	Listen   string                    `json:"listen"`
	Socket   string                    `json:"socket"`
	Audit    string                    `json:"audit"`
	Backends map[string]map[string]any `json:"backends,omitempty"`
	NodeTTL  string                    `json:"node_ttl,omitempty"`
	Pools    map[string]poolConfig     `json:"pools"`
}

type poolConfig struct {
	Kind               string            `json:"kind"`
	MaxUnits           int64             `json:"max_units"`
	MaxQueueDepth      int               `json:"max_queue_depth"`
	DefaultTimeoutSecs int64             `json:"default_timeout_secs"`
	Queue              string            `json:"queue"`
	Mailbox            string            `json:"mailbox"`
	Runtime            string            `json:"runtime"`
	Executor           map[string]string `json:"executor"`
}

// configure returns a configuration for a load: its queue holds all of it, and no time limit affects it.
func configure(o Options, w *workload, dir string) daemonConfig {
	depth := w.size + depthSpare
	if w.size == 0 {
		depth = 1_000_000
	}
	c := daemonConfig{Listen: "127.0.0.1:0", Socket: "off", Audit: "in_memory"}
	switch o.Backend {
	case "file":
		c.Audit = "file"
		c.Backends = map[string]map[string]any{"file": {"path": filepath.Join(dir, "parkd.db")}}
	case "postgres":
		c.Audit, c.NodeTTL = "postgres", nodeTTL
		c.Backends = map[string]map[string]any{"postgres": {"dsn": o.DSN, "notify": !o.Quiet}}
	}
	c.Pools = map[string]poolConfig{o.Pool: {
		Kind: "mixed", MaxUnits: w.units, MaxQueueDepth: depth, DefaultTimeoutSecs: max(600, 2*int64(w.work/time.Second)),
		Queue: c.Audit, Mailbox: c.Audit, Runtime: "native", Executor: map[string]string{"type": "simulate"},
	}}
	return c
}

// startDaemon starts a daemon and returns when it listens.
func startDaemon(ctx context.Context, o Options, w *workload) (*daemon, error) {
	dir, err := os.MkdirTemp(o.Dir, "parkd-loadtest-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for the daemon: %w", err)
	}
	d := &daemon{program: o.Program, dir: dir, config: configure(o, w, dir)}
	if err := d.start(ctx); err != nil {
		_ = d.close()
		return nil, err
	}
	// After a restart it must have the same address.
	u, err := url.Parse(d.url)
	if err != nil {
		_ = d.close()
		return nil, fmt.Errorf("the daemon's address: %w", err)
	}
	d.config.Listen = u.Host
	return d, nil
}

// start starts the process and waits until it listens.
func (d *daemon) start(ctx context.Context) error {
	file, err := d.writeConfig()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(d.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open the daemon's log: %w", err)
	}
	defer func() { _ = log.Close() }()
	ready, tell, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make a pipe to the daemon: %w", err)
	}
	defer func() { _ = ready.Close() }()
	// Not bound to ctx: the process is stopped in order by close, and its files are kept until then.
	cmd := exec.Command(d.program, "serve", "--config", file, "--ready-fd", "3") //nolint:noctx // see above
	cmd.Dir, cmd.Env = d.dir, d.environment()
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = log, log, []*os.File{tell}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt at the terminal is for the run, not for it
	err = cmd.Start()
	_ = tell.Close()
	if err != nil {
		return fmt.Errorf("start %s: %w", d.program, err)
	}
	exited := make(chan struct{})
	d.mu.Lock()
	d.cmd, d.exited, d.killed = cmd, exited, false
	d.mu.Unlock()
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
	return d.await(ctx, ready)
}

// await reads the line in which the daemon reports its address.
func (d *daemon) await(ctx context.Context, ready *os.File) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = ready.SetReadDeadline(time.Now()) })
	defer stop()
	var line struct {
		URL string `json:"url"`
	}
	err := json.NewDecoder(ready).Decode(&line)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("wait for the daemon to listen: %w%s", ctx.Err(), d.lastWords())
	case err != nil || line.URL == "":
		return errors.New("the daemon did not start" + d.lastWords())
	}
	d.url = line.URL
	return nil
}

func (d *daemon) writeConfig() (string, error) {
	for _, sub := range []string{"run", "state", "home"} {
		if err := os.MkdirAll(filepath.Join(d.dir, sub), 0o700); err != nil {
			return "", fmt.Errorf("make a folder for the daemon: %w", err)
		}
	}
	b, err := json.MarshalIndent(d.config, "", "  ")
	if err != nil {
		return "", fmt.Errorf("write the daemon's configuration: %w", err)
	}
	file := filepath.Join(d.dir, "scheduler-config.json")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		return "", fmt.Errorf("write the daemon's configuration: %w", err)
	}
	return file, nil
}

// environment returns an environment without the user's settings and state.
func (d *daemon) environment() []string {
	var env []string
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		if name != "HOME" && !strings.HasPrefix(name, "XDG_") && !strings.HasPrefix(name, "PARKD_") {
			env = append(env, v)
		}
	}
	at := func(name string) string { return filepath.Join(d.dir, name) }
	return append(env, "HOME="+at("home"), "XDG_RUNTIME_DIR="+at("run"), "XDG_STATE_HOME="+at("state"),
		"XDG_CONFIG_HOME="+at("home"), "XDG_DATA_HOME="+at("state"), "XDG_CACHE_HOME="+at("home"))
}

func (d *daemon) log() string { return filepath.Join(d.dir, "parkd.log") }

// lastWords returns the end of the daemon's output, for an error.
func (d *daemon) lastWords() string {
	b, err := os.ReadFile(d.log())
	b = bytes.TrimSpace(b)
	if err != nil || len(b) == 0 {
		return ""
	}
	const most = 2000
	return "; it wrote: " + string(b[max(0, len(b)-most):])
}

// restart kills the daemon and starts it again with the same files and address.
func (d *daemon) restart(ctx context.Context) error {
	d.mu.Lock()
	d.killed = true
	d.mu.Unlock()
	if err := d.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("kill the daemon: %w", err)
	}
	<-d.exited
	if err := d.start(ctx); err != nil {
		return fmt.Errorf("start the daemon again: %w", err)
	}
	return nil
}

// alive returns an error if the process has ended unexpectedly.
func (d *daemon) alive() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.killed {
		return nil
	}
	select {
	case <-d.exited:
		return fmt.Errorf("the daemon has ended by itself (%s)%s", d.cmd.ProcessState, d.lastWords())
	default:
		return nil
	}
}

// cpu returns the processor time that the process has used.
func (d *daemon) cpu() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return processCPU(d.cmd.Process.Pid)
}

// close stops the process, by force if necessary, and removes its files. It may be called again.
func (d *daemon) close() error {
	if d.cmd != nil {
		_ = d.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-d.exited:
		case <-time.After(stopWithin):
			_ = d.cmd.Process.Kill()
			<-d.exited
		}
	}
	if err := os.RemoveAll(d.dir); err != nil {
		return fmt.Errorf("remove the daemon's files: %w", err)
	}
	return nil
}

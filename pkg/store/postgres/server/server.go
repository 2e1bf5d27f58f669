// Package server runs a PostgreSQL server from the installed binaries, for tests and load tests. The server has a unix
// socket in a new folder, runs as an ordinary user and ends with this program.
//
// The Go package is no API: it may change with any release.
package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// ErrNotInstalled says that this machine has no server binaries.
var ErrNotInstalled = errors.New("no PostgreSQL server is installed here: on Debian, apt-get install postgresql")

// Server is a running server.
type Server struct {
	dir        string
	bin        string
	credential *syscall.Credential // nil: the current user
	options    []string
	cmd        *exec.Cmd
	exited     chan struct{}
	output     bytes.Buffer
}

// Start creates a new cluster and starts it. The options are settings such as "fsync=off". The server trusts all users
// who can reach its socket: the current user and the user that it runs as.
func Start(ctx context.Context, options ...string) (*Server, error) {
	bin, err := findBinaries()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "parkd-pg-")
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, bin: bin, options: options}
	if err := s.initialize(ctx); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

func (s *Server) initialize(ctx context.Context) (err error) {
	if os.Geteuid() == 0 {
		if s.credential, err = unprivilegedUser(); err != nil {
			return err
		}
		if err := os.Chown(s.dir, int(s.credential.Uid), int(s.credential.Gid)); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, setupTimeout)
	defer cancel()
	init := s.command(ctx, "initdb", "-D", s.data(), "-U", "parkd", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	if out, err := init.CombinedOutput(); err != nil {
		return fmt.Errorf("make a database cluster: %w\n%s", err, out)
	}
	return s.Run(ctx)
}

// Standby creates and starts a standby with this application name. It returns when the standby has all data of the
// server.
func (s *Server) Standby(ctx context.Context, name string) (*Server, error) {
	dir, err := os.MkdirTemp("", "parkd-pg-")
	if err != nil {
		return nil, err
	}
	standby := &Server{dir: dir, bin: s.bin, credential: s.credential, options: s.options}
	if err := standby.copy(ctx, s, name); err != nil {
		return nil, errors.Join(err, standby.Stop())
	}
	return standby, nil
}

// Follow makes a killed server a standby of another one, in its own folder.
func (s *Server) Follow(ctx context.Context, primary *Server, name string) error {
	if err := os.RemoveAll(s.data()); err != nil {
		return err
	}
	return s.copy(ctx, primary, name)
}

func (s *Server) copy(ctx context.Context, primary *Server, name string) error {
	ctx, cancel := context.WithTimeout(ctx, setupTimeout)
	defer cancel()
	if s.credential != nil {
		if err := os.Chown(s.dir, int(s.credential.Uid), int(s.credential.Gid)); err != nil {
			return err
		}
	}
	c := s.command(ctx, "pg_basebackup", "-D", s.data(), "-R", "-X", "stream", "-c", "fast", "--no-sync",
		"-d", fmt.Sprintf("host=%s user=parkd application_name=%s", primary.dir, name))
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("copy the server: %w\n%s", err, out)
	}
	if err := s.Run(ctx); err != nil {
		return err
	}
	return primary.waitForQuery(ctx, "SELECT count(*) > 0 FROM pg_stat_replication WHERE state = 'streaming' AND application_name = '"+name+"'")
}

// WaitForStandby makes every commit wait until the standby with this name has it on its disk. The name "" ends that.
// When it returns, the standby has all that was committed before.
func (s *Server) WaitForStandby(ctx context.Context, name string) error {
	c, err := pgx.Connect(ctx, s.DSN("postgres"))
	if err != nil {
		return err
	}
	defer func() { _ = c.Close(ctx) }()
	for _, q := range []string{"ALTER SYSTEM SET synchronous_standby_names = '" + name + "'", "SELECT pg_reload_conf()"} {
		if _, err := c.Exec(ctx, q); err != nil {
			return fmt.Errorf("%.40s: %w", q, err)
		}
	}
	if name == "" {
		return s.waitForQuery(ctx, "SELECT current_setting('synchronous_standby_names') = ''")
	}
	var at string
	if err := c.QueryRow(ctx, "SELECT pg_current_wal_lsn()::text").Scan(&at); err != nil {
		return err
	}
	return s.waitForQuery(ctx, "SELECT count(*) > 0 FROM pg_stat_replication WHERE sync_state = 'sync' AND application_name = '"+name+
		"' AND flush_lsn >= '"+at+"'")
}

// Promote makes a standby the primary.
func (s *Server) Promote(ctx context.Context) error {
	c, err := pgx.Connect(ctx, s.DSN("postgres"))
	if err != nil {
		return err
	}
	defer func() { _ = c.Close(ctx) }()
	_, err = c.Exec(ctx, "SELECT pg_promote(true, 60)")
	return err
}

// waitForQuery runs a query, each time on a new connection, until it returns true.
func (s *Server) waitForQuery(ctx context.Context, query string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		c, err := pgx.Connect(ctx, s.DSN("postgres"))
		var ok bool
		if err == nil {
			err = errors.Join(c.QueryRow(ctx, query).Scan(&ok), c.Close(ctx))
		}
		if err == nil && ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%.60s: not within a minute: %w", query, errors.Join(err, ctx.Err()))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Installed reports whether this machine has server binaries.
func Installed() bool {
	_, err := findBinaries()
	return err == nil
}

// findBinaries returns the folder of the binaries in PATH, or else of the newest version in Debian's folders.
func findBinaries() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			return filepath.Dir(path), nil
		}
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		return "", ErrNotInstalled
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
		return n
	}
	return filepath.Dir(slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) })), nil
}

// setupTimeout limits creating and copying a cluster on a busy machine.
const setupTimeout = 10 * time.Minute

// unprivilegedUser returns a user other than root, because the server refuses to run as root.
func unprivilegedUser() (*syscall.Credential, error) {
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("the server does not run as root, and there is neither a user postgres nor a user nobody")
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, filepath.Join(s.bin, name), args...)
	c.Dir = s.dir
	c.SysProcAttr = attributes(s.credential)
	c.WaitDelay = time.Minute // a remaining process may keep the output open
	return c
}

// Run starts a server that was stopped or killed, and waits until it accepts connections.
func (s *Server) Run(ctx context.Context) error {
	args := []string{"-D", s.data(), "-k", s.dir, "-c", "listen_addresses=", "-c", "unix_socket_permissions=0770"}
	for _, o := range s.options {
		args = append(args, "-c", o)
	}
	s.cmd = s.command(context.WithoutCancel(ctx), "postgres", args...)
	s.output.Reset()
	s.cmd.Stdout, s.cmd.Stderr = &s.output, &s.output
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("start the server: %w", err)
	}
	s.exited = make(chan struct{})
	go func(c *exec.Cmd, ended chan struct{}) {
		_ = c.Wait()
		close(ended)
	}(s.cmd, s.exited)
	return s.waitReady(ctx)
}

func (s *Server) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	for {
		c, err := pgx.Connect(ctx, s.DSN("postgres"))
		if err == nil {
			return c.Close(ctx)
		}
		select {
		case <-s.exited:
			return fmt.Errorf("the server ended:\n%s", s.output.String())
		case <-ctx.Done():
			return fmt.Errorf("the server does not answer: %w", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// DSN returns the DSN of a database of the server.
func (s *Server) DSN(database string) string {
	return fmt.Sprintf("host=%s user=parkd dbname=%s", s.dir, database)
}

// Create creates a database as a copy of another one and returns its DSN. A copy of template1 is empty.
func (s *Server) Create(ctx context.Context, database, template string) (string, error) {
	c, err := pgx.Connect(ctx, s.DSN("postgres"))
	if err != nil {
		return "", fmt.Errorf("make database %s: %w", database, err)
	}
	defer func() { _ = c.Close(ctx) }()
	_, err = c.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{database}.Sanitize()+" TEMPLATE "+pgx.Identifier{template}.Sanitize())
	if err != nil {
		return "", fmt.Errorf("make database %s: %w", database, err)
	}
	return s.DSN(database), nil
}

// Kill kills the server's first process. The other processes notice that and end.
func (s *Server) Kill() { s.signal(syscall.SIGKILL) }

// Quit ends the server at once, without a last checkpoint.
func (s *Server) Quit() { s.signal(syscall.SIGQUIT) }

// signal ends the server by a signal. If it has not ended after a minute, it sends SIGKILL: a stopped process reacts to
// no other signal.
func (s *Server) signal(sig syscall.Signal) {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(sig)
	select {
	case <-s.exited:
	case <-time.After(time.Minute):
		_ = s.cmd.Process.Kill()
		select {
		case <-s.exited:
		case <-time.After(2 * time.Minute): // it waits for a disk, and nothing more can be done
		}
	}
}

// Alive reports whether the server is running.
func (s *Server) Alive() bool {
	select {
	case <-s.exited:
		return false
	default:
		return true
	}
}

// Dir returns the folder of the server's socket, which is the host in a DSN.
func (s *Server) Dir() string { return s.dir }

// Pid returns the id of the server's first process.
func (s *Server) Pid() int { return s.cmd.Process.Pid }

// Stop ends the server and removes its folder.
func (s *Server) Stop() error {
	s.Quit()
	return os.RemoveAll(s.dir)
}

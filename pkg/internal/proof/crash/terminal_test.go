//go:build linux

package crash_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// terminal is a daemon's own terminal, which can be closed like a window.
type terminal struct{ master *os.File }

// hangUp closes the terminal: the kernel sends SIGHUP to the daemon, which cannot print any more.
func (t *terminal) hangUp() { _ = t.master.Close() }

// start returns the setup of a daemon in the terminal. Its output is written into its folder.
func (t *terminal) start(n *node) setup {
	return func(c *exec.Cmd) (func(), error) {
		slave, err := t.open()
		if err != nil {
			return nil, err
		}
		out, err := os.OpenFile(n.output(), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, errors.Join(err, slave.Close())
		}
		go func() {
			_, _ = io.Copy(out, t.master) // until it is closed, or the daemon has gone
			_ = out.Close()
		}()
		c.Stdin, c.Stdout, c.Stderr = slave, slave, slave
		c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Pdeathsig: syscall.SIGKILL}
		return func() { _ = slave.Close() }, nil
	}
}

// open opens both ends and returns the daemon's.
func (t *terminal) open() (slave *os.File, err error) {
	if t.master, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		return nil, err
	}
	raw, err := t.master.SyscallConn()
	if err != nil {
		return nil, err
	}
	var number int
	var failed error
	err = raw.Control(func(fd uintptr) {
		if failed = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); failed == nil {
			number, failed = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	})
	if err := errors.Join(err, failed); err != nil {
		return nil, err
	}
	return os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
}

// closeOutput is the setup of a daemon whose output is closed after its start.
func closeOutput(c *exec.Cmd) (func(), error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	c.Stdout, c.Stderr = w, w
	return func() {
		_ = w.Close()
		_ = r.Close()
	}, nil
}

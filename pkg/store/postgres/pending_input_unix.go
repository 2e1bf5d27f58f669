//go:build unix

package postgres

import (
	"errors"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// hasPendingInput reports whether there is something to read on an idle connection, which includes its end. A write to
// a connection that the other side has closed may seem to succeed, so checking first leaves fewer steps in doubt.
func hasPendingInput(c net.Conn) bool {
	if tls, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = tls.NetConn()
	}
	s, ok := c.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return true
	}
	idle := false
	// Not raw.Read, which would wait for a reader that pgx may have left behind.
	err = raw.Control(func(fd uintptr) {
		_, _, err := unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
		idle = errors.Is(err, unix.EAGAIN)
	})
	return err != nil || !idle
}

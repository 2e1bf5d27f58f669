//go:build unix

package postgres

import (
	"errors"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// stirred reports whether an idle connection has something to say, be it that it has been closed. What is sent over
// one that is closed may seem to have been sent: to look before leaves less in doubt.
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

package daemon

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/parkd-dev/parkd/pkg/api"
)

// connLimits are the maximum numbers of connections. They are a share of the process's file descriptors; the rest is
// for the database and for commands.
type connLimits struct{ tcp, unix int }

const (
	maxTCP   = 4096 // more would use too much memory
	maxUnix  = 1024
	minConns = 8
	// defaultDescriptors is assumed if the system does not tell.
	defaultDescriptors = 1024
)

// descriptors returns the maximum number of file descriptors of the process. The Go runtime has raised the soft limit
// to the hard limit at the start, and gives commands the original one.
func descriptors() uint64 {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return defaultDescriptors
	}
	return uint64(l.Cur) //nolint:unconvert // not the same type everywhere
}

// connLimitsFor keeps a quarter of the descriptors and 128 more for other uses, and gives a fifth of the rest to the
// socket, so that the daemon's owner can connect whatever comes in over TCP.
func connLimitsFor(descriptors uint64) connLimits {
	n := int(min(descriptors, 1<<20))
	rest := n - n/4 - 128
	r := connLimits{unix: max(minConns, min(maxUnix, rest/5))}
	r.tcp = max(minConns, min(maxTCP, rest-r.unix))
	return r
}

// heldLimits returns how many long-lived requests may be open at once. Together they use at most three quarters of the
// connections, so that one is always free for a short request.
func heldLimits(connections int) api.LoadLimits {
	return api.LoadLimits{Waits: max(1, connections/2), Streams: max(1, connections/8), Logs: max(1, connections/8)}
}

// outOfDescriptors reports whether an error is a lack of file descriptors.
func outOfDescriptors(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

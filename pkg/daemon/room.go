package daemon

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/parkd-dev/parkd/pkg/api"
)

// room is how many connections may come in, by way. It is shared out of the descriptors that the process may have: the
// rest is for the database and for commands.
type room struct{ tcp, unix int }

const (
	maxTCP  = 4096 // more would be a matter of memory
	maxUnix = 1024
	minRoom = 8
	// someDescriptors stands for a system that does not say.
	someDescriptors = 1024
)

// descriptors returns how many the process may have. The runtime has raised the limit to the highest allowed when the
// program began, and gives commands the former one.
func descriptors() uint64 {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return someDescriptors
	}
	return uint64(l.Cur) //nolint:unconvert // not the same type everywhere
}

// shareOut keeps a quarter of the descriptors and 128 more for other things, and gives the socket a fifth of the rest:
// whatever comes in over TCP, the daemon's owner gets in.
func shareOut(descriptors uint64) room {
	n := int(min(descriptors, 1<<20))
	rest := n - n/4 - 128
	r := room{unix: max(minRoom, min(maxUnix, rest/5))}
	r.tcp = max(minRoom, min(maxTCP, rest-r.unix))
	return r
}

// crowd returns what requests by one way may take together: those that last may hold three quarters of its connections,
// so that there is always one for a request that does not.
func crowd(connections int) api.Crowd {
	return api.Crowd{Waits: max(1, connections/2), Streams: max(1, connections/8), Logs: max(1, connections/8)}
}

// isShort reports whether an error is for want of descriptors.
func isShort(err error) bool { return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) }

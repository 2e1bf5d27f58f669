package park

import (
	"errors"
	"strings"
	"syscall"
)

// ShortageError says that a run has not begun because the machine lacks what each run needs, and the task has no part in
// that. An executor returns it by [PutOff].
type ShortageError struct {
	Reason string // one of the Short constants
	Err    error
}

// What may be lacking.
const (
	ShortFiles     = "open_files"     // descriptors
	ShortProcesses = "processes"      // processes or threads
	ShortMemory    = "memory"         //
	ShortPorts     = "network_ports"  // local ports for connections
	ShortDisk      = "disk_full"      // room, inodes or quota
	ShortReadOnly  = "disk_read_only" //
	ShortFolder    = "state_folder"   // a folder or file of parkd's own is gone or cannot be used
	ShortLeftovers = "leftovers"      // something is left of the commands of a daemon that is gone, and has their units
	ShortOther     = "other"
)

// Error implements error.
func (e *ShortageError) Error() string { return e.Err.Error() }

// Unwrap returns what went wrong.
func (e *ShortageError) Unwrap() error { return e.Err }

// ShortageOf returns err as a shortage, if that is what it is by itself, whoever met it; nil for any other error.
func ShortageOf(err error) *ShortageError {
	if s, ok := errors.AsType[*ShortageError](err); ok {
		return s
	}
	errno, ok := errors.AsType[syscall.Errno](err)
	if !ok {
		return nil
	}
	reason := ""
	switch errno {
	case syscall.EMFILE, syscall.ENFILE:
		reason = ShortFiles
	case syscall.EAGAIN:
		reason = ShortProcesses
	case syscall.ENOMEM, syscall.ENOBUFS:
		reason = ShortMemory
	case syscall.EADDRNOTAVAIL:
		reason = ShortPorts
	case syscall.ENOSPC, syscall.EDQUOT:
		reason = ShortDisk
	case syscall.EROFS:
		reason = ShortReadOnly
	default:
		return nil
	}
	return &ShortageError{Reason: reason, Err: err}
}

// OwnShortage returns the failure of something that parkd does for itself at each start, which no task has a part in.
func OwnShortage(err error) *ShortageError {
	if s := ShortageOf(err); s != nil {
		return s
	}
	for _, own := range []error{syscall.ENOENT, syscall.ENOTDIR, syscall.EACCES, syscall.EPERM, syscall.ESTALE, syscall.EIO} {
		if errors.Is(err, own) {
			return &ShortageError{Reason: ShortFolder, Err: err}
		}
	}
	return &ShortageError{Reason: ShortOther, Err: err}
}

// TextShortage is [ShortageOf] for an error of which only the text is left.
func TextShortage(text string) *ShortageError {
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.EAGAIN, syscall.ENOMEM, syscall.ENOBUFS} {
		if strings.Contains(text, errno.Error()) {
			s := ShortageOf(errno)
			s.Err = errors.New(text)
			return s
		}
	}
	return nil
}

// PutOff is the outcome of a run that has not begun: its task gets its units again later, first in its class, and the start
// does not count against [Retry.MaxAttempts].
func PutOff(s *ShortageError) Outcome {
	return Outcome{Status: Failed, Reason: ReasonStartDeferred, Message: s.Error(), Shortage: s}
}

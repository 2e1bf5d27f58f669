// Package shortage tells by an error whether the machine lacks what a run needs.
package shortage

import (
	"errors"
	"strings"
	"syscall"

	"github.com/parkd-dev/parkd/pkg/park"
)

// Of returns err as a shortage, if that is what it is by itself, whoever met it; nil for any other error.
func Of(err error) *park.ShortageError {
	if s, ok := errors.AsType[*park.ShortageError](err); ok {
		return s
	}
	errno, ok := errors.AsType[syscall.Errno](err)
	if !ok {
		return nil
	}
	reason := ""
	switch errno {
	case syscall.EMFILE, syscall.ENFILE:
		reason = park.ShortFiles
	case syscall.EAGAIN:
		reason = park.ShortProcesses
	case syscall.ENOMEM, syscall.ENOBUFS:
		reason = park.ShortMemory
	case syscall.EADDRNOTAVAIL:
		reason = park.ShortPorts
	case syscall.ENOSPC, syscall.EDQUOT:
		reason = park.ShortDisk
	case syscall.EROFS:
		reason = park.ShortReadOnly
	default:
		return nil
	}
	return &park.ShortageError{Reason: reason, Err: err}
}

// Own returns the failure of something that parkd does for itself at each start, which no task has a part in.
func Own(err error) *park.ShortageError {
	if s := Of(err); s != nil {
		return s
	}
	for _, own := range []error{syscall.ENOENT, syscall.ENOTDIR, syscall.EACCES, syscall.EPERM, syscall.ESTALE, syscall.EIO} {
		if errors.Is(err, own) {
			return &park.ShortageError{Reason: park.ShortFolder, Err: err}
		}
	}
	return &park.ShortageError{Reason: park.ShortOther, Err: err}
}

// Text is [Of] for an error of which only the text is left.
func Text(text string) *park.ShortageError {
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.EAGAIN, syscall.ENOMEM, syscall.ENOBUFS} {
		if strings.Contains(text, errno.Error()) {
			s := Of(errno)
			s.Err = errors.New(text)
			return s
		}
	}
	return nil
}

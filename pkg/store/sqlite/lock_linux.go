package sqlite

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// claimedByte is what is locked of a database: no file gets so long, and SQLite locks bytes from 1 GiB on.
const lockedByte = 1 << 62

// claim locks a database whatever its name is; errTaken where another has it. The lock is the open file's and not the
// process's: closing other descriptors of the database does not take it away, and it does not meet SQLite's own. A file
// system that has no such locks leaves it at the lock beside the file.
func lockByte(f *os.File) error {
	err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Start: lockedByte, Len: 1})
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EACCES):
		return errLocked
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.ENOLCK),
		errors.Is(err, unix.EOVERFLOW):
		return nil
	}
	return err
}

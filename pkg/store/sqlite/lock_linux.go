package sqlite

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// lockedByte is the byte of a database that is locked. No file is that long, and SQLite locks bytes at 1 GiB.
const lockedByte = 1 << 62

// lockByte locks a database whatever its name is, or returns errLocked. The lock belongs to the open file and not to
// the process: closing another descriptor of the database does not release it, and it does not affect SQLite's locks.
// If the file system has no such locks, only the lock beside the file protects the database.
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

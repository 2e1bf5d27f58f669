package command

// One lock file in the state folder. Each shim holds it shared, through a descriptor that the daemon opened
// and locked before the shim began, so there is no instant at which a shim lives without it.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const lockName = "shims.lock"

// lockRest is the time between two attempts to take the lock. Only starting daemons ever wait for it.
const lockRest = 10 * time.Millisecond

// Settle waits until every shim of an earlier daemon with the same state folder is gone, and with it every
// process of its runs. A daemon calls it once before anything runs: the tasks that it finds in its store as
// running may be given to others only afterwards. It ends early, with an error, when ctx does.
func (e *Executor) Settle(ctx context.Context) error {
	f, err := e.lock(ctx, unix.LOCK_EX)
	if err != nil {
		return fmt.Errorf("wait for the commands of an earlier daemon in %s: %w", e.cfg.Dir, err)
	}
	return f.Close()
}

// share opens the lock for a new shim.
func (e *Executor) share(ctx context.Context) (*os.File, error) {
	f, err := e.lock(ctx, unix.LOCK_SH)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", filepath.Join(e.cfg.Dir, lockName), err)
	}
	return f, nil
}

func (e *Executor) lock(ctx context.Context, how int) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(e.cfg.Dir, lockName), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return nil, errors.Join(err, f.Close())
		}
		select {
		case <-time.After(lockRest):
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), f.Close())
		}
	}
}

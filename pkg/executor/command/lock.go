package command

// One lock file for each pool in the state folder. Each shim of the pool holds a shared lock through a descriptor that the
// daemon opened and locked before it started the shim, so no shim lives without the lock at any time.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/parkd-dev/parkd/pkg/park"
)

// legacyLock is the lock of all shims of older versions, from before each pool had its own.
const legacyLock = "shims.lock"

func lockName(pool string) string { return "shims-" + pool + ".lock" }

// lockPollInterval is the time between two attempts to take the lock. Only starting daemons wait for it.
const lockPollInterval = 10 * time.Millisecond

// WaitForOrphans waits until all shims that an earlier daemon with the same state folder left in the pool have ended, and so
// all processes of its runs. A daemon calls it once before it runs anything: tasks that its store has as running may be
// started again only afterwards. It returns nil after timeout too, because a process of another user may run for any time;
// as long as it does, Run defers the pool's starts ([park.PutOff]) and names the process. If ctx ends first, WaitForOrphans
// returns an error.
func (e *Executor) WaitForOrphans(ctx context.Context, pool string, timeout time.Duration) error {
	waitCtx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err := e.waitForShims(waitCtx, pool)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil || waitCtx.Err() == nil {
		return fmt.Errorf("wait for the commands of an earlier daemon in %s: %w", e.cfg.Dir, err)
	}
	e.orphans.Store(new(describeOrphans(e.cfg.Dir, pool)))
	e.cfg.Log.Warn("processes of an earlier daemon are still running: the pool starts nothing until they have ended", "pool", pool, "left", *e.orphans.Load())
	e.background.Go(func() { e.watchOrphans(pool) })
	return nil
}

// orphanPollInterval is the time between two checks for orphans.
const orphanPollInterval = time.Second

// watchOrphans waits until no orphans are left, or the Executor is closed.
func (e *Executor) watchOrphans(pool string) {
	for e.closing.Err() == nil {
		ctx, cancel := context.WithTimeout(e.closing, orphanPollInterval)
		err := e.waitForShims(ctx, pool)
		cancel()
		if err == nil {
			e.orphans.Store(nil)
			e.cfg.Log.Info("no processes of an earlier daemon are left", "pool", pool)
			return
		}
		e.orphans.Store(new(describeOrphans(e.cfg.Dir, pool)))
	}
}

// waitForShims takes the locks that the shims of a pool may hold, and releases them.
func (e *Executor) waitForShims(ctx context.Context, pool string) error {
	for _, name := range []string{legacyLock, lockName(pool)} {
		f, err := e.lock(ctx, name, unix.LOCK_EX)
		if err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}

// orphanShortage returns why nothing may be started yet, or nil.
func (e *Executor) orphanShortage() *park.ShortageError {
	orphans := e.orphans.Load()
	if orphans == nil {
		return nil
	}
	return &park.ShortageError{Reason: park.ShortLeftovers, Err: errors.New("processes of an earlier daemon are still running: " + *orphans)}
}

// lockShared takes the lock for a new shim of a pool.
func (e *Executor) lockShared(ctx context.Context, pool string) (*os.File, error) {
	f, err := e.lock(ctx, lockName(pool), unix.LOCK_SH)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", filepath.Join(e.cfg.Dir, lockName(pool)), err)
	}
	return f, nil
}

func (e *Executor) lock(ctx context.Context, name string, how int) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(e.cfg.Dir, name), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
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
		case <-time.After(lockPollInterval):
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), f.Close())
		}
	}
}

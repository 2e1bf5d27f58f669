package command

// One lock file for each pool in the state folder. Each shim of the pool holds it shared, through a descriptor that the
// daemon opened and locked before the shim began, so there is no instant at which a shim lives without it.

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

// allShims is the lock that the shims of all pools held before each pool had its own.
const allShims = "shims.lock"

func lockName(pool string) string { return "shims-" + pool + ".lock" }

// lockRest is the time between two attempts to take the lock. Only starting daemons ever wait for it.
const lockRest = 10 * time.Millisecond

// Settle waits until every shim of an earlier daemon with the same state folder that ran a task of the pool is gone, and
// with it every process of its runs. A daemon calls it once before anything runs: the tasks that it finds in its store as
// running may be begun again only afterwards. After patience it returns all the same, for a process of another user may
// live on for as long as it likes; until it has gone Run puts the pool's starts off ([park.PutOff]) and says what is in
// the way. It ends early, with an error, when ctx does.
func (e *Executor) Settle(ctx context.Context, pool string, patience time.Duration) error {
	short, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := e.settle(short, pool)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil || short.Err() == nil {
		return fmt.Errorf("wait for the commands of an earlier daemon in %s: %w", e.cfg.Dir, err)
	}
	e.left.Store(new(leftovers(e.cfg.Dir, pool)))
	e.cfg.Log.Warn("something is left of an earlier daemon's commands: the pool starts nothing before it has ended", "pool", pool, "left", *e.left.Load())
	e.waiting.Go(func() { e.settleLate(pool) })
	return nil
}

// leftRest is how often what is left is looked at.
const leftRest = time.Second

// settleLate waits until nothing is left, or the Executor is closed.
func (e *Executor) settleLate(pool string) {
	for e.closing.Err() == nil {
		ctx, cancel := context.WithTimeout(e.closing, leftRest)
		err := e.settle(ctx, pool)
		cancel()
		if err == nil {
			e.left.Store(nil)
			e.cfg.Log.Info("nothing is left of an earlier daemon's commands", "pool", pool)
			return
		}
		e.left.Store(new(leftovers(e.cfg.Dir, pool)))
	}
}

// settle takes the locks that the shims of a pool may hold, and lets go of them.
func (e *Executor) settle(ctx context.Context, pool string) error {
	for _, name := range []string{allShims, lockName(pool)} {
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

// unsettled returns why nothing may be begun yet, or nil.
func (e *Executor) unsettled() *park.ShortageError {
	left := e.left.Load()
	if left == nil {
		return nil
	}
	return &park.ShortageError{Reason: park.ShortLeftovers, Err: errors.New("processes of an earlier daemon are still running: " + *left)}
}

// share opens the lock for a new shim of a pool.
func (e *Executor) share(ctx context.Context, pool string) (*os.File, error) {
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
		case <-time.After(lockRest):
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), f.Close())
		}
	}
}

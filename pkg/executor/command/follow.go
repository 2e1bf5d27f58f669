package command

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"time"

	"golang.org/x/sys/unix"

	"github.com/parkd-dev/parkd/pkg/park"
)

// Patience with a run that is said to be under way and has not made its log yet.
const (
	logPatience = 2 * time.Second
	logRest     = 20 * time.Millisecond
)

// Log opens what a run wrote, both streams in the order in which it came; attempt 0 is the latest run. With
// follow it goes on, also into later runs of the task, until ended is closed and all is read. What was
// rotated away is skipped. Reads end with ctx's error when ctx ends. The error is a LogNotFound where there is
// no such log here.
func (e *Executor) Log(ctx context.Context, pool, task string, attempt int, follow bool, ended <-chan struct{}) (io.ReadCloser, error) {
	name, err := folder(pool, task)
	if err != nil {
		return nil, err
	}
	r := &reader{ctx: ctx, root: e.logs.root, name: name, follow: follow, ended: ended}
	if err := r.await(attempt); err != nil {
		_ = r.Close() // its folder may be open
		if errors.Is(err, fs.ErrNotExist) {
			err = park.Errorf(park.LogNotFound, "there is no log of task %s, run %d, on this node", task, attempt)
		}
		return nil, err
	}
	return r, nil
}

// await opens the first part of a run, which one that has just begun may still have to make.
func (r *reader) await(attempt int) error {
	patience := time.Now().Add(logPatience)
	for {
		err := r.open(attempt)
		if !errors.Is(err, fs.ErrNotExist) || !r.follow || time.Now().After(patience) || isClosed(r.ended) {
			return err
		}
		select {
		case <-time.After(logRest):
		case <-r.ended:
		case <-r.ctx.Done():
			return context.Cause(r.ctx)
		}
	}
}

// reader reads the parts of a log one after the other.
type reader struct {
	ctx    context.Context
	root   *folderRoot
	name   string
	follow bool
	ended  <-chan struct{}

	dir   *os.File
	watch *watch
	at    part
	file  *os.File
}

// open opens the first part of a run.
func (r *reader) open(attempt int) error {
	if r.dir == nil {
		dir, err := openDir(r.root, r.name)
		if err != nil {
			return err
		}
		r.dir = dir
	}
	found, err := parts(r.dir, isLog)
	if err != nil {
		return err
	}
	if attempt == 0 && len(found) > 0 {
		attempt = found[len(found)-1].attempt
	}
	for _, p := range found {
		if p.attempt == attempt {
			return r.turn(p)
		}
	}
	return fs.ErrNotExist
}

// turn goes to another part.
func (r *reader) turn(to part) error {
	f, err := r.root.OpenFile(path.Join(r.name, to.name()), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	// It may have been put there since the folder was read.
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return errors.Join(fs.ErrNotExist, f.Close())
	}
	if r.file != nil {
		_ = r.file.Close()
	}
	r.file, r.at = f, to
	return nil
}

// Read implements [io.Reader].
func (r *reader) Read(p []byte) (int, error) {
	for {
		if err := r.ctx.Err(); err != nil {
			return 0, context.Cause(r.ctx)
		}
		// What came later is looked for first: if the end is reached after that, it is the end of this part.
		next, more, err := r.next()
		if err != nil {
			return 0, err
		}
		last := !r.follow || isClosed(r.ended)
		n, err := r.file.Read(p)
		if n > 0 || len(p) == 0 || (err != nil && !errors.Is(err, io.EOF)) {
			return n, err
		}
		if more {
			if err := r.turn(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return 0, err
			}
			continue
		}
		if last {
			return 0, io.EOF
		}
		r.rest()
	}
}

// next returns the part to read after this one: of the same run, or of a later one where that is followed.
func (r *reader) next() (next part, ok bool, err error) {
	found, err := parts(r.dir, isLog)
	if err != nil {
		return part{}, false, err
	}
	for _, p := range found {
		sameRun := p.attempt == r.at.attempt && p.number > r.at.number
		if sameRun || (r.follow && p.attempt > r.at.attempt) {
			return p, true, nil
		}
	}
	return part{}, false, nil
}

// rest waits until there may be more.
func (r *reader) rest() {
	if r.watch == nil {
		r.watch = newWatch(r.dir)
		return // what came before the watch was set up has to be read first
	}
	select {
	case <-r.watch.changed:
	case <-r.ended:
	case <-r.ctx.Done():
	}
}

// Close implements [io.Closer].
func (r *reader) Close() error {
	var errs []error
	if r.watch != nil {
		r.watch.stop()
	}
	for _, f := range []*os.File{r.file, r.dir} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// watch tells when something in a folder may have changed.
type watch struct {
	changed <-chan struct{}
	stop    func()
}

// pollRest bounds how late a change is seen where the system does not tell.
const pollRest = 100 * time.Millisecond

// poll is a watch that only looks at the time.
func poll() *watch {
	changed, quit := make(chan struct{}), make(chan struct{})
	go func() {
		t := time.NewTicker(pollRest)
		defer t.Stop()
		for {
			select {
			case <-t.C:
			case <-quit:
				return
			}
			select {
			case changed <- struct{}{}:
			case <-quit:
				return
			}
		}
	}()
	return &watch{changed: changed, stop: func() { close(quit) }}
}

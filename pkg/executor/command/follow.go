package command

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/parkd-dev/parkd/pkg/park"
)

// Patience with a run that is said to be under way and has not made its log yet.
const (
	logPatience = 2 * time.Second
	logRest     = 20 * time.Millisecond
)

// Log opens what a run wrote, both streams in the order in which it came; attempt 0 is the latest run. It begins q.Offset
// bytes after the beginning of the run, or later where that was rotated away; the log says where. With q.Follow it goes on
// until ended is closed and all is read. Where q names no attempt it goes on into later runs, and skips what is rotated
// away before it is read; where it names one, it ends when a later run begins, and before bytes that are no longer there:
// opened again, it says where it goes on. Reads end with ctx's error when ctx ends. The error is a LogNotFound where there
// is no such log here.
func (e *Executor) Log(ctx context.Context, pool, task string, attempt int, q park.LogQuery, ended <-chan struct{}) (*park.Log, error) {
	name, err := folder(pool, task)
	if err != nil {
		return nil, err
	}
	r := &reader{ctx: ctx, root: e.logs.root, name: name, query: q, full: e.cfg.MaxLogBytes, ended: ended}
	if err := r.await(attempt); err != nil {
		_ = r.Close() // its folder may be open
		if errors.Is(err, fs.ErrNotExist) {
			err = park.Errorf(park.LogNotFound, "this node has no log of task %s, attempt %d", task, attempt)
		}
		return nil, err
	}
	return &park.Log{ReadCloser: r, Attempt: r.at.attempt, Offset: max(q.Offset, r.base)}, nil
}

// await opens a run's log, which one that has just begun may still have to make.
func (r *reader) await(attempt int) error {
	patience := time.Now().Add(logPatience)
	for {
		err := r.open(attempt)
		if !errors.Is(err, fs.ErrNotExist) || !r.query.Follow || time.Now().After(patience) || isClosed(r.ended) {
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
	ctx   context.Context
	root  *folderRoot
	name  string
	query park.LogQuery
	ended <-chan struct{}

	dir   *os.File
	watch *watch
	at    part
	file  *os.File
	ahead []opened // what is read after file, in order
	began int      // the run that q.Offset is about
	base  int64    // where in its run the part at begins
	full  int64    // size of a part that has a next one: all of a run have the same
	over  bool     // nothing can follow what is open
}

type opened struct {
	part
	file *os.File
}

// openTries bounds how often a log is opened whose parts are rotated away meanwhile.
const openTries = 10

// open opens the first part of a run that is there. Where nothing is followed it opens all of them, so that none is
// removed before it is read.
func (r *reader) open(attempt int) error {
	if r.dir == nil {
		dir, err := openDir(r.root, r.name)
		if err != nil {
			return err
		}
		r.dir = dir
	}
	for try := 1; ; try++ {
		found, err := r.of(attempt)
		if err != nil {
			return err
		}
		// A part without its neighbours was listed in the moment in which they changed, or they were removed by hand.
		if len(found) == 1 && found[0].number > 1 && try < openTries {
			continue
		}
		if err = r.take(found); !errors.Is(err, fs.ErrNotExist) || try == openTries {
			return err
		}
	}
}

// of lists the parts of a run.
func (r *reader) of(attempt int) ([]part, error) {
	found, err := parts(r.dir, isLog)
	if err != nil {
		return nil, err
	}
	if attempt == 0 && len(found) > 0 {
		attempt = found[len(found)-1].attempt
	}
	found = slices.DeleteFunc(found, func(p part) bool { return p.attempt != attempt })
	if len(found) == 0 {
		return nil, fs.ErrNotExist
	}
	return found, nil
}

// take opens parts of a run, and goes to the first of them. What is open is not lost when it is rotated away.
func (r *reader) take(found []part) error {
	for _, p := range found {
		if err := r.enqueue(p); err != nil {
			r.drop()
			return err
		}
	}
	r.began = found[0].attempt
	return r.turn()
}

// enqueue opens a part that is read later.
func (r *reader) enqueue(p part) error {
	f, err := r.root.OpenFile(path.Join(r.name, p.name()), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	// It may have been put there since the folder was read.
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return errors.Join(fs.ErrNotExist, f.Close())
	}
	r.ahead = append(r.ahead, opened{p, f})
	return nil
}

// drop closes what was opened to be read later.
func (r *reader) drop() {
	for _, o := range r.ahead {
		_ = o.file.Close()
	}
	r.ahead = nil
}

// turn goes to the next of the parts that are open.
func (r *reader) turn() error {
	to := r.ahead[0]
	r.ahead = r.ahead[1:]
	before := r.file
	r.file = to.file
	whole := before
	if before == nil && len(r.ahead) > 0 {
		whole = to.file
	}
	if whole != nil && (before == nil || r.at.attempt == to.attempt) {
		info, err := whole.Stat()
		if err != nil {
			return errors.Join(err, before.Close())
		}
		r.full = info.Size()
	}
	r.at, r.base = to.part, int64(to.number-1)*r.full
	if before != nil {
		_ = before.Close()
	}
	if skip := r.query.Offset - r.base; skip > 0 && to.attempt == r.began {
		if _, err := r.file.Seek(skip, io.SeekStart); err != nil {
			return err
		}
	}
	return nil
}

// Read implements [io.Reader].
func (r *reader) Read(p []byte) (int, error) {
	for {
		if err := r.ctx.Err(); err != nil {
			return 0, context.Cause(r.ctx)
		}
		last := r.over || !r.query.Follow || isClosed(r.ended)
		// What came later is looked for first: if the end is reached after that, it is the end of this part.
		again := false
		if r.query.Follow && !r.over && len(r.ahead) == 0 {
			var err error
			if again, err = r.look(); err != nil {
				return 0, err
			}
		}
		n, err := r.file.Read(p)
		if n > 0 || len(p) == 0 || (err != nil && !errors.Is(err, io.EOF)) {
			return n, err
		}
		switch {
		case len(r.ahead) > 0:
			if err := r.turn(); err != nil {
				return 0, err
			}
		case again:
		case last || r.over:
			return 0, io.EOF
		default:
			r.rest()
		}
	}
}

// look opens the part to read after this one: of the same run, or of a later one where those are followed. It reports
// whether to look again, for the part is gone already.
func (r *reader) look() (again bool, err error) {
	found, err := parts(r.dir, isLog)
	if err != nil {
		return false, err
	}
	for _, p := range found {
		sameRun := p.attempt == r.at.attempt && p.number > r.at.number
		if !sameRun && p.attempt <= r.at.attempt {
			continue
		}
		if r.query.Attempt != 0 && (!sameRun || p.number > r.at.number+1) {
			r.over = true // a later run, or bytes that are no longer there
			return false, nil
		}
		err := r.enqueue(p)
		if errors.Is(err, fs.ErrNotExist) {
			return true, nil
		}
		return false, err
	}
	return false, nil
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
	r.drop()
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

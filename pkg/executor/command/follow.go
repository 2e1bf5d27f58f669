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

// How long to wait for the log of a run that has just begun.
const (
	logWait         = 2 * time.Second
	logPollInterval = 20 * time.Millisecond
)

// Log opens the output of a run, both streams in the order in which they were written; attempt 0 is the latest run. It begins
// q.Offset bytes into the run, or later if those bytes were rotated away; park.Log.Offset says where. With q.Follow it goes
// on until ended is closed and everything is read. If q names no attempt, it goes on with later runs and skips bytes that are
// rotated away before it reads them. If q names one, it ends at a later run and before missing bytes: the next call tells
// where the log goes on. Reads fail with ctx's error when ctx ends. The error is a LogNotFound if there is no such log on
// this node.
func (e *Executor) Log(ctx context.Context, pool, task string, attempt int, q park.LogQuery, ended <-chan struct{}) (*park.Log, error) {
	name, err := folder(pool, task)
	if err != nil {
		return nil, err
	}
	r := &reader{ctx: ctx, root: e.logs.root, name: name, query: q, partSize: e.cfg.MaxLogBytes, ended: ended}
	if err := r.waitOpen(attempt); err != nil {
		_ = r.Close() // the folder may be open
		if errors.Is(err, fs.ErrNotExist) {
			err = park.Errorf(park.LogNotFound, "this node has no log of task %s, attempt %d", task, attempt)
		}
		return nil, err
	}
	return &park.Log{ReadCloser: r, Attempt: r.current.attempt, Offset: max(q.Offset, r.partStart)}, nil
}

// waitOpen opens a run's log, and waits if the run has not created it yet.
func (r *reader) waitOpen(attempt int) error {
	deadline := time.Now().Add(logWait)
	for {
		err := r.open(attempt)
		if !errors.Is(err, fs.ErrNotExist) || !r.query.Follow || time.Now().After(deadline) || isClosed(r.ended) {
			return err
		}
		select {
		case <-time.After(logPollInterval):
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

	dir          *os.File
	watch        *watch
	current      part
	file         *os.File
	pending      []openPart // the parts to read after file, in order
	firstAttempt int        // the run to which query.Offset applies
	partStart    int64      // where the current part begins in its run
	partSize     int64      // size of all parts of a run but the last
	complete     bool       // no part can follow the open ones
}

type openPart struct {
	part
	file *os.File
}

// maxOpenTries bounds how often the parts of a log are opened again because they were rotated away meanwhile.
const maxOpenTries = 10

// open opens the parts of a run, all at once, so that none is removed before it is read.
func (r *reader) open(attempt int) error {
	if r.dir == nil {
		dir, err := openDir(r.root, r.name)
		if err != nil {
			return err
		}
		r.dir = dir
	}
	for try := 1; ; try++ {
		found, err := r.partsOf(attempt)
		if err != nil {
			return err
		}
		// A single later part means that the folder was listed during a rotation, or that files were removed by hand.
		if len(found) == 1 && found[0].number > 1 && try < maxOpenTries {
			continue
		}
		if err = r.openParts(found); !errors.Is(err, fs.ErrNotExist) || try == maxOpenTries {
			return err
		}
	}
}

// partsOf lists the parts of a run.
func (r *reader) partsOf(attempt int) ([]part, error) {
	all, err := parts(r.dir, isLog)
	if err != nil {
		return nil, err
	}
	if attempt == 0 && len(all) > 0 {
		attempt = all[len(all)-1].attempt
	}
	all = slices.DeleteFunc(all, func(p part) bool { return p.attempt != attempt })
	if len(all) == 0 {
		return nil, fs.ErrNotExist
	}
	return all, nil
}

// openParts opens the parts of a run and goes to the first. An open part can be read after it is rotated away.
func (r *reader) openParts(found []part) error {
	for _, p := range found {
		if err := r.enqueue(p); err != nil {
			r.closePending()
			return err
		}
	}
	r.firstAttempt = found[0].attempt
	return r.advance()
}

// enqueue opens a part to be read later.
func (r *reader) enqueue(p part) error {
	f, err := r.root.OpenFile(path.Join(r.name, p.name()), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	// Something that is no log may have taken the name since the folder was read.
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return errors.Join(fs.ErrNotExist, f.Close())
	}
	r.pending = append(r.pending, openPart{p, f})
	return nil
}

// closePending closes the parts that were opened to be read later.
func (r *reader) closePending() {
	for _, o := range r.pending {
		_ = o.file.Close()
	}
	r.pending = nil
}

// advance goes to the next open part.
func (r *reader) advance() error {
	next := r.pending[0]
	r.pending = r.pending[1:]
	previous := r.file
	r.file = next.file
	full := previous
	if previous == nil && len(r.pending) > 0 {
		full = next.file
	}
	if full != nil && (previous == nil || r.current.attempt == next.attempt) {
		info, err := full.Stat()
		if err != nil {
			return errors.Join(err, previous.Close())
		}
		r.partSize = info.Size()
	}
	r.current, r.partStart = next.part, int64(next.number-1)*r.partSize
	if previous != nil {
		_ = previous.Close()
	}
	if skip := r.query.Offset - r.partStart; skip > 0 && next.attempt == r.firstAttempt {
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
		last := r.complete || !r.query.Follow || isClosed(r.ended)
		// Later parts are looked for first: an end of file after that is the end of this part.
		retry := false
		if r.query.Follow && !r.complete && len(r.pending) == 0 {
			var err error
			if retry, err = r.findNext(); err != nil {
				return 0, err
			}
		}
		n, err := r.file.Read(p)
		if n > 0 || len(p) == 0 || (err != nil && !errors.Is(err, io.EOF)) {
			return n, err
		}
		switch {
		case len(r.pending) > 0:
			if err := r.advance(); err != nil {
				return 0, err
			}
		case retry:
		case last || r.complete:
			return 0, io.EOF
		default:
			r.waitForChange()
		}
	}
}

// findNext opens the part to read after this one: of the same run, or of a later run if those are followed. It reports
// whether to retry because the part was removed meanwhile.
func (r *reader) findNext() (retry bool, err error) {
	found, err := parts(r.dir, isLog)
	if err != nil {
		return false, err
	}
	for _, p := range found {
		sameRun := p.attempt == r.current.attempt && p.number > r.current.number
		if !sameRun && p.attempt <= r.current.attempt {
			continue
		}
		if r.query.Attempt != 0 && (!sameRun || p.number > r.current.number+1) {
			r.complete = true // a later run, or bytes that are no longer there
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

// waitForChange waits until there may be more to read.
func (r *reader) waitForChange() {
	if r.watch == nil {
		r.watch = newWatch(r.dir)
		return // first read what was written before the watch was set up
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
	r.closePending()
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

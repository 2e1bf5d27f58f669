package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parkd-dev/parkd/pkg/store"
)

// batchRows bounds, roughly, how many rows go into one transaction.
const maxBatchRows = 8192

var errClosed = errors.New("the database is closed")

// writer owns the connection that writes. Everything but jobs, quit and gone belongs to its goroutine.
type writer struct {
	jobs chan *job
	quit chan struct{} // closed: take no more jobs
	done chan struct{} // closed: the last job is answered

	log *slog.Logger
	*conn
	statements
	clocks      clocks
	wal         walInfo
	args        []driver.Value // of a statement, to be used again
	closeErr    error          // of the end
	lock        *lock
	reportFiles func(error) // hears what each look at the database's files has found
}

// job is one change that happens whole or not at all. A job may be done more than once; only the last time counts.
type job struct {
	ctx  context.Context
	run  func(*writer) error
	rows int // roughly how many it writes
	err  error
	done chan struct{}
}

func newWriter(ctx context.Context, l *lock, log *slog.Logger) (*writer, error) {
	c, err := connect(ctx, dataSourceName(l.path, "_txlock=immediate", writePragmas()...))
	if err != nil {
		return nil, err
	}
	w := &writer{
		jobs: make(chan *job, 64), quit: make(chan struct{}), done: make(chan struct{}),
		log: log, conn: c, lock: l,
	}
	if err := errors.Join(w.checkPragmas(), w.statements.prepare(c), w.initLog()); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return w, nil
}

// assert refuses a connection on which an answered commit could be lost.
func (w *writer) checkPragmas() error {
	mode, err := w.queryOnce("PRAGMA journal_mode")
	if err != nil {
		return err
	}
	sync, err := w.queryOnce("PRAGMA synchronous")
	if err != nil {
		return err
	}
	version, err := w.queryOnce("SELECT sqlite_version()")
	if err != nil {
		return err
	}
	switch v, _ := version.(string); {
	case mode != "wal":
		return fmt.Errorf("journal_mode is %v but must be wal: the file system may not support it", mode)
	case sync != int64(2):
		return fmt.Errorf("synchronous is %v but must be 2 (FULL)", sync)
	case !versionAtLeast(v, 3, 51, 3):
		return fmt.Errorf("SQLite %s can corrupt a write-ahead log: 3.51.3 or later is needed", v)
	}
	return nil
}

func versionAtLeast(version string, min ...int) bool {
	parts := strings.Split(version, ".")
	for i, want := range min {
		n := 0
		if i < len(parts) {
			n, _ = strconv.Atoi(parts[i])
		}
		if n != want {
			return n > want
		}
	}
	return true
}

// recall reads how far the clocks of the tables had come.
func (w *writer) loadClocks(ctx context.Context, db *sql.DB) error {
	for _, t := range timelines() {
		var stamp int64
		err := db.QueryRowContext(ctx, t.lastStamp()).Scan(&stamp)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("read table %s: %w", t.table, err)
		}
		*w.clocks.forTable(t) = clock(stamp)
	}
	return nil
}

// write has the writer do a change and waits until it is durable. Where ctx ends before it is known what became of the
// change, that is a [store.ErrInDoubt].
func (s *Store) write(ctx context.Context, rows int, run func(*writer) error) error {
	j := &job{ctx: ctx, run: run, rows: rows, done: make(chan struct{})}
	w := s.writer
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-w.quit:
		return errClosed
	default:
	}
	select {
	case w.jobs <- j:
	case <-w.quit:
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-j.done:
		return j.err
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", store.ErrInDoubt, ctx.Err())
	case <-w.done:
	}
	select {
	case <-j.done:
		return j.err
	default:
		return errClosed
	}
}

// loop does jobs until it is told to quit, and then those that still wait. While there are none it tidies the file.
func (w *writer) loop() {
	defer close(w.done)
	idle := time.NewTimer(idleAfter)
	defer idle.Stop()
	for {
		select {
		case j := <-w.jobs:
			w.process(w.drainJobs(j))
			idle.Reset(idleAfter)
			continue
		default:
		}
		select {
		case j := <-w.jobs:
			w.process(w.drainJobs(j))
			idle.Reset(idleAfter)
		case <-idle.C:
			if again := w.tidy(); again > 0 {
				idle.Reset(again)
			}
		case <-w.quit:
			select {
			case j := <-w.jobs:
				w.process(w.drainJobs(j))
			default:
				w.closeErr = w.stop()
				return
			}
		}
	}
}

// collect takes the jobs that wait behind the first, as many as belong into one transaction.
func (w *writer) drainJobs(first *job) []*job {
	batch := []*job{first}
	for rows := first.rows; rows < maxBatchRows; {
		select {
		case j := <-w.jobs:
			batch = append(batch, j)
			rows += j.rows
		default:
			return batch
		}
	}
	return batch
}

// commit does the jobs in one transaction and answers them. A job that changed nothing and says so (a conflict)
// leaves the others alone. After any other failure the transaction is taken back and each job has one of its own.
func (w *writer) process(batch []*job) {
	if w.commitBatch(batch) {
		for _, j := range batch {
			w.commitBatch([]*job{j})
		}
	}
	for _, j := range batch {
		close(j.done)
	}
	w.checkpointIfLong()
}

// together does the jobs in one transaction. It reports whether they should be done one by one instead.
func (w *writer) commitBatch(batch []*job) (retrySeparately bool) {
	before := w.clocks
	err := w.runTx(batch)
	if err == nil {
		return false
	}
	w.clocks = before
	if _, rerr := w.rollback.run(); rerr != nil && !isNoTransaction(rerr) {
		w.log.Error("rollback failed", "error", rerr)
	}
	if len(batch) > 1 && !isStoreFailure(err) {
		return true
	}
	for _, j := range batch {
		j.err = err
	}
	return false
}

func (w *writer) runTx(batch []*job) error {
	if _, err := w.begin.run(); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	withMark := w.wal.mayRestart
	if withMark {
		if err := w.writeLogMark(); err != nil {
			return fmt.Errorf("mark: %w", err)
		}
	}
	for _, j := range batch {
		if j.err = j.ctx.Err(); j.err != nil {
			continue
		}
		j.err = j.run(w)
		if _, unchanged := errors.AsType[*store.Conflict](j.err); j.err != nil && !unchanged {
			return j.err
		}
	}
	// What goes to a file that nobody will find again must not be answered.
	err := w.lock.checkFiles()
	if w.reportFiles(err); err != nil {
		return err
	}
	if _, err := w.commit.run(); err != nil {
		err = fmt.Errorf("commit: %w", err)
		if isCode(err, sqliteIOErr) {
			// What was written but could not be flushed is found in the log after a crash, unless something else is written
			// there first.
			err = fmt.Errorf("%w: %w", store.ErrInDoubt, err)
		}
		return err
	}
	if withMark {
		w.wal.mark++
		w.wal.mayRestart = false
	}
	w.wal.endsWithMark = false
	return nil
}

// coded is an error of SQLite.
type sqliteError interface {
	error
	Code() int
}

// isCode reports whether SQLite said that err is of one of the kinds.
func isCode(err error, kinds ...int) bool {
	e, ok := errors.AsType[sqliteError](err)
	return ok && slices.Contains(kinds, e.Code()&0xff)
}

// isSick reports whether the disk or the memory failed rather than the job.
func isStoreFailure(err error) bool {
	if _, lost := errors.AsType[lostFilesError](err); lost {
		return true
	}
	return isCode(err, sqliteBusy, sqliteNoMem, sqliteReadOnly, sqliteIOErr, sqliteCorrupt, sqliteFull, sqliteCantOpen)
}

// isNoTransaction reports whether err says that there is nothing to take back: SQLite has done so by itself.
func isNoTransaction(err error) bool {
	return strings.Contains(err.Error(), "no transaction is active")
}

// Primary result codes of SQLite, see https://www.sqlite.org/rescode.html.
const (
	sqliteBusy     = 5
	sqliteNoMem    = 7
	sqliteReadOnly = 8
	sqliteIOErr    = 10
	sqliteCorrupt  = 11
	sqliteFull     = 13
	sqliteCantOpen = 14

	sqliteNotUnique = 2067 // an extended code
)

// finish has the writer do what waits and close its connection.
func (w *writer) drainAndStop() error {
	close(w.quit)
	<-w.done
	return w.closeErr
}

// stop folds the write-ahead log into the database and closes the connection. Where there is no room for that
// nothing is lost: the next one to open the database reads the log.
//
// A database whose files are lost is left as it is: to close it would remove the write-ahead log by its name, and that
// may be another's by now. The process is about to end, or does without that connection.
func (w *writer) stop() error {
	if _, lost := errors.AsType[lostFilesError](w.lock.checkFiles()); lost {
		return nil
	}
	if _, _, err := w.checkpoint(w.checkpointTruncate); err != nil {
		w.log.Warn("write-ahead log not folded in", "error", err)
	}
	w.statements.close()
	return w.Close()
}

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

// maxBatchRows is roughly how many rows one transaction may have.
const maxBatchRows = 8192

var errClosed = errors.New("the database is closed")

// writer owns the connection that writes. All fields but jobs, quit and done are used by its goroutine only.
type writer struct {
	jobs chan *job
	quit chan struct{} // closed: accept no more jobs
	done chan struct{} // closed: all jobs are answered

	log *slog.Logger
	*conn
	statements
	clocks      clocks
	wal         walInfo
	args        []driver.Value // reused from statement to statement
	closeErr    error          // the error of stop
	lock        *lock
	reportFiles func(error) // called with the result of each check of the database's files
}

// job is a change that is applied as a whole or not at all. A job may be run several times. Only the last run counts.
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

// checkPragmas refuses a connection on which an acknowledged commit could be lost.
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

// loadClocks reads the clocks of the tables.
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

// write passes a change to the writer and waits until it is durable. If ctx ends before the outcome is known, the error
// is a [store.ErrInDoubt].
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

// loop runs jobs until quit is closed, then runs the jobs that still wait. While there are none it tidies the file.
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

// drainJobs takes the jobs that wait behind the first, as many as one transaction may have.
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

// process runs the jobs in one transaction and answers them. A conflict changes nothing and does not affect the other
// jobs. After any other error the transaction is rolled back and each job gets a transaction of its own.
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

// commitBatch runs the jobs in one transaction. It reports whether they should be retried one by one.
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
			return fmt.Errorf("write the log mark: %w", err)
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
	// A commit to a file that no longer has its name must not be acknowledged.
	err := w.lock.checkFiles()
	if w.reportFiles(err); err != nil {
		return err
	}
	if _, err := w.commit.run(); err != nil {
		err = fmt.Errorf("commit: %w", err)
		if isCode(err, sqliteIOErr) {
			// The pages were written but not flushed. After a crash they are found in the log, unless other pages have
			// been written over them.
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

// sqliteError is an error of SQLite.
type sqliteError interface {
	error
	Code() int
}

// isCode reports whether err has one of these primary result codes of SQLite.
func isCode(err error, kinds ...int) bool {
	e, ok := errors.AsType[sqliteError](err)
	return ok && slices.Contains(kinds, e.Code()&0xff)
}

// isStoreFailure reports whether the disk or the memory failed rather than the job.
func isStoreFailure(err error) bool {
	if _, lost := errors.AsType[lostFilesError](err); lost {
		return true
	}
	return isCode(err, sqliteBusy, sqliteNoMem, sqliteReadOnly, sqliteIOErr, sqliteCorrupt, sqliteFull, sqliteCantOpen)
}

// isNoTransaction reports whether err says that there is no transaction to roll back. SQLite has already done it.
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

// drainAndStop has the writer complete the waiting jobs and close its connection.
func (w *writer) drainAndStop() error {
	close(w.quit)
	<-w.done
	return w.closeErr
}

// stop writes the write-ahead log into the database and closes the connection. If there is no room for that, nothing is
// lost: the next process that opens the database reads the log.
//
// If the database's files were moved or replaced, the connection stays open. Closing it would remove the write-ahead
// log by its name, and that file may belong to another process by now. This process is about to end, or does not need
// the connection.
func (w *writer) stop() error {
	if _, lost := errors.AsType[lostFilesError](w.lock.checkFiles()); lost {
		return nil
	}
	if _, _, err := w.checkpoint(w.checkpointTruncate); err != nil {
		w.log.Warn("checkpoint failed", "error", err)
	}
	w.statements.close()
	return w.Close()
}

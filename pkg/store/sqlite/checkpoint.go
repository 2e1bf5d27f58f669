package sqlite

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"strconv"
	"time"
)

const (
	// checkpointPages is how far the write-ahead log grows before it is folded into the database.
	checkpointAfter = 2000
	// restAfter is how long nothing is asked for before the file is tidied, and tidyRest the least time between two steps of that.
	idleAfter    = time.Second
	tidyInterval = 50 * time.Millisecond
	// tidyPages is how many pages a step of tidying gives back: few enough that what comes meanwhile hardly waits.
	tidyPages = 64
	// Free pages are given back where they are more than an eighth of the file, and more than leastFree.
	minFreeShare = 8
	minFreePages = 128
	// busyTimeout is how long SQLite waits for another connection, in milliseconds.
	busyTimeout = 5000
)

// journal is what the writer knows of the write-ahead log.
type walInfo struct {
	mark         uint32 // see belongs.go
	mayRestart   bool   // all of the log is folded in: the next transaction may begin it anew
	endsWithMark bool   // the last transaction was a mark
	dirty        bool   // something was written since the file was tidied
}

// begin reads the mark of the database.
func (w *writer) initLog() error {
	v, err := w.queryOnce("PRAGMA user_version")
	if err != nil {
		return err
	}
	mark, _ := v.(int64)
	w.wal = walInfo{mark: uint32(mark), mayRestart: true, dirty: true}
	if mark == 0 {
		w.wal.mark = newLogMark()
	}
	return nil
}

// newMark returns one that no other database is likely to have.
func newLogMark() uint32 {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.BigEndian.Uint32(b[:]) | 1<<16
}

// setMark puts the next mark into the transaction that is open.
func (w *writer) writeLogMark() error {
	_, err := w.queryOnce("PRAGMA user_version = " + strconv.Itoa(int(int32(w.wal.mark+1))))
	return err
}

// tend folds the log into the database once it is long enough, after callers were answered.
func (w *writer) checkpointIfLong() {
	w.wal.dirty = true
	pages, checkpointed, err := w.walState.logPages()
	if err == nil && pages >= checkpointAfter {
		pages, checkpointed, err = w.checkpoint(w.checkpointPassive)
	}
	if err != nil {
		w.log.Warn("write-ahead log not folded in", "error", err)
		return
	}
	w.wal.mayRestart = pages == checkpointed
}

// foldLog makes a mark the last thing in the log and folds in what readers do not need there any more. On a disk that is
// full there is no room for the mark, and there will be none unless the log is folded in.
func (w *writer) checkpoint(mode *stmt) (pages, checkpointed int64, err error) {
	if !w.wal.endsWithMark {
		err := w.inMarkedTx(func() error { return nil })
		w.wal.endsWithMark = err == nil
	}
	return mode.logPages()
}

// withMark makes a change in a transaction of its own that has a mark.
func (w *writer) inMarkedTx(change func() error) error {
	if _, err := w.begin.run(); err != nil {
		return err
	}
	err := errors.Join(w.writeLogMark(), change())
	if err == nil {
		_, err = w.commit.run()
	}
	if err != nil {
		_, _ = w.rollback.run()
		return err
	}
	w.wal.mark++
	w.wal.mayRestart, w.wal.endsWithMark = false, false
	return nil
}

// pages runs a statement that looks at the log and returns how many pages are in it, and how many of them are folded in.
func (s *stmt) logPages() (all, checkpointed int64, err error) {
	row, err := s.row()
	if err != nil || len(row) < 3 {
		return 0, 0, err
	}
	all, _ = row[1].(int64)
	checkpointed, _ = row[2].(int64)
	return all, checkpointed, nil
}

// tidy does a step of what makes the files smaller while nothing is asked for: the log is emptied, and free pages are
// given back. It returns when to do the next one, 0 where there is nothing left.
func (w *writer) tidy() time.Duration {
	if w.wal.dirty {
		return w.truncateLog()
	}
	free, err := w.pagesToFree()
	if err == nil && free > 0 {
		err = w.inMarkedTx(func() error {
			_, err := w.vacuum.run()
			return err
		})
		if w.wal.dirty = true; err == nil {
			return tidyInterval
		}
	}
	if err != nil {
		w.log.Debug("free pages not given back", "error", err)
	}
	return 0
}

// emptyLog folds all of the log in and makes it a file of no length, unless somebody is reading from it.
func (w *writer) truncateLog() time.Duration {
	pages, _, err := w.walState.logPages()
	if err == nil && pages > 0 {
		if _, err = w.queryOnce("PRAGMA busy_timeout = 0"); err == nil {
			pages, _, err = w.checkpoint(w.checkpointTruncate)
			_, err1 := w.queryOnce("PRAGMA busy_timeout = " + strconv.Itoa(busyTimeout))
			err = errors.Join(err, err1)
		}
	}
	switch {
	case err != nil:
		w.log.Debug("write-ahead log not emptied", "error", err)
		return 0
	case pages > 0:
		return idleAfter
	}
	w.wal.mayRestart, w.wal.dirty = true, false
	return tidyInterval
}

// free returns how many free pages should be given back.
func (w *writer) pagesToFree() (int64, error) {
	free, err := w.scalar(w.freePages)
	if err != nil || free <= minFreePages {
		return 0, err
	}
	all, err := w.scalar(w.allPages)
	if err != nil || free <= all/minFreeShare {
		return 0, err
	}
	return free, nil
}

func (w *writer) scalar(s *stmt) (int64, error) {
	row, err := s.row()
	if err != nil || len(row) == 0 {
		return 0, err
	}
	n, _ := row[0].(int64)
	return n, nil
}

package sqlite

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"strconv"
	"time"
)

const (
	// checkpointAfter is how many pages the write-ahead log has when a checkpoint writes it into the database.
	checkpointAfter = 2000
	// The file is tidied after idleAfter without a job, in steps that are at least tidyInterval apart.
	idleAfter    = time.Second
	tidyInterval = 50 * time.Millisecond
	// tidyPages is how many pages one step frees. It is small, so that a job hardly has to wait for the step.
	tidyPages = 64
	// Free pages are given back if they are more than an eighth of the file and more than minFreePages.
	minFreeShare = 8
	minFreePages = 128
	// busyTimeout is how long SQLite waits for another connection, in milliseconds.
	busyTimeout = 5000
)

// walInfo is the writer's knowledge of the write-ahead log.
type walInfo struct {
	mark         uint32 // see logmarks.go
	mayRestart   bool   // all of the log is in the database, so the next transaction may overwrite it from its beginning
	endsWithMark bool   // the last transaction has a mark
	dirty        bool   // something was written since the file was tidied
}

// initLog reads the mark of the database.
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

// newLogMark returns a mark that no other database is likely to have.
func newLogMark() uint32 {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.BigEndian.Uint32(b[:]) | 1<<16
}

// writeLogMark writes the next mark in the open transaction.
func (w *writer) writeLogMark() error {
	_, err := w.queryOnce("PRAGMA user_version = " + strconv.Itoa(int(int32(w.wal.mark+1))))
	return err
}

// checkpointIfLong does a checkpoint if the log is long enough. It is called after the callers were answered.
func (w *writer) checkpointIfLong() {
	w.wal.dirty = true
	pages, checkpointed, err := w.walState.logPages()
	if err == nil && pages >= checkpointAfter {
		pages, checkpointed, err = w.checkpoint(w.checkpointPassive)
	}
	if err != nil {
		w.log.Warn("checkpoint failed", "error", err)
		return
	}
	w.wal.mayRestart = pages == checkpointed
}

// checkpoint writes a mark at the end of the log, and then the log into the database, except what readers still need in
// the log. On a full disk there is no room for the mark, and there will be none without the checkpoint, so an error of
// the mark is ignored.
func (w *writer) checkpoint(mode *stmt) (pages, checkpointed int64, err error) {
	if !w.wal.endsWithMark {
		err := w.inMarkedTx(func() error { return nil })
		w.wal.endsWithMark = err == nil
	}
	return mode.logPages()
}

// inMarkedTx makes a change in a transaction of its own with a mark.
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

// logPages runs a checkpoint statement. It returns how many pages the log has and how many of them are in the database.
func (s *stmt) logPages() (all, checkpointed int64, err error) {
	row, err := s.row()
	if err != nil || len(row) < 3 {
		return 0, 0, err
	}
	all, _ = row[1].(int64)
	checkpointed, _ = row[2].(int64)
	return all, checkpointed, nil
}

// tidy does one step of making the files smaller while no jobs wait: it truncates the log and then gives back free
// pages. It returns when to do the next step, or 0 if there is none.
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

// truncateLog does a complete checkpoint and truncates the log, unless a reader still needs it.
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
		w.log.Debug("write-ahead log not truncated", "error", err)
		return 0
	case pages > 0:
		return idleAfter
	}
	w.wal.mayRestart, w.wal.dirty = true, false
	return tidyInterval
}

// pagesToFree returns how many free pages should be given back.
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

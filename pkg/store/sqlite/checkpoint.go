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
	checkpointPages = 2000
	// restAfter is how long nothing is asked for before the file is tidied, and tidyRest the least time between two steps of that.
	restAfter = time.Second
	tidyRest  = 50 * time.Millisecond
	// tidyPages is how many pages a step of tidying gives back: few enough that what comes meanwhile hardly waits.
	tidyPages = 64
	// Free pages are given back where they are more than an eighth of the file, and more than leastFree.
	freeShare = 8
	leastFree = 128
	// busyTimeout is how long SQLite waits for another connection, in milliseconds.
	busyTimeout = 5000
)

// journal is what the writer knows of the write-ahead log.
type journal struct {
	mark   uint32 // see belongs.go
	fresh  bool   // all of the log is folded in: the next transaction may begin it anew
	marked bool   // the last transaction was a mark
	used   bool   // something was written since the file was tidied
}

// begin reads the mark of the database.
func (w *writer) beginLog() error {
	v, err := w.once("PRAGMA user_version")
	if err != nil {
		return err
	}
	mark, _ := v.(int64)
	w.journal = journal{mark: uint32(mark), fresh: true, used: true}
	if mark == 0 {
		w.journal.mark = newMark()
	}
	return nil
}

// newMark returns one that no other database is likely to have.
func newMark() uint32 {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.BigEndian.Uint32(b[:]) | 1<<16
}

// setMark puts the next mark into the transaction that is open.
func (w *writer) setMark() error {
	_, err := w.once("PRAGMA user_version = " + strconv.Itoa(int(int32(w.journal.mark+1))))
	return err
}

// tend folds the log into the database once it is long enough, after callers were answered.
func (w *writer) tend() {
	w.journal.used = true
	pages, folded, err := w.logState.pages()
	if err == nil && pages >= checkpointPages {
		pages, folded, err = w.foldLog(w.fold)
	}
	if err != nil {
		w.log.Warn("write-ahead log not folded in", "error", err)
		return
	}
	w.journal.fresh = pages == folded
}

// foldLog makes a mark the last thing in the log and folds in what readers do not need there any more. On a disk that is
// full there is no room for the mark, and there will be none unless the log is folded in.
func (w *writer) foldLog(how *stmt) (pages, folded int64, err error) {
	if !w.journal.marked {
		err := w.withMark(func() error { return nil })
		w.journal.marked = err == nil
	}
	return how.pages()
}

// withMark makes a change in a transaction of its own that has a mark.
func (w *writer) withMark(change func() error) error {
	if _, err := w.begin.run(); err != nil {
		return err
	}
	err := errors.Join(w.setMark(), change())
	if err == nil {
		_, err = w.end.run()
	}
	if err != nil {
		_, _ = w.rollback.run()
		return err
	}
	w.journal.mark++
	w.journal.fresh, w.journal.marked = false, false
	return nil
}

// pages runs a statement that looks at the log and returns how many pages are in it, and how many of them are folded in.
func (s *stmt) pages() (all, folded int64, err error) {
	row, err := s.row()
	if err != nil || len(row) < 3 {
		return 0, 0, err
	}
	all, _ = row[1].(int64)
	folded, _ = row[2].(int64)
	return all, folded, nil
}

// tidy does a step of what makes the files smaller while nothing is asked for: the log is emptied, and free pages are
// given back. It returns when to do the next one, 0 where there is nothing left.
func (w *writer) tidy() time.Duration {
	if w.journal.used {
		return w.emptyLog()
	}
	free, err := w.free()
	if err == nil && free > 0 {
		err = w.withMark(func() error {
			_, err := w.vacuum.run()
			return err
		})
		if w.journal.used = true; err == nil {
			return tidyRest
		}
	}
	if err != nil {
		w.log.Debug("free pages not given back", "error", err)
	}
	return 0
}

// emptyLog folds all of the log in and makes it a file of no length, unless somebody is reading from it.
func (w *writer) emptyLog() time.Duration {
	pages, _, err := w.logState.pages()
	if err == nil && pages > 0 {
		if _, err = w.once("PRAGMA busy_timeout = 0"); err == nil {
			pages, _, err = w.foldLog(w.empty)
			_, err1 := w.once("PRAGMA busy_timeout = " + strconv.Itoa(busyTimeout))
			err = errors.Join(err, err1)
		}
	}
	switch {
	case err != nil:
		w.log.Debug("write-ahead log not emptied", "error", err)
		return 0
	case pages > 0:
		return restAfter
	}
	w.journal.fresh, w.journal.used = true, false
	return tidyRest
}

// free returns how many free pages should be given back.
func (w *writer) free() (int64, error) {
	free, err := w.number(w.freePages)
	if err != nil || free <= leastFree {
		return 0, err
	}
	all, err := w.number(w.allPages)
	if err != nil || free <= all/freeShare {
		return 0, err
	}
	return free, nil
}

func (w *writer) number(s *stmt) (int64, error) {
	row, err := s.row()
	if err != nil || len(row) == 0 {
		return 0, err
	}
	n, _ := row[0].(int64)
	return n, nil
}

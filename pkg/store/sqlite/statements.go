package sqlite

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"strconv"
)

// statements are what the writer runs, prepared once.
type statements struct {
	begin, end, rollback                  *stmt
	logState, fold, empty                 *stmt
	freePages, allPages, vacuum           *stmt
	readPool, makePool, movePool          *stmt
	updateJob                             *stmt
	trim, settle, postpone                *stmt
	deleteJob, deleteMessage, deleteEvent *stmt
	findSpan, lastStep, loosenSpan        *stmt
	markPlace, markLog                    *stmt
	jobRows                               bulk
	messageRows, parcelRows               bulk
	events                                log
}

func (s *statements) prepare(c *conn) error {
	var errs error
	for _, p := range []struct {
		to    **stmt
		query string
	}{
		{&s.begin, "BEGIN IMMEDIATE"},
		{&s.end, "COMMIT"},
		{&s.rollback, "ROLLBACK"},
		{&s.logState, "PRAGMA wal_checkpoint(NOOP)"},
		{&s.fold, "PRAGMA wal_checkpoint(PASSIVE)"},
		{&s.empty, "PRAGMA wal_checkpoint(TRUNCATE)"},
		{&s.freePages, "PRAGMA freelist_count"},
		{&s.allPages, "PRAGMA page_count"},
		{&s.vacuum, "PRAGMA incremental_vacuum(" + strconv.Itoa(tidyPages) + ")"},
		{&s.readPool, readPool},
		{&s.makePool, makePool},
		{&s.movePool, movePool},
		{&s.updateJob, updateJob},
		{&s.trim, trimMailbox},
		{&s.settle, settleParcel},
		{&s.postpone, postponeParcel},
		{&s.deleteJob, deleteJob},
		{&s.deleteMessage, deleteMessage},
		{&s.deleteEvent, deleteEvent},
		{&s.findSpan, findSpan},
		{&s.lastStep, lastStep},
		{&s.loosenSpan, loosenSpan},
		{&s.markPlace, markPlace},
		{&s.markLog, markLog},
	} {
		st, err := c.prepare(p.query)
		errs = errors.Join(errs, err)
		*p.to = st
	}
	s.events = newLog()
	return errors.Join(errs,
		s.jobRows.prepare(c, insertJobs()),
		s.messageRows.prepare(c, insertMessages()),
		s.events.rows.prepare(c, insertEvents()), s.parcelRows.prepare(c, insertParcels()))
}

// close is for statements that were all prepared.
func (s *statements) close() {
	for _, st := range []*stmt{
		s.begin, s.end, s.rollback, s.logState, s.fold, s.empty, s.freePages, s.allPages, s.vacuum, s.readPool, s.makePool, s.movePool, s.updateJob, s.trim, s.settle, s.postpone,
		s.deleteJob, s.deleteMessage, s.deleteEvent, s.findSpan, s.lastStep, s.loosenSpan, s.markPlace, s.markLog,
	} {
		st.close()
	}
	for _, b := range []*bulk{&s.jobRows, &s.messageRows, &s.events.rows, &s.parcelRows} {
		b.close()
	}
}

// bytesOrNull keeps an absent value apart from an empty one.
func bytesOrNull(b []byte) driver.Value {
	if len(b) == 0 {
		return nil
	}
	return b
}

func intOrNull(n int64) driver.Value {
	if n == 0 {
		return nil
	}
	return n
}

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// exactly turns a change of no row into an error.
func exactly(changed int64, err error, what, pool, task string) error {
	if err == nil && changed != 1 {
		err = errors.New("there is no such task")
	}
	if err != nil {
		return fmt.Errorf("%s task %s of pool %s: %w", what, task, pool, err)
	}
	return nil
}

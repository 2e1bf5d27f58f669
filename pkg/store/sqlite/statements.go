package sqlite

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"strconv"
)

// statements are the writer's prepared statements.
type statements struct {
	begin, commit, rollback                         *stmt
	walState, checkpointPassive, checkpointTruncate *stmt
	freePages, allPages, vacuum                     *stmt
	readPool, insertPool, updatePool                *stmt
	updateJob                                       *stmt
	trimMailbox, deleteParcel, postponeParcel       *stmt
	deleteJob, deleteMessage, deleteEvent           *stmt
	findBlock, lastStep, splitBlock                 *stmt
	raiseMark, raiseLogMarks                        *stmt
	jobRows                                         inserter
	messageRows, parcelRows                         inserter
	events                                          eventLog
}

func (s *statements) prepare(c *conn) error {
	var errs error
	for _, p := range []struct {
		to    **stmt
		query string
	}{
		{&s.begin, "BEGIN IMMEDIATE"},
		{&s.commit, "COMMIT"},
		{&s.rollback, "ROLLBACK"},
		{&s.walState, "PRAGMA wal_checkpoint(NOOP)"},
		{&s.checkpointPassive, "PRAGMA wal_checkpoint(PASSIVE)"},
		{&s.checkpointTruncate, "PRAGMA wal_checkpoint(TRUNCATE)"},
		{&s.freePages, "PRAGMA freelist_count"},
		{&s.allPages, "PRAGMA page_count"},
		{&s.vacuum, "PRAGMA incremental_vacuum(" + strconv.Itoa(tidyPages) + ")"},
		{&s.readPool, readPool},
		{&s.insertPool, insertPool},
		{&s.updatePool, updatePool},
		{&s.updateJob, updateJob},
		{&s.trimMailbox, trimMailbox},
		{&s.deleteParcel, deleteParcel},
		{&s.postponeParcel, postponeParcel},
		{&s.deleteJob, deleteJob},
		{&s.deleteMessage, deleteMessage},
		{&s.deleteEvent, deleteEvent},
		{&s.findBlock, findBlock},
		{&s.lastStep, lastStep},
		{&s.splitBlock, splitBlock},
		{&s.raiseMark, raiseMark},
		{&s.raiseLogMarks, raiseLogMarks},
	} {
		st, err := c.prepare(p.query)
		errs = errors.Join(errs, err)
		*p.to = st
	}
	s.events = newEventLog()
	return errors.Join(errs,
		s.jobRows.prepare(c, insertJobs()),
		s.messageRows.prepare(c, insertMessages()),
		s.events.rows.prepare(c, insertEvents()), s.parcelRows.prepare(c, insertParcels()))
}

// close may be called only if all statements were prepared.
func (s *statements) close() {
	for _, st := range []*stmt{
		s.begin, s.commit, s.rollback, s.walState, s.checkpointPassive, s.checkpointTruncate, s.freePages, s.allPages, s.vacuum, s.readPool, s.insertPool, s.updatePool, s.updateJob, s.trimMailbox, s.deleteParcel, s.postponeParcel,
		s.deleteJob, s.deleteMessage, s.deleteEvent, s.findBlock, s.lastStep, s.splitBlock, s.raiseMark, s.raiseLogMarks,
	} {
		st.close()
	}
	for _, b := range []*inserter{&s.jobRows, &s.messageRows, &s.events.rows, &s.parcelRows} {
		b.close()
	}
}

// bytesOrNull returns nil for an empty value.
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

// exactlyOne returns an error if a statement changed no row.
func exactlyOne(changed int64, err error, verb, pool, task string) error {
	if err == nil && changed != 1 {
		err = errors.New("no such task")
	}
	if err != nil {
		return fmt.Errorf("%s task %s of pool %s: %w", verb, task, pool, err)
	}
	return nil
}

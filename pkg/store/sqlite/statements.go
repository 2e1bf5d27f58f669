package sqlite

import (
	"database/sql/driver"
	"errors"
	"fmt"
)

// statements are what the writer runs, prepared once.
type statements struct {
	begin, end, rollback            *stmt
	readPool, makePool, movePool    *stmt
	insertJob, updateJob, deleteJob *stmt
	insertMessage, deleteMessage    *stmt
	trim                            *stmt
	insertEvent, deleteEvent        *stmt
	insertParcel, settle, postpone  *stmt
	all                             []*stmt
}

func (s *statements) prepare(c *conn) error {
	var errs error
	for _, p := range []struct {
		to    **stmt
		query string
	}{
		{&s.begin, "BEGIN IMMEDIATE"}, {&s.end, "COMMIT"}, {&s.rollback, "ROLLBACK"},
		{&s.readPool, readPool}, {&s.makePool, makePool}, {&s.movePool, movePool},
		{&s.insertJob, insertJob}, {&s.updateJob, updateJob}, {&s.deleteJob, deleteJob},
		{&s.insertMessage, insertMessage}, {&s.deleteMessage, deleteMessage}, {&s.trim, trimMailbox},
		{&s.insertEvent, insertEvent}, {&s.deleteEvent, deleteEvent},
		{&s.insertParcel, insertParcel}, {&s.settle, settleParcel}, {&s.postpone, postponeParcel},
	} {
		st, err := c.prepare(p.query)
		errs = errors.Join(errs, err)
		*p.to = st
		s.all = append(s.all, st)
	}
	return errs
}

func (s *statements) close() {
	for _, st := range s.all {
		st.close()
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

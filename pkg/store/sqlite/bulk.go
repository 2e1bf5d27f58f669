package sqlite

import (
	"database/sql/driver"
	"errors"
	"strings"
)

// bulkRows is how many rows one statement inserts. To run a statement costs as much as to insert a row, so
// it is run for several where there are; more than this gain nothing.
const bulkRows = 16

// bulk inserts rows into one table.
type bulk struct {
	one, many *stmt
	args      []driver.Value
}

// insertion is the text of a bulk's statements: what they insert into and what they do about rows that are there. Any
// other fault takes the whole transaction back, which the writer does anyway: so SQLite need not note each page that a
// statement of several rows changes only to be able to take back that statement alone.
type insertion struct{ into, columns, conflict string }

func (i insertion) of(rows int) string {
	row := ",(?" + strings.Repeat(",?", strings.Count(i.columns, ",")) + ")"
	return "INSERT OR ROLLBACK INTO " + i.into + " (" + i.columns + ") VALUES " + strings.Repeat(row, rows)[1:] + i.conflict
}

func (b *bulk) prepare(c *conn, i insertion) (err1 error) {
	b.one, err1 = c.prepare(i.of(1))
	var err2 error
	b.many, err2 = c.prepare(i.of(bulkRows))
	return errors.Join(err1, err2)
}

// insert inserts n rows; row appends the values of the i-th to args and is called for each in turn.
func (b *bulk) insert(n int, row func(args []driver.Value, i int) []driver.Value) error {
	for at := 0; at < n; {
		s, rows := b.one, 1
		if n-at >= bulkRows {
			s, rows = b.many, bulkRows
		}
		b.args = b.args[:0]
		for range rows {
			b.args = row(b.args, at)
			at++
		}
		if _, err := s.run(b.args...); err != nil {
			return err
		}
	}
	return nil
}

func (b *bulk) close() {
	for _, s := range []*stmt{b.one, b.many} {
		if s != nil {
			s.close()
		}
	}
}

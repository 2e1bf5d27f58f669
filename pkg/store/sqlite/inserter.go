package sqlite

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
)

// bulkRows is how many rows one statement inserts. To run a statement costs as much as to insert a row, so
// it is run for several where there are; more than this gain nothing.
const insertRows = 16

// bulk inserts rows into one table.
type inserter struct {
	single, multi *stmt
	args          []driver.Value
}

// insertion is the text of a bulk's statements: what they insert into and what they do about rows that are there. Any
// other fault takes the whole transaction back, which the writer does anyway: so SQLite need not note each page that a
// statement of several rows changes only to be able to take back that statement alone.
type insertion struct {
	into string
	// shared are columns whose values are given once for all rows of a statement: to bind a value costs more than to copy it.
	shared   []sharedColumn
	columns  string // those with a value for each row
	conflict string
}

// shared is a column whose value grows by step from each row to the next.
type sharedColumn struct {
	name string
	step int
}

func (i insertion) sql(rows int) string {
	var b strings.Builder
	b.WriteString("INSERT OR ROLLBACK INTO " + i.into + " (")
	for _, c := range i.shared {
		b.WriteString(c.name + ", ")
	}
	b.WriteString(i.columns)
	b.WriteString(") VALUES ")
	for row := range rows {
		if row > 0 {
			b.WriteString(",")
		}
		i.values(&b, row)
	}
	return b.String() + i.conflict
}

func (i insertion) values(b *strings.Builder, row int) {
	b.WriteString("(")
	for k, c := range i.shared {
		fmt.Fprintf(b, "?%d", k+1)
		if c.step*row != 0 { // a sum would turn text into a number
			fmt.Fprintf(b, "%+d", c.step*row)
		}
		b.WriteString(",")
	}
	b.WriteString("?" + strings.Repeat(",?", strings.Count(i.columns, ",")))
	b.WriteString(")")
}

func (b *inserter) prepare(c *conn, i insertion) (err1 error) {
	b.single, err1 = c.prepare(i.sql(1))
	var err2 error
	b.multi, err2 = c.prepare(i.sql(insertRows))
	return errors.Join(err1, err2)
}

// values appends those of the i-th row to args.
type rowValues func(args []driver.Value, i int) []driver.Value

// insert inserts n rows. It calls row for each in turn, and before that head for the first one of each statement, if the
// insertion has shared columns.
func (b *inserter) insert(n int, head, row rowValues) error {
	for at := 0; at < n; {
		st, rows := b.single, 1
		if n-at >= insertRows {
			st, rows = b.multi, insertRows
		}
		b.args = b.args[:0]
		if head != nil {
			b.args = head(b.args, at)
		}
		for range rows {
			b.args = row(b.args, at)
			at++
		}
		if _, err := st.run(b.args...); err != nil {
			return err
		}
	}
	return nil
}

func (b *inserter) close() {
	for _, s := range []*stmt{b.single, b.multi} {
		if s != nil {
			s.close()
		}
	}
}

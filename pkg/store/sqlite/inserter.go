package sqlite

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
)

// insertRows is how many rows one statement inserts. Running a statement costs as much as inserting a row. A larger
// number gains nothing.
const insertRows = 16

// inserter inserts rows into one table.
type inserter struct {
	single, multi *stmt
	args          []driver.Value
}

// insertion has the parts of the statement that an inserter runs. An error rolls back the whole transaction (OR
// ROLLBACK), which the writer does anyway. So SQLite need not save the pages that a statement of several rows changes
// in order to undo that statement alone.
type insertion struct {
	into string
	// shared are columns whose values are bound once for all rows, since binding a value costs more than copying it.
	shared   []sharedColumn
	columns  string // one value in each row
	conflict string
}

// sharedColumn is a column whose value increases by step from row to row.
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
		if c.step*row != 0 { // only then, because a sum would turn a text into a number
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

// rowValues appends the values of the i-th row to args.
type rowValues func(args []driver.Value, i int) []driver.Value

// insert inserts n rows. It calls row for each row in order. If there are shared columns, it calls head for the first
// row of each statement.
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

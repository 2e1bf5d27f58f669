package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"

	"modernc.org/sqlite"
)

// conn is a connection without database/sql, which would take a third of the time of a small write. It is for one
// goroutine.
type conn struct{ driver.Conn }

// stmt is a prepared statement.
type stmt struct {
	exec  driver.StmtExecContext
	query driver.StmtQueryContext
	args  []driver.NamedValue
	dest  []driver.Value
}

func connect(ctx context.Context, dsn string) (*conn, error) {
	c, err := sqlite.NewConnector(dsn)
	if err != nil {
		return nil, err
	}
	dc, err := c.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &conn{dc}, nil
}

func (c *conn) prepare(query string) (*stmt, error) {
	ds, err := c.Prepare(query)
	if err != nil {
		return nil, fmt.Errorf("prepare %.60q: %w", query, err)
	}
	exec, canExec := ds.(driver.StmtExecContext)
	q, canQuery := ds.(driver.StmtQueryContext)
	if !canExec || !canQuery {
		return nil, errors.New("the driver cannot run prepared statements")
	}
	return &stmt{exec: exec, query: q}, nil
}

// run executes the statement and returns how many rows it changed. It is never interrupted, because SQLite would roll
// back the whole transaction of an interrupted statement.
func (s *stmt) run(args ...driver.Value) (int64, error) {
	r, err := s.exec.ExecContext(context.Background(), s.bind(args))
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// row returns the first row, or nil if there is none. The result is valid until the statement's next use.
func (s *stmt) row(args ...driver.Value) ([]driver.Value, error) {
	rows, err := s.query.QueryContext(context.Background(), s.bind(args))
	if err != nil {
		return nil, err
	}
	if s.dest == nil {
		s.dest = make([]driver.Value, len(rows.Columns()))
	}
	err = rows.Next(s.dest)
	if cerr := rows.Close(); err == nil {
		err = cerr
	}
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	return s.dest, err
}

func (s *stmt) bind(args []driver.Value) []driver.NamedValue {
	s.args = s.args[:0]
	for i, v := range args {
		s.args = append(s.args, driver.NamedValue{Ordinal: i + 1, Value: v})
	}
	return s.args
}

// queryOnce runs a statement that is not kept and returns the first value of its first row.
func (c *conn) queryOnce(query string) (driver.Value, error) {
	s, err := c.prepare(query)
	if err != nil {
		return nil, err
	}
	defer s.close()
	row, err := s.row()
	if err != nil || len(row) == 0 {
		return nil, err
	}
	return row[0], nil
}

func (s *stmt) close() {
	if c, ok := s.exec.(io.Closer); ok {
		_ = c.Close()
	}
}

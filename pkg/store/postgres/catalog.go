package postgres

import (
	"context"
	"regexp"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// In the code, statements name tables, types and functions without their schema. They are sent with the schema, so that
// other roles cannot change their meaning by creating objects in a schema that comes first in the search path.

// catalog has the schema and the types of parkd's objects in the server.
type catalog struct {
	schema    string            // quoted
	oid       map[string]uint32 // of the composite types
	qualified sync.Map          // statements with the schema, by their text in the code
}

var objectNames = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(^|[^\w.'"])(pl_[a-z_]+)`) })

// qualify returns a statement with the schema of parkd's objects.
func (n *catalog) qualify(statement string) string {
	if n == nil {
		return statement
	}
	if s, ok := n.qualified.Load(statement); ok {
		return s.(string)
	}
	s := objectNames().ReplaceAllString(statement, "${1}"+n.schema+".${2}")
	n.qualified.Store(statement, s)
	return s
}

// conns is a connection pool that qualifies its statements.
type conns struct {
	*pgxpool.Pool
	store *Store
}

func (c conns) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	return c.Pool.Exec(ctx, c.store.catalog.Load().qualify(sql), args...)
}

func (c conns) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return c.Pool.Query(ctx, c.store.catalog.Load().qualify(sql), args...)
}

func (c conns) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return c.Pool.QueryRow(ctx, c.store.catalog.Load().qualify(sql), args...)
}

package postgres

import (
	"context"
	"regexp"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Statements name tables, types and functions without their schema. They are sent with it, so that what they mean does
// not hang on who may create objects in another schema that the server would look at first.

// names are what the server calls the things of parkd.
type catalog struct {
	schema    string            // quoted
	oid       map[string]uint32 // of the composite types
	qualified sync.Map          // statements as they are sent, by how they are written
}

var objectNames = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(^|[^\w.'"])(pl_[a-z_]+)`) })

// sql returns a statement as it is sent.
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

// conns are connections of a store, to which statements are given as they are written.
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

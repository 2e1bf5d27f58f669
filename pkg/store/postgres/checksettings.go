package postgres

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgtype"
)

// The settings of every connection, whatever the settings of the role are. Steps depend on seeing what others have
// committed, and texts are UTF-8.
const (
	readCommitted = "read committed"
	encoding      = "UTF8"
)

// UnfitError says that parkd cannot use a database or the settings of its role.
type UnfitError struct{ Problem string }

// Error implements error.
func (e *UnfitError) Error() string { return e.Problem }

// checkSettings returns an *[UnfitError] if parkd cannot use a database.
func checkSettings(ctx context.Context, db *sql.DB) error {
	var enc, isolation string
	const read = "SELECT pg_catalog.current_setting('server_encoding'), pg_catalog.current_setting('default_transaction_isolation')"
	if err := db.QueryRowContext(ctx, read).Scan(&enc, &isolation); err != nil {
		return fmt.Errorf("read settings: %w", err)
	}
	if err := checkEncoding(enc); err != nil {
		return err
	}
	var schemas []string
	if err := db.QueryRowContext(ctx, readSchemas).Scan(pgtype.NewMap().SQLScanner(&schemas)); err != nil {
		return fmt.Errorf("look up schemas: %w", err)
	}
	if len(schemas) > 1 {
		return &UnfitError{"several schemas of the search path have tables of parkd, " + strings.Join(schemas, " and ") +
			": name the right one with search_path in the DSN"}
	}
	if isolation != readCommitted {
		return &UnfitError{"default_transaction_isolation must be 'read committed', not '" + isolation + "', and the pooler does not let connections" +
			" set it: ALTER ROLE … SET default_transaction_isolation = 'read committed'"}
	}
	return nil
}

// readSchemas returns the schemas of the search path that have parkd's tables. If another role has created a second
// one, the server may use its tables instead of parkd's.
const readSchemas = "SELECT pg_catalog.array_agg(n.nspname::text ORDER BY n.nspname) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n" +
	" ON n.oid = c.relnamespace WHERE c.relname = 'pl_migrations' AND n.nspname = ANY (pg_catalog.current_schemas(false))"

func checkEncoding(got string) error {
	if got != encoding {
		return &UnfitError{"the database's encoding must be UTF8, not " + got + ": make another with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"}
	}
	return nil
}

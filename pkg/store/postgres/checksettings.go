package postgres

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgtype"
)

// What every connection begins with, whatever the role's settings say: steps count on seeing what others have committed
// since, and text is what it is.
const (
	readCommitted = "read committed"
	encoding      = "UTF8"
)

// UnfitError says that a database, or the settings of its role, do not suit parkd.
type UnfitError struct{ Problem string }

// Error implements error.
func (e *UnfitError) Error() string { return e.Problem }

// fit returns an *[UnfitError] where parkd cannot work with a database as it is.
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
		return &UnfitError{"there are tables of parkd in several schemas that are looked at, " + strings.Join(schemas, " and ") +
			": name the right one with search_path in the DSN"}
	}
	if isolation != readCommitted {
		return &UnfitError{"default_transaction_isolation must be 'read committed', not '" + isolation + "', and the pooler does not let connections" +
			" set it: ALTER ROLE … SET default_transaction_isolation = 'read committed'"}
	}
	return nil
}

// readPlaces returns the schemas in which tables of parkd would be found. With a second one, made by whoever may make
// schemas, the server would take that one's for ours.
const readSchemas = "SELECT pg_catalog.array_agg(n.nspname::text ORDER BY n.nspname) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n" +
	" ON n.oid = c.relnamespace WHERE c.relname = 'pl_migrations' AND n.nspname = ANY (pg_catalog.current_schemas(false))"

func checkEncoding(got string) error {
	if got != encoding {
		return &UnfitError{"the database's encoding must be UTF8, not " + got + ": make another with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"}
	}
	return nil
}

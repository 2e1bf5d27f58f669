package postgres

import (
	"context"
	"database/sql"
	"fmt"
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
func fit(ctx context.Context, db *sql.DB) error {
	var enc, isolation string
	const read = "SELECT pg_catalog.current_setting('server_encoding'), pg_catalog.current_setting('default_transaction_isolation')"
	if err := db.QueryRowContext(ctx, read).Scan(&enc, &isolation); err != nil {
		return fmt.Errorf("read settings: %w", err)
	}
	if err := encoded(enc); err != nil {
		return err
	}
	if isolation != readCommitted {
		return &UnfitError{"default_transaction_isolation must be 'read committed', not '" + isolation + "', and the pooler does not let connections" +
			" set it: ALTER ROLE … SET default_transaction_isolation = 'read committed'"}
	}
	return nil
}

func encoded(enc string) error {
	if enc != encoding {
		return &UnfitError{"the database's encoding must be UTF8, not " + enc + ": make another with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"}
	}
	return nil
}

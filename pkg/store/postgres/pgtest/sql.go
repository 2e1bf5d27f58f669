package pgtest

import (
	"context"
	"fmt"
	"regexp"

	"github.com/jackc/pgx/v5"
)

// Exec runs statements on a connection of its own, for tests that inject faults.
func Exec(ctx context.Context, dsn string, statements ...string) error {
	c, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	for _, s := range statements {
		if _, err := c.Exec(ctx, s); err != nil {
			return fmt.Errorf("%.60s: %w", s, err)
		}
	}
	return nil
}

// Hold runs statements in a transaction that stays open, with its locks, until release is called.
func Hold(ctx context.Context, dsn string, statements ...string) (release func(), err error) {
	c, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	release = func() { _ = c.Close(context.WithoutCancel(ctx)) }
	for _, s := range append([]string{"BEGIN"}, statements...) {
		if _, err := c.Exec(ctx, s); err != nil {
			release()
			return nil, fmt.Errorf("%.60s: %w", s, err)
		}
	}
	return release, nil
}

// QueryInt returns the only value of the only row of a query.
func QueryInt(ctx context.Context, dsn, query string) (n int64, err error) {
	c, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return 0, fmt.Errorf("connect: %w", err)
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	if err := c.QueryRow(ctx, query).Scan(&n); err != nil {
		return 0, fmt.Errorf("%.60s: %w", query, err)
	}
	return n, nil
}

// WithSocketDir returns a DSN of a server on a unix socket with another folder for the socket.
func WithSocketDir(dsn, dir string) string {
	return regexp.MustCompile(`host=\S+`).ReplaceAllLiteralString(dsn, "host="+dir)
}

// SocketPath returns the path of the socket in a folder that a DSN names.
func SocketPath(dir string) string { return dir + "/.s.PGSQL.5432" }

package migrations

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
)

// InUseError says that daemons use a database. Nothing was changed.
type InUseError struct {
	Nodes    []string // nodes with a recent heartbeat, and its age
	Sessions []string // the connections of daemons
}

// Error implements error.
func (e *InUseError) Error() string {
	var found []string
	if len(e.Nodes) > 0 {
		found = append(found, "live nodes: "+strings.Join(e.Nodes, ", "))
	}
	if len(e.Sessions) > 0 {
		found = append(found, "connected daemons: "+strings.Join(e.Sessions, ", "))
	}
	return "the database is in use (" + strings.Join(found, "; ") + "): stop all daemons first; nothing was changed"
}

const (
	// A killed node is live for as long as the other nodes would wait for it. Nodes of the first version do not store
	// how long that is, and the columns may not exist.
	readLiveNodes = `SELECT node_id || ' (last sign of life ' || pg_catalog.floor(extract(epoch FROM age)) || ' s ago)' FROM (
	SELECT node_id, pg_catalog.clock_timestamp() - beat_at AS age, coalesce((pg_catalog.to_jsonb(n) ->> 'ttl')::bigint, 0) AS ttl,
		coalesce((pg_catalog.to_jsonb(n) ->> 'grace')::bigint, 0) AS grace FROM pl_nodes n WHERE NOT dead) l
WHERE age < CASE WHEN ttl > 0 THEN (ttl + grace) / 1000 * interval '1 microsecond' ELSE interval '1 minute' END ORDER BY node_id`
	// Daemons that keep only mailboxes or a log here have no heartbeats. All roles can see the connections, but only
	// some can see the addresses.
	readSessions = `SELECT 'process ' || pid || coalesce(' from ' || pg_catalog.host(client_addr), '') FROM pg_catalog.pg_stat_activity
WHERE datname = pg_catalog.current_database() AND application_name = ANY (pg_catalog.string_to_array($1, E'\n')) AND pid <> pg_catalog.pg_backend_pid() ORDER BY pid`
	// A daemon that starts now waits, and then finds the other schema, because it reads the schema's version first.
	lockOut = "SET LOCAL lock_timeout = '5s'; LOCK TABLE " + table + ", pl_nodes IN ACCESS EXCLUSIVE MODE; SELECT pg_catalog.pg_stat_clear_snapshot()"
)

// ensureUnused returns an *[InUseError] if daemons use the database, and keeps others out until the transaction ends.
// For a file the file's lock does that.
func (s *Schema) ensureUnused(ctx context.Context, tx *sql.Tx, names []string) error {
	if s.dialect != Postgres {
		return nil
	}
	// Check before taking the lock, so that live nodes do not have to wait for it.
	if err := s.waitUntilUnused(ctx, tx, names); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, lockOut); err != nil {
		return fmt.Errorf("lock out other nodes: %w", err)
	}
	return s.checkUnused(ctx, tx, names)
}

// sessionGrace is how long connections may remain after their daemon has ended, because the server notices that later.
const sessionGrace = 2 * time.Second

// waitUntilUnused returns an *[InUseError] if live nodes or connections remain.
func (s *Schema) waitUntilUnused(ctx context.Context, tx *sql.Tx, names []string) error {
	for began := time.Now(); ; {
		err := s.checkUnused(ctx, tx, names)
		if e, ok := errors.AsType[*InUseError](err); !ok || len(e.Nodes) > 0 || time.Since(began) > sessionGrace {
			return err
		}
		select {
		case <-time.After(lockRetryInterval):
		case <-ctx.Done():
			return ctx.Err()
		}
		if _, err := tx.ExecContext(ctx, "SELECT pg_catalog.pg_stat_clear_snapshot()"); err != nil {
			return err
		}
	}
}

func (s *Schema) checkUnused(ctx context.Context, tx *sql.Tx, names []string) error {
	var e InUseError
	var err error
	if e.Nodes, err = queryStrings(ctx, tx, readLiveNodes); err != nil {
		return fmt.Errorf("look for live nodes: %w", err)
	}
	if e.Sessions, err = queryStrings(ctx, tx, readSessions, strings.Join(names, "\n")); err != nil {
		return fmt.Errorf("look for daemons: %w", err)
	}
	if len(e.Nodes)+len(e.Sessions) > 0 {
		return &e
	}
	return nil
}

func queryStrings(ctx context.Context, tx *sql.Tx, query string, args ...any) (all []string, err error) {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, rows.Err()
}

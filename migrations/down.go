package migrations

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

// DownOptions say how to roll a migration back.
type DownOptions struct {
	// DryRun changes nothing. It only finds out what would be done and whether it would be refused.
	DryRun bool
	// Force rolls back even if rows are deleted, but not while daemons use the database.
	Force bool
	// AppNames are the application names by which connections of daemons to Postgres are recognized.
	AppNames []string
}

// RolledBack is a migration that was rolled back.
type RolledBack struct {
	Migration
	Deleted []DeletedRows // the rows that were deleted
}

// DeletedRows is how many rows of a table are deleted.
type DeletedRows struct {
	Table string
	Rows  int64
}

// DataLossError says that rolling back a migration would delete rows. Nothing was changed.
type DataLossError struct {
	Migration
	Deleted []DeletedRows
}

// Error implements error.
func (e *DataLossError) Error() string {
	return fmt.Sprintf("rolling back %s would delete %s; nothing was changed", e.Name, DescribeDeleted(e.Deleted))
}

// DescribeDeleted describes deleted rows in words.
func DescribeDeleted(deleted []DeletedRows) string {
	words := make([]string, len(deleted))
	for i, g := range deleted {
		unit := " rows of "
		if g.Rows == 1 {
			unit = " row of "
		}
		words[i] = strconv.FormatInt(g.Rows, 10) + unit + g.Table
	}
	if last := len(words) - 1; last > 0 {
		return strings.Join(words[:last], ", ") + " and " + words[last]
	}
	return strings.Join(words, "")
}

// dataTables are the tables with data. The others follow from them or from live nodes.
func dataTables() []string {
	return []string{"pl_pools", "pl_queue_jobs", "pl_mailbox_messages", "pl_audit_events", "pl_outbox", "pl_leases"}
}

// Down rolls the last migration back, with the data that only that migration has room for. It returns the migration, or
// nil for an empty database. The error is an *[InUseError] if daemons use the database, a *[DataLossError] if rows
// would be deleted without Force, and a *[MismatchError] if the database is ahead.
//
// Everything is done in one transaction. DryRun does the same and then rolls the transaction back, so it reports what
// would really be deleted.
func (s *Schema) Down(ctx context.Context, b DownOptions) (rolledBack *RolledBack, err error) {
	err = s.inExclusiveTx(ctx, func(tx *sql.Tx) error {
		last, err := s.last(ctx, tx)
		if err != nil || last == nil {
			return err
		}
		if err := s.ensureUnused(ctx, tx, b.AppNames); err != nil {
			return err
		}
		deleted, err := s.rollBack(ctx, tx, last)
		if err != nil {
			return err
		}
		if len(deleted) > 0 && !b.Force {
			return &DataLossError{*last, deleted}
		}
		rolledBack = &RolledBack{*last, deleted}
		if b.DryRun {
			return nil
		}
		return tx.Commit()
	})
	if err != nil {
		return nil, fmt.Errorf("migrate down: %w", err)
	}
	return rolledBack, nil
}

// inExclusiveTx calls change with a transaction, while no other process migrates the database.
func (s *Schema) inExclusiveTx(ctx context.Context, change func(*sql.Tx) error) error {
	tx, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // no effect after a commit
	return change(tx)
}

func (s *Schema) begin(ctx context.Context) (*sql.Tx, error) {
	if s.dialect == Postgres {
		return s.waitForLock(ctx)
	}
	return s.db.BeginTx(ctx, nil)
}

// last returns the migration that would be rolled back, or nil if there is none.
func (s *Schema) last(ctx context.Context, tx *sql.Tx) (*Migration, error) {
	applied, err := s.applied(ctx, tx)
	if err != nil || len(applied) == 0 {
		return nil, err
	}
	m := applied[len(applied)-1]
	for _, src := range s.provider.ListSources() {
		if src.Version == m.Version {
			m.Name = src.Path
			return &m, nil
		}
	}
	return nil, &MismatchError{Found: m.Version, Needed: s.Needed(), Flags: s.Flags}
}

// rollBack rolls a migration back and returns the deleted rows.
func (s *Schema) rollBack(ctx context.Context, tx *sql.Tx, m *Migration) (deleted []DeletedRows, err error) {
	file, err := fs.ReadFile(files, string(s.dialect)+"/"+m.Name)
	if err != nil {
		return nil, err
	}
	_, down, found := strings.Cut(string(file), "-- +goose Down\n")
	if !found {
		return nil, errors.New(m.Name + " cannot be rolled back")
	}
	before, err := s.count(ctx, tx)
	if err != nil {
		return nil, err
	}
	if _, err := tx.ExecContext(ctx, down); err != nil {
		return nil, fmt.Errorf("%s: %w", m.Name, err)
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("DELETE FROM %s WHERE version_id = %d", table, m.Version)); err != nil {
		return nil, err
	}
	after, err := s.count(ctx, tx)
	if err != nil {
		return nil, err
	}
	for _, t := range dataTables() {
		if n := before[t] - after[t]; n > 0 {
			deleted = append(deleted, DeletedRows{t, n})
		}
	}
	return deleted, nil
}

// count returns how many rows each table has. A table that does not exist has none.
func (s *Schema) count(ctx context.Context, tx *sql.Tx) (map[string]int64, error) {
	rows := make(map[string]int64)
	for _, t := range dataTables() {
		exists, err := s.exists(ctx, tx, t)
		if err != nil {
			return nil, err
		}
		if !exists {
			continue
		}
		var n int64
		if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM "+t).Scan(&n); err != nil {
			return nil, fmt.Errorf("count rows of %s: %w", t, err)
		}
		rows[t] = n
	}
	return rows, nil
}

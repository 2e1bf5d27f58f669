package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// Pages of the stored tasks and messages, for verification.

// The values of a page, without the last one (a result or a payload), and its rows.
const (
	taskValues = "seq, task_id, tenant, mailbox_key, status, priority, units, rank, attempt, strikes, max_attempts, node, reason," +
		" coalesce(deadline, 0), submitted_at, started_at, ended_at, not_before, cancelled, message"
	taskPage      = " FROM pl_queue_jobs INDEXED BY pl_queue_jobs_pool WHERE pool_id = ? AND seq < ? ORDER BY seq DESC LIMIT ?"
	messageValues = "seq, task_id, tenant, mailbox_key, status, attempt, reason, created_at, trimmed, message"
	messagePage   = " FROM pl_mailbox_messages NOT INDEXED WHERE seq > ? AND pool_id = ? ORDER BY seq LIMIT ?"
)

const (
	keptTasks    = "SELECT " + taskValues + ", result" + taskPage
	keptMessages = "SELECT " + messageValues + ", payload" + messagePage
	// In a file that was created by this release all migrations have the same time.
	marksOf = "SELECT place, rev, before_at, guess FROM pl_marks WHERE pool_id IN ('', ?) UNION ALL" +
		" SELECT 'schema', 0, 1000000 * unixepoch(told.tstamp, '+1 second'), 0 FROM pl_migrations told, pl_migrations made" +
		" WHERE told.version_id = 3 AND made.version_id = 1 AND unixepoch(told.tstamp) > unixepoch(made.tstamp, '+2 seconds')"
)

// Row implements [store.Evidence].
func (s *Store) Row(ctx context.Context, pool string) (ledger.Pool, error) {
	r, err := scanPool(s.db.QueryRowContext(ctx, readPool, pool))
	if err != nil {
		return ledger.Pool{}, fmt.Errorf("read pool %s: %w", pool, err)
	}
	return r, nil
}

// scanPool returns the zero row if there is none.
func scanPool(row *sql.Row) (r ledger.Pool, err error) {
	var at int64
	err = row.Scan(&r.Rev, &r.MaxUnits, &r.MaxQueueDepth, (*string)(&r.State), &r.Used, &r.Queued, &at, &r.ConfiguredUnits,
		&r.ConfiguredDepth, &r.LastStep)
	if errors.Is(err, sql.ErrNoRows) {
		return ledger.Pool{}, nil
	}
	r.LastAt = park.FromMicro(at)
	return r, err
}

// KeptTasks implements [store.Evidence].
func (s *Store) KeptTasks(ctx context.Context, pool, after string, limit int) ([]park.KeptTask, string, error) {
	below, err := parseCursor(after, 1<<62)
	if err != nil {
		return nil, "", err
	}
	if limit >= minPackedRows {
		if page, next, err := s.packedTasks(ctx, pool, below, limit); !errors.Is(err, errPacked) {
			return page, next, annotate(err, "read the tasks of pool "+pool)
		}
	}
	rows, err := s.db.QueryContext(ctx, keptTasks, pool, below, limit)
	if err != nil {
		return nil, "", fmt.Errorf("read the tasks of pool %s: %w", pool, err)
	}
	defer rows.Close()
	page := make([]park.KeptTask, 0, limit)
	var k park.KeptTask
	var deadline, submitted, started, ended, rested int64
	var message, result sql.RawBytes
	for rows.Next() {
		err := rows.Scan(&below, &k.TaskID, &k.Tenant, &k.MailboxKey, (*string)(&k.Status), &k.Priority, &k.Units, &k.Rank, &k.Attempt, &k.Strikes,
			&k.MaxAttempts, &k.Node, &k.Reason, &deadline, &submitted, &started, &ended, &rested, &k.Cancelled, &message, &result)
		if err != nil {
			return nil, "", fmt.Errorf("read the tasks of pool %s: %w", pool, err)
		}
		k.Deadline, k.SubmittedAt, k.StartedAt, k.EndedAt = park.FromMicro(deadline), park.FromMicro(submitted), park.FromMicro(started), park.FromMicro(ended)
		k.NotBefore, k.Said = park.FromMicro(rested), ledger.OutcomeDigest(string(message), result)
		page = append(page, k)
	}
	return page, nextCursor(len(page) == limit, below), rows.Err()
}

// KeptMessages implements [store.Evidence].
func (s *Store) KeptMessages(ctx context.Context, pool, after string, limit int) ([]park.KeptMessage, string, error) {
	seq, err := parseCursor(after, 0)
	if err != nil {
		return nil, "", err
	}
	if limit >= minPackedRows {
		if page, next, err := s.packedMessages(ctx, pool, seq, limit); !errors.Is(err, errPacked) {
			return page, next, annotate(err, "read the messages of pool "+pool)
		}
	}
	rows, err := s.db.QueryContext(ctx, keptMessages, seq, pool, limit)
	if err != nil {
		return nil, "", fmt.Errorf("read the messages of pool %s: %w", pool, err)
	}
	defer rows.Close()
	page := make([]park.KeptMessage, 0, limit)
	var k park.KeptMessage
	var created int64
	var message, payload sql.RawBytes
	for rows.Next() {
		err := rows.Scan(&seq, &k.TaskID, &k.Tenant, &k.MailboxKey, (*string)(&k.Status), &k.Attempt, &k.Reason, &created, &k.Trimmed, &message, &payload)
		if err != nil {
			return nil, "", fmt.Errorf("read the messages of pool %s: %w", pool, err)
		}
		k.CreatedAt, k.Said = park.FromMicro(created), ledger.OutcomeDigest(string(message), payload)
		page = append(page, k)
	}
	return page, nextCursor(len(page) == limit, seq), rows.Err()
}

func annotate(err error, doing string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// nextCursor returns the cursor after a row, or "" if there are no more rows.
func nextCursor(more bool, seq int64) string {
	if !more {
		return ""
	}
	return strconv.FormatInt(seq, 10)
}

// Marks implements [store.Evidence].
func (s *Store) Marks(ctx context.Context, pool string) (m store.Marks, err error) {
	rows, err := s.db.QueryContext(ctx, marksOf, pool)
	if err != nil {
		return m, fmt.Errorf("read marks: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var place string
		var before int64
		var k park.Mark
		if err := rows.Scan(&place, &k.Rev, &before, &k.Guess); err != nil {
			return m, fmt.Errorf("read marks: %w", err)
		}
		k.Before = park.FromMicro(before)
		m.Set(place, k)
	}
	return m, rows.Err()
}

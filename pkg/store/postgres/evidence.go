package postgres

import (
	"context"
	"fmt"
	"math"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// Pages of the stored tasks and messages, for verification.

// In a database that was created by this release all migrations have the same time.
const marksOf = "SELECT place, rev, before_at, guess FROM pl_marks WHERE pool_id IN ('', $1) UNION ALL" +
	" SELECT 'schema', 0, (1000000 * extract(epoch FROM told.tstamp::timestamptz))::bigint, false FROM pl_migrations told, pl_migrations made" +
	" WHERE told.version_id = 7 AND made.version_id = 1 AND told.tstamp > made.tstamp + interval '2 seconds'"

// The server sends a digest of each result and payload, since reading all of them would take long.
const (
	keptTasks = "SELECT seq, task_id, tenant, mailbox_key, status, priority, units, rank, attempt, strikes, max_attempts, node, reason," +
		" deadline, submitted_at, started_at, ended_at, not_before, cancelled, message, sha256(coalesce(result, '')), result IS NULL" +
		" FROM pl_queue_jobs WHERE pool_id = $1 AND seq < $2 ORDER BY seq DESC LIMIT $3"
	keptMessages = "SELECT seq, task_id, tenant, mailbox_key, status, attempt, reason, created_at, trimmed, message," +
		" sha256(coalesce(payload, '')), payload IS NULL FROM pl_mailbox_messages WHERE seq > $1 AND pool_id = $2 ORDER BY seq LIMIT $3"
)

// Row implements [store.Evidence].
func (s *Store) Row(ctx context.Context, pool string) (r ledger.Pool, err error) {
	err = s.withRetry(ctx, func(ctx context.Context) error {
		r, err = scanPool(s.pool.QueryRow(ctx, readPool, pool))
		return err
	})
	if err != nil {
		return ledger.Pool{}, fmt.Errorf("read pool %s: %w", pool, err)
	}
	return r, nil
}

// KeptTasks implements [store.Evidence].
func (s *Store) KeptTasks(ctx context.Context, pool, after string, limit int) (page []park.KeptTask, next string, err error) {
	below, err := parseCursor(after, math.MaxInt64)
	if err != nil {
		return nil, "", err
	}
	var last int64
	err = s.withRetry(ctx, func(ctx context.Context) error {
		page = make([]park.KeptTask, 0, limit)
		rows, err := s.pool.Query(ctx, keptTasks, pool, below, limit)
		if err != nil {
			return err
		}
		var k park.KeptTask
		var deadline, submitted, started, ended, rested int64
		var message string
		var sum []byte
		var isNull bool
		_, err = pgx.ForEachRow(rows, []any{
			&last, &k.TaskID, &k.Tenant, &k.MailboxKey, (*string)(&k.Status), (*int8)(&k.Priority), &k.Units, &k.Rank, &k.Attempt, &k.Strikes, &k.MaxAttempts,
			&k.Node, &k.Reason, &deadline, &submitted, &started, &ended, &rested, &k.Cancelled, &message, &sum, &isNull,
		}, func() error {
			k.Deadline, k.SubmittedAt, k.StartedAt, k.EndedAt = park.FromMicro(deadline), park.FromMicro(submitted), park.FromMicro(started), park.FromMicro(ended)
			k.NotBefore, k.Said = park.FromMicro(rested), outcomeDigest(message, sum, isNull)
			page = append(page, k)
			return nil
		})
		return err
	})
	if err != nil {
		return nil, "", fmt.Errorf("read the tasks of pool %s: %w", pool, err)
	}
	return page, nextCursor(len(page) == limit, last), nil
}

// KeptMessages implements [store.Evidence].
func (s *Store) KeptMessages(ctx context.Context, pool, after string, limit int) (page []park.KeptMessage, next string, err error) {
	from, err := parseCursor(after, 0)
	if err != nil {
		return nil, "", err
	}
	var last int64
	err = s.withRetry(ctx, func(ctx context.Context) error {
		page = make([]park.KeptMessage, 0, limit)
		rows, err := s.pool.Query(ctx, keptMessages, from, pool, limit)
		if err != nil {
			return err
		}
		var k park.KeptMessage
		var created int64
		var message string
		var sum []byte
		var isNull bool
		_, err = pgx.ForEachRow(rows, []any{
			&last, &k.TaskID, &k.Tenant, &k.MailboxKey, (*string)(&k.Status), &k.Attempt, &k.Reason, &created, &k.Trimmed, &message, &sum, &isNull,
		}, func() error {
			k.CreatedAt, k.Said = park.FromMicro(created), outcomeDigest(message, sum, isNull)
			page = append(page, k)
			return nil
		})
		return err
	})
	if err != nil {
		return nil, "", fmt.Errorf("read the messages of pool %s: %w", pool, err)
	}
	return page, nextCursor(len(page) == limit, last), nil
}

func outcomeDigest(message string, sum []byte, isNull bool) uint64 {
	if message == "" && isNull {
		return 0
	}
	return ledger.OutcomeDigestFromSum(message, sum)
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
	err = s.withRetry(ctx, func(ctx context.Context) error {
		rows, err := s.pool.Query(ctx, marksOf, pool)
		if err != nil {
			return err
		}
		var place string
		var before int64
		var k park.Mark
		_, err = pgx.ForEachRow(rows, []any{&place, &k.Rev, &before, &k.Guess}, func() error {
			k.Before = park.FromMicro(before)
			m.Set(place, k)
			return nil
		})
		return err
	})
	if err != nil {
		return store.Marks{}, fmt.Errorf("read marks: %w", err)
	}
	return m, nil
}

package postgres

import (
	"context"
	"fmt"
	"strconv"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/parkd-dev/parkd/pkg/park"
)

// Each query counts the rows that it found and not those that it removed. If two calls find the same rows, only one
// removes them, and there may be more.
const (
	// A chunk of a pool's tasks in the order of their submission. A task that was submitted lately cannot have ended
	// long ago.
	pruneTasks = "WITH stretch AS MATERIALIZED (SELECT ctid AS place, seq, submitted_at, ended_at, status FROM pl_queue_jobs" +
		" WHERE pool_id = $1 AND seq > $2 ORDER BY seq LIMIT $3)," +
		" old AS MATERIALIZED (SELECT place, seq FROM stretch WHERE ended_at < $4" +
		" AND status NOT IN ('queued', 'running') ORDER BY seq LIMIT $5)," +
		" gone AS (DELETE FROM pl_queue_jobs WHERE ctid = ANY (ARRAY(SELECT place FROM old)))," +
		" noted AS (INSERT INTO pl_marks SELECT 'tasks', '', 0, $4, false WHERE EXISTS (SELECT FROM old)" + raiseMark + ")" +
		" SELECT (SELECT count(*) FROM old), coalesce((SELECT max(seq) FROM old), 0), coalesce(max(seq), 0)," +
		" count(*) < $3 OR max(submitted_at) >= $4 FROM stretch"
	readPools = "SELECT pool_id FROM pl_pools"
	// Marks never decrease.
	raiseMark = " ON CONFLICT (place, pool_id) DO UPDATE SET before_at = excluded.before_at, guess = false WHERE pl_marks.before_at < excluded.before_at"
)

var (
	// The first message of a block is removed last, so that no other is left without it.
	pruneMessages = "WITH old AS MATERIALIZED (SELECT m.seq FROM" +
		" (SELECT seq AS s FROM pl_mailbox_messages WHERE lead AND created_at < $1" +
		" ORDER BY created_at LIMIT $2) AS l, LATERAL (SELECT seq FROM pl_mailbox_messages" +
		" WHERE seq BETWEEN l.s AND l.s + " + strconv.Itoa(blockSize-1) + " AND (seq = l.s OR NOT lead) ORDER BY seq DESC OFFSET 0) AS m LIMIT $2)," +
		" gone AS (DELETE FROM pl_mailbox_messages WHERE seq = ANY (ARRAY(SELECT seq FROM old)))," +
		" noted AS (INSERT INTO pl_marks SELECT 'messages', '', 0, $1, false WHERE EXISTS (SELECT FROM old)" + raiseMark + ") SELECT count(*) FROM old"
	// Old events are in segments that begin early enough, or after the last segment. A block is removed from its end,
	// so that no event is left without its lead.
	pruneEvents = "WITH old AS MATERIALIZED (SELECT place, pool_id, rev, at FROM" +
		" (SELECT first_seq, last_seq FROM pl_audit_segments WHERE min_at < $1 UNION ALL" +
		" SELECT coalesce(max(last_seq), 0) + 1, 9223372036854775807 FROM pl_audit_segments) g, LATERAL (SELECT place, pool_id, rev, at FROM (" +
		selectLeads + isLead(leadBlock) + " AND seq BETWEEN g.first_seq AND g.last_seq AND at < $1) AS l, " +
		selectFollowers(leadBlock, "ctid AS place, ord, pool_id, rev, at", "", "OFFSET 0") + " ORDER BY s, ord DESC LIMIT $2) AS e LIMIT $2)," +
		" gone AS (DELETE FROM pl_audit_events WHERE ctid = ANY (ARRAY(SELECT place FROM old)))," +
		" noted AS (INSERT INTO pl_marks SELECT 'events', pool_id, max(rev), max(at) + 1, false FROM old GROUP BY pool_id ORDER BY pool_id" +
		" ON CONFLICT (place, pool_id) DO UPDATE SET rev = excluded.rev, before_at = greatest(pl_marks.before_at, excluded.before_at), guess = false" +
		" WHERE pl_marks.rev < excluded.rev) SELECT count(*) FROM old"
	// A segment without its old events begins later. A segment without events is removed.
	trimSegments = "WITH old AS (SELECT first_seq, last_seq FROM pl_audit_segments WHERE min_at < $1 FOR UPDATE SKIP LOCKED)," +
		" now AS (SELECT first_seq, min(l.at) AS min_at FROM old LEFT JOIN pl_audit_events l ON " + isLead(leadBlock) +
		" AND l.seq BETWEEN first_seq AND last_seq GROUP BY first_seq)," +
		" gone AS (DELETE FROM pl_audit_segments s USING now WHERE s.first_seq = now.first_seq AND now.min_at IS NULL)" +
		" UPDATE pl_audit_segments s SET min_at = now.min_at FROM now WHERE s.first_seq = now.first_seq AND now.min_at IS NOT NULL"
	// A segment has whole blocks of final events. Fewer than segmentSize events do not make a segment yet.
	addSegment = "WITH next AS (SELECT s, seq, t FROM (" + selectLeads + isLead(leadBlock) + " AND seq < (SELECT pl_final()) AND seq >" +
		" (SELECT coalesce(max(last_seq), 0) FROM pl_audit_segments)) AS l, " + selectFollowers(leadBlock, "seq, ord", "", "OFFSET 0") +
		" ORDER BY s, ord LIMIT $1)," +
		" whole AS (SELECT max(s) AS cut, count(*) AS n FROM next)" +
		" INSERT INTO pl_audit_segments SELECT min(seq), max(seq), min(t), max(t) FROM next, whole" +
		" WHERE s < cut AND n = $1 HAVING count(*) > 0 ON CONFLICT DO NOTHING"
)

// segmentSize is how many events a segment has, roughly.
const segmentSize = 10_000

// PruneTasks implements [store.Queue]. It goes through each pool's tasks from where it last stopped. Before it returns
// that none is left, it goes through them from the first one.
func (s *Store) PruneTasks(ctx context.Context, before park.Time, limit int) (n int, err error) {
	var pools []string
	err = s.withRetry(ctx, func(ctx context.Context) error {
		rows, err := s.pool.Query(ctx, readPools)
		if err != nil {
			return err
		}
		pools, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	for _, pool := range pools {
		start := s.pruneCursors.get(pool)
		for from := start; err == nil && n < limit; {
			var more int
			var end bool
			if more, from, end, err = s.pruneTaskChunk(ctx, pool, from, before, limit-n); err != nil {
				break
			}
			n += more
			s.pruneCursors.set(pool, from)
			if end && start == 0 {
				break
			}
			if end {
				start, from = 0, 0
			}
		}
	}
	if err != nil {
		return n, fmt.Errorf("prune tasks: %w", err)
	}
	return n, nil
}

// pruneTaskChunk prunes tasks after a seq. It returns the last seq that it read, and whether no later task can be old.
func (s *Store) pruneTaskChunk(ctx context.Context, pool string, from int64, before park.Time, limit int) (n int, to int64, end bool, err error) {
	err = s.withRetry(ctx, func(ctx context.Context) error {
		var last, seen int64
		err := s.pool.QueryRow(ctx, pruneTasks, pool, from, pruneChunk, before.Micro(), limit).Scan(&n, &last, &seen, &end)
		if to = seen; n == limit {
			to, end = last, false
		}
		return err
	})
	if end {
		to = 0
	}
	return n, to, end, err
}

// pruneChunk is how many tasks are read at once.
const pruneChunk = 1000

// pruneCursors are the seqs at which the last search for old tasks stopped, by pool.
type pruneCursors struct {
	mu  sync.Mutex
	seq map[string]int64
}

func (s *pruneCursors) get(pool string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seq[pool]
}

func (s *pruneCursors) set(pool string, seq int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seq == nil {
		s.seq = make(map[string]int64)
	}
	s.seq[pool] = seq
}

// PruneMessages implements [store.Mailbox].
func (s *Store) PruneMessages(ctx context.Context, before park.Time, limit int) (int, error) {
	return s.prune(ctx, "messages", pruneMessages, before, limit)
}

// PruneEvents implements [store.Audit]. It also adds and trims the segments by which events are found by time.
func (s *Store) PruneEvents(ctx context.Context, before park.Time, limit int) (int, error) {
	if err := s.addSegments(ctx); err != nil {
		return 0, fmt.Errorf("add segments: %w", err)
	}
	n, err := s.prune(ctx, "events", pruneEvents, before, limit)
	if err != nil || n == limit {
		return n, err
	}
	err = s.withRetry(ctx, func(ctx context.Context) error {
		_, err := s.pool.Exec(ctx, trimSegments, before.Micro())
		return err
	})
	if err != nil {
		return n, fmt.Errorf("trim segments: %w", err)
	}
	return n, nil
}

func (s *Store) addSegments(ctx context.Context) error {
	for {
		var added int64
		err := s.withRetry(ctx, func(ctx context.Context) error {
			tag, err := s.pool.Exec(ctx, addSegment, segmentSize)
			added = tag.RowsAffected()
			return err
		})
		if err != nil || added == 0 {
			return err
		}
	}
}

func (s *Store) prune(ctx context.Context, what, query string, before park.Time, limit int) (n int, err error) {
	err = s.withRetry(ctx, func(ctx context.Context) error {
		return s.pool.QueryRow(ctx, query, before.Micro(), limit).Scan(&n)
	})
	if err != nil {
		return 0, fmt.Errorf("prune %s: %w", what, err)
	}
	return n, nil
}

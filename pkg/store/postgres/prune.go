package postgres

import (
	"context"
	"fmt"

	"github.com/parkd-dev/parkd/pkg/park"
)

const (
	pruneTasks = "DELETE FROM pl_queue_jobs WHERE ctid = ANY (ARRAY(SELECT ctid FROM pl_queue_jobs" +
		" WHERE ended_at < $1 AND status NOT IN ('queued', 'running') ORDER BY ended_at LIMIT $2 FOR UPDATE SKIP LOCKED))"
	pruneMessages = "DELETE FROM pl_mailbox_messages WHERE seq = ANY (ARRAY(SELECT seq FROM pl_mailbox_messages" +
		" WHERE created_at < $1 ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED))"
	// Old events lie in segments that begin early enough, or after the last one.
	pruneEvents = "DELETE FROM pl_audit_events WHERE seq = ANY (ARRAY(SELECT e.seq FROM" +
		" (SELECT first_seq, last_seq FROM pl_audit_segments WHERE min_at < $1 UNION ALL" +
		" SELECT coalesce(max(last_seq), 0) + 1, 9223372036854775807 FROM pl_audit_segments) g, LATERAL" +
		" (SELECT seq FROM pl_audit_events WHERE seq BETWEEN g.first_seq AND g.last_seq AND at < $1 ORDER BY seq LIMIT $2) e LIMIT $2))"
	// A segment whose old events are gone begins later, and one without events is gone itself.
	trimSegments = "WITH old AS (SELECT first_seq, last_seq FROM pl_audit_segments WHERE min_at < $1 FOR UPDATE SKIP LOCKED)," +
		" now AS (SELECT o.first_seq, min(e.at) AS min_at FROM old o LEFT JOIN pl_audit_events e" +
		" ON e.seq BETWEEN o.first_seq AND o.last_seq GROUP BY o.first_seq)," +
		" gone AS (DELETE FROM pl_audit_segments s USING now WHERE s.first_seq = now.first_seq AND now.min_at IS NULL)" +
		" UPDATE pl_audit_segments s SET min_at = now.min_at FROM now WHERE s.first_seq = now.first_seq AND now.min_at IS NOT NULL"
	// A segment takes as many events as are final; fewer than segmentSize wait for more.
	addSegment = "WITH next AS (SELECT seq, at FROM pl_audit_events WHERE seq < pl_final() AND seq >" +
		" (SELECT coalesce(max(last_seq), 0) FROM pl_audit_segments) ORDER BY seq LIMIT $1)" +
		" INSERT INTO pl_audit_segments SELECT min(seq), max(seq), min(at), max(at) FROM next HAVING count(*) = $1 ON CONFLICT DO NOTHING"
)

// segmentSize is how many events share a segment.
const segmentSize = 10_000

// PruneTasks implements [store.Queue].
func (s *Store) PruneTasks(ctx context.Context, before park.Time, limit int) (int, error) {
	return s.prune(ctx, "tasks", pruneTasks, before, limit)
}

// PruneMessages implements [store.Mailbox].
func (s *Store) PruneMessages(ctx context.Context, before park.Time, limit int) (int, error) {
	return s.prune(ctx, "messages", pruneMessages, before, limit)
}

// PruneEvents implements [store.Audit]. It also keeps the segments, by which events are found by time.
func (s *Store) PruneEvents(ctx context.Context, before park.Time, limit int) (int, error) {
	if err := s.segment(ctx); err != nil {
		return 0, fmt.Errorf("keep segments: %w", err)
	}
	n, err := s.prune(ctx, "events", pruneEvents, before, limit)
	if err != nil || n == limit {
		return n, err
	}
	err = s.do(ctx, func(ctx context.Context) error {
		_, err := s.pool.Exec(ctx, trimSegments, before.Micro())
		return err
	})
	if err != nil {
		return n, fmt.Errorf("trim segments: %w", err)
	}
	return n, nil
}

func (s *Store) segment(ctx context.Context) error {
	for {
		var added int64
		err := s.do(ctx, func(ctx context.Context) error {
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
	err = s.do(ctx, func(ctx context.Context) error {
		tag, err := s.pool.Exec(ctx, query, before.Micro(), limit)
		n = int(tag.RowsAffected())
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("prune %s: %w", what, err)
	}
	return n, nil
}

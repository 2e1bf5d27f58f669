package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

const (
	probeStep = "SELECT rev, at FROM pl_audit_events INDEXED BY pl_audit_events_step" +
		" WHERE pool_id = ? AND rev >= ? AND lead & 1 ORDER BY rev, ord LIMIT 1"
	firstEvent = "SELECT rev, ord FROM pl_audit_events INDEXED BY pl_audit_events_step" +
		" WHERE pool_id = ? AND lead & 1 ORDER BY rev, ord LIMIT 1"
	lastStep = "SELECT rev FROM pl_audit_events INDEXED BY pl_audit_events_step" +
		" WHERE pool_id = ? AND lead & 1 ORDER BY rev DESC LIMIT 1"
)

// scanRange is the part of the log that can have a query's events. Zero fields set no limit.
type scanRange struct {
	fromSeq, untilSeq int64 // from the first up to but without the second
	fromRev           int64 // in a pool: from the event (fromRev, fromOrd)
	fromOrd           int
	untilRev          int64 // in a pool: up to but without this step
}

// scanRange returns the range that follows from a query's cursor and times.
func (s *Store) scanRange(ctx context.Context, q park.AuditQuery) (r scanRange, err error) {
	if q.Cursor != "" {
		if err := s.startAfterCursor(ctx, q, &r); err != nil {
			return r, err
		}
	}
	narrow := s.narrowBySeq
	if index(q) == byPool {
		narrow = s.narrowByStep
	}
	if err := narrow(ctx, q, &r); err != nil {
		return r, fmt.Errorf("read events from %s to %s: %w", q.Since, q.Until, err)
	}
	return r, nil
}

// startAfterCursor makes the range begin after the cursor's event, if that event exists.
func (s *Store) startAfterCursor(ctx context.Context, q park.AuditQuery, r *scanRange) error {
	pool, rev, ord, err := park.ParseEventID(q.Cursor)
	if err != nil {
		return park.Errorf(park.InvalidRequest, "cursor %v", err)
	}
	var seq int64
	var first, rest int
	err = s.db.QueryRowContext(ctx, findBlock, pool, rev, ord).Scan(&seq, &first, &rest)
	switch {
	case err != nil && !errors.Is(err, sql.ErrNoRows):
		return fmt.Errorf("read event %s: %w", q.Cursor, err)
	case err != nil || ord >= first+rest:
		return s.errUnlessPruned(ctx, pool, rev, ord)
	case pool == q.PoolID && index(q) == byPool:
		r.fromRev, r.fromOrd = rev, ord+1
	default:
		r.fromSeq = seq + int64(ord-first) + 1
	}
	return nil
}

// errUnlessPruned returns nil for an event that is older than the oldest event of its pool.
func (s *Store) errUnlessPruned(ctx context.Context, pool string, rev int64, ord int) error {
	var oldestRev int64
	var oldestOrd int
	err := s.db.QueryRowContext(ctx, firstEvent, pool).Scan(&oldestRev, &oldestOrd)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return store.ErrNoEvent
	case err != nil:
		return fmt.Errorf("read the oldest event of pool %s: %w", pool, err)
	case rev > oldestRev || rev == oldestRev && ord >= oldestOrd:
		return store.ErrNoEvent
	}
	return nil
}

// narrowBySeq narrows the range to a query's times, by the seqs of events.
func (s *Store) narrowBySeq(ctx context.Context, q park.AuditQuery, r *scanRange) error {
	if !q.Since.IsZero() {
		first, err := eventTimes().firstSeq(ctx, s.db, q.Since.Micro())
		if err != nil {
			return err
		}
		r.fromSeq = max(r.fromSeq, first)
	}
	if q.Until.IsZero() {
		return nil
	}
	var err error
	r.untilSeq, err = eventTimes().endSeq(ctx, s.db, q.Until.Micro())
	return err
}

// narrowByStep narrows the range by the steps of one pool, whose times never decrease.
func (s *Store) narrowByStep(ctx context.Context, q park.AuditQuery, r *scanRange) error {
	if !q.Since.IsZero() {
		first, err := s.firstStep(ctx, q.PoolID, q.Since.Micro())
		if err != nil {
			return err
		}
		if first > r.fromRev {
			r.fromRev, r.fromOrd = first, 0
		}
	}
	if q.Until.IsZero() {
		return nil
	}
	var err error
	r.untilRev, err = s.firstStep(ctx, q.PoolID, q.Until.Micro())
	return err
}

// firstStep returns the first rev of a pool whose time is at least us, or the rev after its last one.
func (s *Store) firstStep(ctx context.Context, pool string, us int64) (int64, error) {
	var last int64
	err := s.db.QueryRowContext(ctx, lastStep, pool).Scan(&last)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return store.FirstStep(ctx, last, func(ctx context.Context, rev int64) (found int64, holds bool, err error) {
		var at int64
		err = s.db.QueryRowContext(ctx, probeStep, pool, rev).Scan(&found, &at)
		if errors.Is(err, sql.ErrNoRows) {
			return 0, false, nil
		}
		return found, at >= us, err
	})
}

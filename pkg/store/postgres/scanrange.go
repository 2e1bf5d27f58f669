package postgres

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/jackc/pgx/v5"

	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// scanRange is a part of the log that can have a query's events. Zero fields set no limit.
type scanRange struct {
	fromSeq, lastSeq int64 // the first and the last
	fromRev          int64 // in a pool: from the event (fromRev, fromOrd)
	fromOrd          int
	untilRev         int64 // in a pool: up to but without this step
}

func (r *scanRange) addTerms(w *where, below int64) {
	if r.fromRev != 0 {
		w.terms = append(w.terms, "(rev, ord) >= ("+w.arg(r.fromRev)+", "+w.arg(r.fromOrd)+")")
	}
	if r.untilRev != 0 {
		w.add("rev < ", r.untilRev)
	}
	if r.fromSeq != 0 {
		w.add("seq >= ", r.fromSeq)
	}
	if r.lastSeq != 0 {
		w.add("seq <= ", r.lastSeq)
	}
	if below != math.MaxInt64 {
		w.add("seq < ", below)
	}
}

// scanRanges returns the ranges that follow from a query's cursor and times: one or two, in order.
func (s *Store) scanRanges(ctx context.Context, q park.AuditQuery) (parts []scanRange, err error) {
	var r scanRange
	if q.Cursor != "" {
		if err := s.startAfterCursor(ctx, q, &r); err != nil {
			return nil, err
		}
	}
	if q.Since.IsZero() && q.Until.IsZero() || q.TaskID != "" {
		return []scanRange{r}, nil // a task has few events
	}
	err = s.withRetry(ctx, func(ctx context.Context) error {
		if readsBySteps(q) {
			parts = []scanRange{r}
			return s.narrowByStep(ctx, q, &parts[0])
		}
		parts, err = s.splitBySegments(ctx, q, r)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("from %s to %s: %w", q.Since, q.Until, err)
	}
	return parts, nil
}

// startAfterCursor makes the range begin after the cursor's event, if that event exists. If the event belongs to
// another pool, the range begins at the first step of the query's pool that came later.
func (s *Store) startAfterCursor(ctx context.Context, q park.AuditQuery, r *scanRange) error {
	pool, rev, ord, err := park.ParseEventID(q.Cursor)
	if err != nil {
		return park.Errorf(park.InvalidRequest, "cursor %v", err)
	}
	return s.withRetry(ctx, func(ctx context.Context) error {
		var seq int64
		err := s.pool.QueryRow(ctx, seqOfEvent, storable(pool), rev, ord).Scan(&seq)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return s.errUnlessPruned(ctx, pool, rev, ord)
		case err != nil:
			return err
		case pool == q.PoolID && readsBySteps(q):
			r.fromRev, r.fromOrd = rev, ord+1
		default:
			r.fromSeq = seq + 1
			if readsBySteps(q) {
				r.fromRev, err = s.firstStep(ctx, q.PoolID, func(_, last int64) bool { return last >= r.fromSeq })
			}
		}
		return err
	})
}

const firstEvent = "SELECT rev, ord FROM pl_audit_events WHERE pool_id = $1 ORDER BY pool_id, rev, ord LIMIT 1"

// errUnlessPruned returns nil for an event that is older than the oldest event of its pool.
func (s *Store) errUnlessPruned(ctx context.Context, pool string, rev int64, ord int) error {
	var oldestRev int64
	var oldestOrd int
	err := s.pool.QueryRow(ctx, firstEvent, storable(pool)).Scan(&oldestRev, &oldestOrd)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && (rev > oldestRev || rev == oldestRev && ord >= oldestOrd) {
		return store.ErrNoEvent
	}
	return err
}

// The rows of a segment are final, so a segment whose times do not overlap the query's has none of its events. Rows
// after the last segment may have any times.
const matchSegments = "SELECT coalesce(min(first_seq) FILTER (WHERE max_at >= $1 AND min_at < $2), 0)," +
	" coalesce(max(last_seq) FILTER (WHERE max_at >= $1 AND min_at < $2), 0), coalesce(max(last_seq), 0) FROM pl_audit_segments"

func (s *Store) splitBySegments(ctx context.Context, q park.AuditQuery, r scanRange) (parts []scanRange, err error) {
	since, until := int64(math.MinInt64), int64(math.MaxInt64)
	if !q.Since.IsZero() {
		since = q.Since.Micro()
	}
	if !q.Until.IsZero() {
		until = q.Until.Micro()
	}
	var first, last, tail int64
	if err := s.pool.QueryRow(ctx, matchSegments, since, until).Scan(&first, &last, &tail); err != nil {
		return nil, err
	}
	if last != 0 && last >= r.fromSeq {
		parts = append(parts, scanRange{fromSeq: max(r.fromSeq, first), lastSeq: last})
	}
	return append(parts, scanRange{fromSeq: max(r.fromSeq, tail+1)}), nil
}

const (
	// The seq of the step's last event: the events of a step that another store sends may arrive in several parts.
	probeStep = "SELECT rev, at, (SELECT l.seq FROM pl_audit_events l WHERE l.pool_id = e.pool_id AND l.rev = e.rev ORDER BY l.pool_id DESC, l.rev DESC, l.ord DESC LIMIT 1)" +
		" FROM pl_audit_events e WHERE pool_id = $1 AND rev >= $2 ORDER BY pool_id, rev, ord LIMIT 1"
	lastStep = "SELECT coalesce(max(rev), 0) FROM pl_audit_events WHERE pool_id = $1"
)

// narrowByStep narrows the range by the steps of one pool, whose times never decrease.
func (s *Store) narrowByStep(ctx context.Context, q park.AuditQuery, r *scanRange) error {
	if !q.Since.IsZero() {
		first, err := s.firstStep(ctx, q.PoolID, func(at, _ int64) bool { return at >= q.Since.Micro() })
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
	r.untilRev, err = s.firstStep(ctx, q.PoolID, func(at, _ int64) bool { return at >= q.Until.Micro() })
	return err
}

// firstStep returns the first rev of a pool for which reached is true, as it is for all later revs. It returns the rev
// after the last one if there is none, and 0 for a pool without events.
func (s *Store) firstStep(ctx context.Context, pool string, reached func(at, last int64) bool) (int64, error) {
	var last int64
	if err := s.pool.QueryRow(ctx, lastStep, pool).Scan(&last); err != nil || last == 0 {
		return 0, err
	}
	return store.FirstStep(ctx, last, func(ctx context.Context, rev int64) (found int64, holds bool, err error) {
		var at, seq int64
		err = s.pool.QueryRow(ctx, probeStep, pool, rev).Scan(&found, &at, &seq)
		if errors.Is(err, pgx.ErrNoRows) {
			return 0, false, nil
		}
		return found, err == nil && reached(at, seq), err
	})
}

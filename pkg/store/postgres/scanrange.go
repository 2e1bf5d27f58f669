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

// reach is a part of the log in which a query's events lie. Zero fields leave it open.
type scanRange struct {
	fromSeq, lastSeq int64 // seq, the first and the last
	fromRev          int64 // along a pool's steps: from the event at (rev, ord) on
	fromOrd          int
	untilRev         int64 // and up to the step before
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

// reach finds where a query's events lie, from its cursor and its times: in one or two parts of the log, in order.
func (s *Store) scanRanges(ctx context.Context, q park.AuditQuery) (parts []scanRange, err error) {
	var r scanRange
	if q.Cursor != "" {
		if err := s.startAfterCursor(ctx, q, &r); err != nil {
			return nil, err
		}
	}
	if q.Since.IsZero() && q.Until.IsZero() || q.TaskID != "" {
		return []scanRange{r}, nil // a task's events are few
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

// behind lets the reach begin after the cursor's event, if there is one. That event may be of another pool than the one
// asked for, whose steps are then looked at for the first that came later.
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

// wasPruned returns nil for an event that would be older than the oldest of its pool.
func (s *Store) errUnlessPruned(ctx context.Context, pool string, rev int64, ord int) error {
	var oldestRev int64
	var oldestOrd int
	err := s.pool.QueryRow(ctx, firstEvent, storable(pool)).Scan(&oldestRev, &oldestOrd)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && (rev > oldestRev || rev == oldestRev && ord >= oldestOrd) {
		return store.ErrNoEvent
	}
	return err
}

// The rows of a segment are final, so one that has no time within a query's holds none of its events. What was written
// after the last segment may hold any.
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
	// The seq is that of the step's last event: what another store brings may come in several parts.
	probeStep = "SELECT rev, at, (SELECT l.seq FROM pl_audit_events l WHERE l.pool_id = e.pool_id AND l.rev = e.rev ORDER BY l.pool_id DESC, l.rev DESC, l.ord DESC LIMIT 1)" +
		" FROM pl_audit_events e WHERE pool_id = $1 AND rev >= $2 ORDER BY pool_id, rev, ord LIMIT 1"
	lastStep = "SELECT coalesce(max(rev), 0) FROM pl_audit_events WHERE pool_id = $1"
)

// betweenSteps narrows the reach along the steps of one pool, whose time never runs backwards.
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

// firstStep returns the first rev of a pool for whose time and last seq reached holds, as it does for all after it, or else
// the one after its last; 0 for a pool without events.
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

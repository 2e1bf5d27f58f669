package sqlite

import (
	"context"
	"database/sql"
	"errors"

	"github.com/parkd-dev/parkd/pkg/park"
)

// The log of a pool for who reads all of it: many events of some steps as one text.

// nextStep finds the next step of which there are events.
const nextStep = "SELECT rev FROM pl_audit_events INDEXED BY pl_audit_events_step" +
	" WHERE pool_id = ? AND rev >= ? AND lead & 1 ORDER BY rev LIMIT 1"

// manyEvents is a page for who reads a whole log: it is full, and there is room for it from the start, up to mostEvents.
const (
	manyEvents = 5_000
	mostEvents = 20_000
)

// isWhole reports whether a query is for many events, and for all of some steps.
func isWhole(q park.AuditQuery) bool {
	return q.Limit >= manyEvents && q.Action == "" && index(q) == byPool
}

// whole reads the events of such a query.
func (s *Store) whole(ctx context.Context, q park.AuditQuery, r reach) (found []park.Event, err error) {
	// What is pruned between two texts must not look like a hole.
	tx, err := s.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback() }()
	found = make([]park.Event, 0, min(q.Limit, mostEvents))
	part, steps := r, int64(1)
	for len(found) < q.Limit {
		if part.end = part.rev + steps; r.end != 0 {
			part.end = min(part.end, r.end)
		}
		n := len(found)
		if found, err = wholeSteps(ctx, tx, q, r, part, found); err != nil {
			return nil, err
		}
		part.rev, part.ord = part.end, 0
		if got := int64(len(found) - n); got > 0 {
			want := int64(min(packedRows, q.Limit-len(found)))
			steps = max(1, min(8*steps, steps*want/got))
			continue
		}
		err := tx.QueryRowContext(ctx, nextStep, q.PoolID, part.rev).Scan(&part.rev)
		if errors.Is(err, sql.ErrNoRows) || r.end != 0 && part.rev >= r.end {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	return found[:min(len(found), q.Limit)], nil
}

// eventValues are in the order in which unpackEvents takes them.
func eventValues() []string {
	return []string{"e.rev", "e.ord", "e.at", "e.action", "e.task_id", "e.tenant", "e.units", "e.attempt", "e.node", "coalesce(e.detail, '')"}
}

func wholeQuery(q park.AuditQuery, r, part reach) (query string, args []any) {
	from, _, t := eventTerms(q, r, part)
	return "SELECT " + packing(eventValues()...) + " FROM " + from + t.String(), t.args
}

// wholeSteps appends the events of a part of the reach.
func wholeSteps(ctx context.Context, tx *sql.Tx, q park.AuditQuery, r, part reach, found []park.Event) ([]park.Event, error) {
	query, args := wholeQuery(q, r, part)
	var rows int
	var text string
	if err := tx.QueryRowContext(ctx, query, args...).Scan(&rows, &text); err != nil {
		return nil, err
	}
	more, err := unpackEvents(text, rows, q.PoolID, found)
	if !errors.Is(err, errPacked) {
		return more, err
	}
	query, args = eventsQuery(q, r, part)
	one, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	singly, err := events(one)
	return append(found, singly...), err
}

func unpackEvents(text string, rows int, pool string, found []park.Event) ([]park.Event, error) {
	u, err := unpack(text, rows, len(eventValues()))
	if err != nil {
		return nil, err
	}
	rev, ord := int64(0), -1
	for u.left > 0 {
		e := park.Event{PoolID: pool, Rev: u.int(), Ord: int(u.int()), At: park.FromMicro(u.int())}
		e.Action, e.TaskID, e.Tenant, e.Units, e.Attempt, e.Node = park.Action(u.next()), u.next(), u.next(), u.int(), int(u.int()), u.next()
		if detail := u.last(); detail != "" {
			e.Detail = []byte(detail)
		}
		if e.Rev < rev || e.Rev == rev && e.Ord <= ord {
			return nil, errPacked // SQLite does not promise in which order it puts rows into a text
		}
		rev, ord = e.Rev, e.Ord
		e.EventID = park.EventID(pool, rev, ord)
		found = append(found, e)
	}
	return found, u.err()
}

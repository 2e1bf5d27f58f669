package sqlite

import (
	"context"
	"database/sql"
	"errors"

	"github.com/parkd-dev/parkd/pkg/park"
)

// The log of a pool for who reads all of it: many events as one text.

// manyEvents is a page for who reads a whole log: it is full, and there is room for it from the start, up to mostEvents.
const (
	minPackedEvents = 5_000
	maxPrealloc     = 20_000
)

// isWhole reports whether a query is for many events, and for all of some steps.
func isPackedRead(q park.AuditQuery) bool {
	return q.Limit >= minPackedEvents && q.Action == "" && index(q) == byPool
}

// whole reads the events of such a query.
func (s *Store) packedEvents(ctx context.Context, q park.AuditQuery, r scanRange) (found []park.Event, err error) {
	// What is pruned between two texts must not look like a hole.
	tx, err := s.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback() }()
	found = make([]park.Event, 0, min(q.Limit, maxPrealloc))
	for len(found) < q.Limit {
		n, limit := len(found), min(maxPackedRows, q.Limit-len(found))
		if found, err = packedEventsPage(ctx, tx, q, r, limit, found); err != nil {
			return nil, err
		}
		if len(found)-n < limit {
			break
		}
		last := &found[len(found)-1]
		r.fromRev, r.fromOrd = last.Rev, last.Ord+1
	}
	return found, nil
}

// eventValues are in the order in which unpackEvents takes them.
const eventValues = "e.rev, e.ord, e.at, e.action, e.task_id, e.tenant, e.units, e.attempt, e.node"

func packedEventsQuery(q park.AuditQuery, r scanRange, limit int) (query string, args []any) {
	from, order, t := eventTerms(q, r)
	return packedQuery(eventValues+", coalesce(e.detail, '')", " FROM "+from+t.clause()+" ORDER BY "+order+" LIMIT ?"), append(t.args, limit)
}

// wholeText appends the first events of the reach, so many that a text does not grow with steps that have many.
func packedEventsPage(ctx context.Context, tx *sql.Tx, q park.AuditQuery, r scanRange, limit int, found []park.Event) ([]park.Event, error) {
	query, args := packedEventsQuery(q, r, limit)
	var rows int
	var text string
	if err := tx.QueryRowContext(ctx, query, args...).Scan(&rows, &text); err != nil {
		return nil, err
	}
	more, err := unpackEvents(text, rows, q.PoolID, found)
	if !errors.Is(err, errPacked) {
		return more, err
	}
	q.Limit = limit
	query, args = eventsQuery(q, r)
	cursor, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	unpacked, err := events(cursor)
	return append(found, unpacked...), err
}

func unpackEvents(text string, rows int, pool string, found []park.Event) ([]park.Event, error) {
	u, err := newUnpacker(text, rows, 10)
	if err != nil {
		return nil, err
	}
	rev, ord := int64(0), -1
	for u.rowsLeft > 0 {
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

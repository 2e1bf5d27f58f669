package sqlite

import (
	"context"
	"database/sql"
	"errors"

	"github.com/parkd-dev/parkd/pkg/park"
)

// A pool's log for readers of all of it: many events as one text.

// A page of at least minPackedEvents is for a reader of the whole log. Such pages are full, so memory for up to
// maxPrealloc events is allocated at the start.
const (
	minPackedEvents = 5_000
	maxPrealloc     = 20_000
)

// isPackedRead reports whether a query is for many events, and for all events of its steps.
func isPackedRead(q park.AuditQuery) bool {
	return q.Limit >= minPackedEvents && q.Action == "" && index(q) == byPool
}

// packedEvents reads the events of such a query.
func (s *Store) packedEvents(ctx context.Context, q park.AuditQuery, r scanRange) (found []park.Event, err error) {
	// One transaction, so that events pruned between two texts do not look like a gap.
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

// eventValues has the order in which unpackEvents takes the values.
const eventValues = "e.rev, e.ord, e.at, e.action, e.task_id, e.tenant, e.units, e.attempt, e.node"

func packedEventsQuery(q park.AuditQuery, r scanRange, limit int) (query string, args []any) {
	from, order, t := eventTerms(q, r)
	return packedQuery(eventValues+", coalesce(e.detail, '')", " FROM "+from+t.clause()+" ORDER BY "+order+" LIMIT ?"), append(t.args, limit)
}

// packedEventsPage appends the first events of the range. Their number is limited, so that a text does not grow with
// steps of many events.
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
			return nil, errPacked // SQLite does not promise the order of rows in a text
		}
		rev, ord = e.Rev, e.Ord
		e.EventID = park.EventID(pool, rev, ord)
		found = append(found, e)
	}
	return found, u.err()
}

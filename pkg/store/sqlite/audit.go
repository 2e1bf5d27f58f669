package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/parkd-dev/parkd/pkg/park"
)

const (
	deleteEvent = "DELETE FROM pl_audit_events WHERE seq = ? AND at < ?"
	lastEvent   = "SELECT pool_id, rev, ord FROM pl_audit_events ORDER BY seq DESC LIMIT 1"
	lastRev     = "SELECT rev, at FROM pl_audit_events INDEXED BY pl_audit_events_step" +
		" WHERE pool_id = ? AND lead & 1 ORDER BY rev DESC LIMIT 1"
	eventFields = "e.pool_id, " + eventValues + ", e.detail"
)

// Append implements [store.Audit].
func (s *Store) Append(ctx context.Context, events []park.Event) error {
	if len(events) == 0 {
		return nil
	}
	return s.write(ctx, len(events), func(w *writer) error { return w.append(events) })
}

// LastEvent implements [store.Audit].
func (s *Store) LastEvent(ctx context.Context) (string, error) {
	var pool string
	var rev int64
	var ord int
	err := s.db.QueryRowContext(ctx, lastEvent).Scan(&pool, &rev, &ord)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the last event: %w", err)
	}
	return park.EventID(pool, rev, ord), nil
}

// LastRev implements [store.Audit].
func (s *Store) LastRev(ctx context.Context, pool string) (rev int64, at park.Time, err error) {
	var us int64
	err = s.db.QueryRowContext(ctx, lastRev, pool).Scan(&rev, &us)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, park.Time{}, nil
	}
	if err != nil {
		return 0, park.Time{}, fmt.Errorf("read the last rev of pool %s: %w", pool, err)
	}
	return rev, park.FromMicro(us), nil
}

// Events implements [store.Audit].
func (s *Store) Events(ctx context.Context, q park.AuditQuery) ([]park.Event, error) {
	r, err := s.scanRange(ctx, q)
	if err != nil {
		return nil, err
	}
	if isPackedRead(q) {
		found, err := s.packedEvents(ctx, q, r)
		if err != nil {
			return nil, fmt.Errorf("read the log of pool %s: %w", q.PoolID, err)
		}
		return found, nil
	}
	query, args := eventsQuery(q, r)
	rows, err := s.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	found, err := events(rows)
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	return found, nil
}

// The indexes of the log.
const (
	byTask   = "pl_audit_events_task"
	byTenant = "pl_audit_events_tenant"
	byAction = "pl_audit_events_action"
	byPool   = "pl_audit_events_step"
)

// index returns the index that leads to the fewest unwanted events, or "" for a scan of the log itself.
func index(q park.AuditQuery) string {
	switch {
	case q.TaskID != "":
		return byTask
	case q.Action != "" && isRare(q.Action):
		return byAction
	case q.Tenant != "":
		return byTenant
	case q.PoolID != "":
		return byPool
	}
	return ""
}

// isRare reports whether most tasks have no event of this action. There is an index of the rare ones.
func isRare(a park.Action) bool {
	return a != park.ActSubmit && a != park.ActEnqueue && a != park.ActStart && a != park.ActComplete
}

// where collects the terms of a condition and their values.
type where struct {
	terms []string
	args  []any
}

func (t *where) add(term string, values ...any) {
	t.terms = append(t.terms, term)
	t.args = append(t.args, values...)
}

func (t *where) clause() string {
	if len(t.terms) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(t.terms, " AND ")
}

func eventsQuery(q park.AuditQuery, r scanRange) (query string, args []any) {
	from, order, t := eventTerms(q, r)
	return "SELECT " + eventFields + " FROM " + from + t.clause() + " ORDER BY " + order + " LIMIT ?", append(t.args, q.Limit)
}

// eventTerms returns the FROM clause, the order and the conditions of a query of events.
func eventTerms(q park.AuditQuery, r scanRange) (from, order string, t where) {
	from, order = "pl_audit_events e", "e.seq"
	switch byIndex := index(q); byIndex {
	case byTask, byTenant, byPool:
		from, order = t.followers(byIndex, q, r)
	case byAction:
		from += " INDEXED BY " + byIndex
		t.add("e.lead & 8")
	}
	for _, f := range []struct{ term, value string }{
		{"e.pool_id = ?", q.PoolID}, {"e.task_id = ?", q.TaskID}, {"e.tenant = ?", q.Tenant}, {"e.action = ?", string(q.Action)},
	} {
		if f.value != "" {
			t.add(f.term, f.value)
		}
	}
	if r.fromRev != 0 {
		t.add("(e.rev, e.ord) >= (?, ?)", r.fromRev, r.fromOrd)
	}
	if r.fromSeq != 0 {
		t.add("e.seq >= ?", r.fromSeq)
	}
	if r.untilSeq != 0 {
		t.add("e.seq < ?", r.untilSeq)
	}
	if !q.Since.IsZero() {
		t.add("e.at >= ?", q.Since.Micro())
	}
	if !q.Until.IsZero() {
		t.add("e.at < ?", q.Until.Micro())
	}
	return from, order, t
}

func events(rows *sql.Rows) (found []park.Event, err error) {
	defer rows.Close()
	var e park.Event
	var at int64
	for rows.Next() {
		e.Detail = nil
		err := rows.Scan(&e.PoolID, &e.Rev, &e.Ord, &at, (*string)(&e.Action), &e.TaskID, &e.Tenant, &e.Units, &e.Attempt,
			&e.Node, (*[]byte)(&e.Detail))
		if err != nil {
			return nil, err
		}
		e.At, e.EventID = park.FromMicro(at), park.EventID(e.PoolID, e.Rev, e.Ord)
		found = append(found, e)
	}
	return found, rows.Err()
}

package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"

	"github.com/parkd-dev/parkd/pkg/park"
)

const (
	deleteEvent = "DELETE FROM pl_audit_events WHERE seq = ?"
	lastEvent   = "SELECT pool_id, rev, ord FROM pl_audit_events ORDER BY seq DESC LIMIT 1"
	eventFields = "pool_id, rev, ord, at, action, task_id, tenant, units, attempt, node, detail"
)

func insertEvents() insertion {
	return insertion{
		into:     "pl_audit_events",
		columns:  "pool_id, rev, ord, at, late, action, task_id, tenant, units, attempt, node, detail",
		conflict: " ON CONFLICT (pool_id, rev, ord) DO NOTHING",
	}
}

// Append implements [store.Audit].
func (s *Store) Append(ctx context.Context, events []park.Event) error {
	if len(events) == 0 {
		return nil
	}
	return s.write(ctx, len(events), func(w *writer) error { return w.append(events) })
}

func (w *writer) append(events []park.Event) error {
	err := w.eventRows.insert(len(events), func(args []driver.Value, i int) []driver.Value {
		e := &events[i]
		at, late := w.clocks.events.stamp(e.At)
		return append(args, e.PoolID, e.Rev, int64(e.Ord), at, late, string(e.Action), e.TaskID, e.Tenant, e.Units,
			int64(e.Attempt), e.Node, bytesOrNull(e.Detail))
	})
	if err != nil {
		return fmt.Errorf("append events of pool %s: %w", events[0].PoolID, err)
	}
	return nil
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

// Events implements [store.Audit].
func (s *Store) Events(ctx context.Context, q park.AuditQuery) ([]park.Event, error) {
	r, err := s.bound(ctx, q)
	if err != nil {
		return nil, err
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

// The ways through the log.
const (
	byTask   = "pl_audit_events_task"
	byTenant = "pl_audit_events_tenant"
	byAction = "pl_audit_events_action"
	byPool   = "pl_audit_events_step"
)

// index returns the index that leads to the fewest events that are not asked for; "" for the log itself.
func index(q park.AuditQuery) string {
	switch {
	case q.TaskID != "":
		return byTask
	case q.Action != "" && !common(q.Action):
		return byAction
	case q.Tenant != "":
		return byTenant
	case q.PoolID != "":
		return byPool
	}
	return ""
}

// rareActions is the condition of an index: the other actions are so common that the log itself leads to them.
const rareActions = "action NOT IN ('submit', 'enqueue', 'start', 'complete')"

// common reports whether an action is part of most tasks' lives.
func common(a park.Action) bool {
	return a == park.ActSubmit || a == park.ActEnqueue || a == park.ActStart || a == park.ActComplete
}

func eventsQuery(q park.AuditQuery, r reach) (query string, args []any) {
	var where []string
	add := func(term string, values ...any) {
		where = append(where, term)
		args = append(args, values...)
	}
	for _, f := range []struct{ term, value string }{
		{"pool_id = ?", q.PoolID}, {"task_id = ?", q.TaskID}, {"tenant = ?", q.Tenant}, {"action = ?", string(q.Action)},
	} {
		if f.value != "" {
			add(f.term, f.value)
		}
	}
	way := index(q)
	if way == byAction {
		add(rareActions)
	}
	if r.rev != 0 {
		add("(rev, ord) >= (?, ?)", r.rev, r.ord)
	}
	if r.end != 0 {
		add("rev < ?", r.end)
	}
	if r.from != 0 {
		add("seq >= ?", r.from)
	}
	if r.until != 0 {
		add("seq < ?", r.until)
	}
	if !q.Since.IsZero() {
		add("at >= ?", q.Since.Micro())
	}
	if !q.Until.IsZero() {
		add("at < ?", q.Until.Micro())
	}
	query = "SELECT " + eventFields + " FROM pl_audit_events"
	if way != "" {
		query += " INDEXED BY " + way
	}
	if len(where) > 0 {
		query += " WHERE " + strings.Join(where, " AND ")
	}
	order := " ORDER BY seq"
	if way == byPool {
		order = " ORDER BY rev, ord"
	}
	return query + order + " LIMIT ?", append(args, q.Limit)
}

func events(rows *sql.Rows) (found []park.Event, err error) {
	defer rows.Close()
	for rows.Next() {
		var e park.Event
		var at int64
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

package postgres

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/parkd-dev/parkd/pkg/park"
)

const (
	appendEvents = "SELECT pl_relay('{}'::pl_message[], $1::pl_event[])"
	eventFields  = "seq, (SELECT pl_final()), pool_id, rev, ord, at, action, task_id, tenant, units, attempt, node, detail"
	lastRev      = "SELECT rev, at FROM pl_audit_events WHERE pool_id = $1 ORDER BY rev DESC, ord DESC LIMIT 1"
	seqOfEvent   = "SELECT seq FROM pl_audit_events WHERE pool_id = $1 AND rev = $2 AND ord = $3"
)

// lastEvent returns the last event, below a seq, of the newest block.
var lastEvent = "SELECT e.pool_id, e.rev, e.ord, e.seq, (SELECT pl_final()) FROM (" + selectLeads + isLead(leadBlock) +
	" AND seq < $1 ORDER BY seq DESC LIMIT 1) AS l, " +
	selectFollowers(leadBlock, "pool_id, rev, ord, seq", "", "ORDER BY ord DESC LIMIT 1")

// Append implements [store.Audit].
func (s *Store) Append(ctx context.Context, events []park.Event) error {
	if len(events) == 0 {
		return nil
	}
	_, err := s.callFunction(ctx, appendEvents, new(bool), func(n *catalog) ([][]byte, error) { return [][]byte{n.events(events, nil)}, nil })
	if err != nil {
		return fmt.Errorf("append %d events: %w", len(events), err)
	}
	return nil
}

// LastEvent implements [store.Audit]. It does not count events whose position is not final yet.
func (s *Store) LastEvent(ctx context.Context) (string, error) {
	last, err := readInOrder(ctx, s, func(ctx context.Context, below int64) ([]string, []int64, int64, error) {
		var pool string
		var rev, seq, final int64
		var ord int
		err := s.pool.QueryRow(ctx, lastEvent, below).Scan(&pool, &rev, &ord, &seq, &final)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil, nil, 0, nil
		}
		return []string{park.EventID(pool, rev, ord)}, []int64{seq}, final, err
	})
	if err != nil {
		return "", fmt.Errorf("read last event: %w", err)
	}
	if len(last) == 0 {
		return "", nil
	}
	return last[0], nil
}

// LastRev implements [store.Audit].
func (s *Store) LastRev(ctx context.Context, pool string) (rev int64, at park.Time, err error) {
	var us int64
	err = s.withRetry(ctx, func(ctx context.Context) error {
		err := s.pool.QueryRow(ctx, lastRev, pool).Scan(&rev, &us)
		if errors.Is(err, pgx.ErrNoRows) {
			rev, us, err = 0, 0, nil
		}
		return err
	})
	if err != nil {
		return 0, park.Time{}, fmt.Errorf("read the last rev of pool %s: %w", pool, err)
	}
	return rev, park.FromMicro(us), nil
}

// Events implements [store.Audit].
func (s *Store) Events(ctx context.Context, q park.AuditQuery) ([]park.Event, error) {
	var found []park.Event
	ranges, err := s.scanRanges(ctx, q)
	for _, r := range ranges {
		rest := q
		if rest.Limit -= len(found); rest.Limit <= 0 {
			break
		}
		var more []park.Event
		if more, err = s.events(ctx, rest, r); err != nil {
			break
		}
		found = append(found, more...)
	}
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	return found, nil
}

// events reads one range of the log. A single pool's events become visible in their order, so reading them need not
// wait.
func (s *Store) events(ctx context.Context, q park.AuditQuery, r scanRange) (found []park.Event, err error) {
	read := func(ctx context.Context, below int64) ([]park.Event, []int64, int64, error) {
		query, args := eventsQuery(q, r, below)
		rows, err := s.pool.Query(ctx, query, args...)
		if err != nil {
			return nil, nil, 0, err
		}
		return events(rows)
	}
	if !readsBySteps(q) {
		return readInOrder(ctx, s, read)
	}
	err = s.withRetry(ctx, func(ctx context.Context) error {
		found, _, _, err = read(ctx, math.MaxInt64)
		return err
	})
	return found, err
}

// readsBySteps reports whether a query reads one pool's steps in order and not the log by seq.
func readsBySteps(q park.AuditQuery) bool {
	return q.PoolID != "" && q.TaskID == "" && q.Tenant == "" && (q.Action == "" || isCommon(q.Action))
}

func eventsQuery(q park.AuditQuery, r scanRange, below int64) (string, []any) {
	var w where
	switch {
	case readsBySteps(q):
		w.events(q)
		r.addTerms(&w, below)
		w.times(q)
		return "SELECT " + eventFields + " FROM pl_audit_events" + w.clause() + " ORDER BY pool_id, rev, ord LIMIT " + w.arg(q.Limit), w.args
	case q.Action != "" && !isCommon(q.Action) && q.TaskID == "":
		w.events(q)
		r.addTerms(&w, below)
		w.times(q)
		return "SELECT " + eventFields + " FROM pl_audit_events" + w.clause() + " ORDER BY seq LIMIT " + w.arg(q.Limit), w.args
	}
	return leadQuery(q, r, below)
}

// leadQuery finds events through their leads. A lead may be before the range, by less than a block.
func leadQuery(q park.AuditQuery, r scanRange, below int64) (string, []any) {
	bit := leadBlock
	switch {
	case q.TaskID != "":
		bit = leadTask
	case q.Tenant != "":
		bit = leadTenant
	}
	l := where{terms: []string{isLead(bit)}}
	all := q
	all.Action = "" // other events of a block may have another action
	if bit == leadTask {
		all.Tenant = "" // other events of the task may have another tenant: two tenants may use the same id, and one of them is rejected
	}
	l.events(all)
	leadRange := r
	if leadRange.fromSeq != 0 {
		leadRange.fromSeq -= blockSize - 1
	}
	leadRange.addTerms(&l, below)
	l.times(q)
	e := where{args: l.args}
	e.events(q)
	r.addTerms(&e, below)
	and := strings.Join(append([]string{""}, e.terms...), " AND ")
	return "SELECT " + eventFields + " FROM (" + selectLeads + strings.Join(l.terms, " AND ") + ") AS l, " +
		selectFollowers(bit, "*", and, "OFFSET 0") + " ORDER BY l.s, ord LIMIT " + e.arg(q.Limit), e.args
}

// events adds the conditions of a query except its times.
func (w *where) events(q park.AuditQuery) {
	switch {
	case q.PoolID != "" && q.TaskID != "":
		w.add("pool_id || '' = ", q.PoolID) // a task has few events and a pool has many
	case q.PoolID != "":
		w.add("pool_id = ", q.PoolID)
	}
	if q.TaskID != "" {
		w.add("task_id = ", storable(q.TaskID))
	}
	if q.Tenant != "" {
		w.add("tenant = ", storable(q.Tenant))
	}
	if q.Action != "" {
		w.add("action = ", string(q.Action))
	}
}

func (w *where) times(q park.AuditQuery) {
	if !q.Since.IsZero() {
		w.add("at >= ", q.Since.Micro())
	}
	if !q.Until.IsZero() {
		w.add("at < ", q.Until.Micro())
	}
}

// isCommon reports whether most events have this action, so that no index has it. The server finds out by itself that
// other actions match the index's condition. With an explicit condition it would estimate even fewer events and sort
// all of them for one page.
func isCommon(a park.Action) bool {
	return a == park.ActSubmit || a == park.ActEnqueue || a == park.ActStart || a == park.ActComplete
}

func events(rows pgx.Rows) (found []park.Event, seqs []int64, final int64, err error) {
	defer rows.Close()
	for rows.Next() {
		var e park.Event
		var seq, at int64
		err := rows.Scan(&seq, &final, &e.PoolID, &e.Rev, &e.Ord, &at, (*string)(&e.Action), &e.TaskID, &e.Tenant, &e.Units,
			&e.Attempt, &e.Node, (*[]byte)(&e.Detail))
		if err != nil {
			return nil, nil, 0, err
		}
		e.EventID, e.At = park.EventID(e.PoolID, e.Rev, e.Ord), park.FromMicro(at)
		found, seqs = append(found, e), append(seqs, seq)
	}
	return found, seqs, final, rows.Err()
}

package memory

import (
	"context"
	"strconv"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

const (
	// look bounds how many items are looked at under one lock, so that a long search holds up nobody.
	look = 4096
	// few is how many tasks of a status are sorted rather than searched for.
	few = 2048
)

// List implements [store.Queue].
func (s *Store) List(ctx context.Context, id string, q park.TaskQuery) ([]ledger.Record, string, error) {
	below, err := parseCursor(q.Cursor, 1<<62)
	if err != nil {
		return nil, "", err
	}
	p := s.known(id)
	if p == nil || ctx.Err() != nil {
		return nil, "", ctx.Err()
	}
	l := listing{pool: p, TaskQuery: q, below: below}
	for l.more() {
		if err := ctx.Err(); err != nil {
			return nil, "", err
		}
	}
	return l.found, l.next, nil
}

// parseCursor reads the cursor of a page, or returns the one of the first.
func parseCursor(cursor string, first int64) (int64, error) {
	if cursor == "" {
		return first, nil
	}
	seq, err := strconv.ParseInt(cursor, 10, 64)
	if err != nil || seq < 1 {
		return 0, park.Errorf(park.InvalidRequest, "cursor must be the next of a page before, not %q", cursor)
	}
	return seq, nil
}

// listing is a List under way.
type listing struct {
	*pool
	park.TaskQuery
	below int64 // the number of the last task looked at
	last  int64 // and of the last one found
	found []ledger.Record
	next  string
}

// more goes on for a while and returns false at the end.
func (l *listing) more() bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if live := l.live(l.Status); live != nil && live.n <= few {
		l.sorted(live)
		return false
	}
	for range look {
		n, t := l.order.UpTo(l.below - 1)
		if t == nil || !l.take(*t) {
			return false
		}
		l.below = n
	}
	return true
}

// sorted lists from a few tasks in any order.
func (l *listing) sorted(live *ring) {
	tasks := make([]*task, 0, live.n)
	for t := range live.all {
		if t.number < l.below {
			tasks = append(tasks, t)
		}
	}
	newest(tasks)
	for _, t := range tasks {
		if !l.take(t) {
			return
		}
	}
}

// take adds t if it is asked for. It returns false once the page is full and t is for the next one.
func (l *listing) take(t *task) bool {
	if (l.Status != "" && t.Status != l.Status) || (l.Tenant != "" && t.Tenant != l.Tenant) {
		return true
	}
	if len(l.found) == l.Limit {
		l.next = strconv.FormatInt(l.last, 10)
		return false
	}
	r := t.Record
	r.Payload = nil
	l.found, l.last = append(l.found, r), t.number
	return true
}

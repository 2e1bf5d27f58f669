package memory

import (
	"context"
	"strconv"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

const (
	// scanBatch bounds how many items are examined under one lock, so that a long search does not block others.
	scanBatch = 4096
	// maxSorted is up to how many tasks a status is sorted instead of searched.
	maxSorted = 2048
)

// List implements [store.Queue].
func (s *Store) List(ctx context.Context, id string, q park.TaskQuery) ([]ledger.Record, string, error) {
	below, err := parseCursor(q.Cursor, 1<<62)
	if err != nil {
		return nil, "", err
	}
	p := s.findPool(id)
	if p == nil || ctx.Err() != nil {
		return nil, "", ctx.Err()
	}
	l := listScan{pool: p, TaskQuery: q, below: below}
	for l.scanSome() {
		if err := ctx.Err(); err != nil {
			return nil, "", err
		}
	}
	return l.found, l.next, nil
}

// parseCursor returns the number in a page's cursor, or first if there is no cursor.
func parseCursor(cursor string, first int64) (int64, error) {
	if cursor == "" {
		return first, nil
	}
	seq, err := strconv.ParseInt(cursor, 10, 64)
	if err != nil || seq < 1 {
		return 0, park.Errorf(park.InvalidRequest, "cursor must be the next value of an earlier page, not %q", cursor)
	}
	return seq, nil
}

// listScan is a List in progress.
type listScan struct {
	*pool
	park.TaskQuery
	below     int64 // the number of the last task examined
	lastFound int64 // the number of the last task found
	found     []ledger.Record
	next      string
}

// scanSome scans some more tasks. It returns false at the end.
func (l *listScan) scanSome() bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if live := l.setOf(l.Status); live != nil && live.count <= maxSorted {
		l.listSorted(live)
		return false
	}
	for range scanBatch {
		n, t := l.tasks.UpTo(l.below - 1)
		if t == nil || !l.consider(*t) {
			return false
		}
		l.below = n
	}
	return true
}

// listSorted lists a few tasks that are in no particular order.
func (l *listScan) listSorted(live *taskSet) {
	tasks := make([]*task, 0, live.count)
	for t := range live.all {
		if t.number < l.below {
			tasks = append(tasks, t)
		}
	}
	sortNewestFirst(tasks)
	for _, t := range tasks {
		if !l.consider(t) {
			return
		}
	}
}

// consider adds t if it matches. It returns false once the page is full and t belongs to the next one.
func (l *listScan) consider(t *task) bool {
	if (l.Status != "" && t.Status != l.Status) || (l.Tenant != "" && t.Tenant != l.Tenant) {
		return true
	}
	if len(l.found) == l.Limit {
		l.next = strconv.FormatInt(l.lastFound, 10)
		return false
	}
	r := t.Record
	r.Payload = nil
	l.found, l.lastFound = append(l.found, r), t.number
	return true
}

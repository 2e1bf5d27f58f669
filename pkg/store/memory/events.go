package memory

import (
	"context"
	"slices"
	"sort"

	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// Events implements [store.Audit].
func (s *Store) Events(ctx context.Context, q park.AuditQuery) ([]park.Event, error) {
	r := logScan{audit: &s.audit, AuditQuery: q, since: q.Since.Micro(), until: q.Until.Micro(), hasUntil: !q.Until.IsZero()}
	if err := r.seek(); err != nil {
		return nil, err
	}
	for more := true; more; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		more = r.scanSome()
	}
	return r.found, nil
}

// logScan is a query of the log in progress. It follows the events of one pool in their order, or else the numbers of
// the events in the shortest index that covers the query.
type logScan struct {
	*audit
	park.AuditQuery
	since, until int64
	hasUntil     bool  // until is set; it may be 0, the first instant of 1970
	next         int64 // the number from which to continue
	rev          int64 // by pool: the place after the last event
	ord          int
	found        []park.Event
}

// seek finds the first place that is after the cursor and not before since.
func (r *logScan) seek() error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.Cursor != "" {
		pool, rev, ord, err := park.ParseEventID(r.Cursor)
		if err != nil {
			return park.Errorf(park.InvalidRequest, "cursor %v", err)
		}
		switch n := r.find(pool, rev, ord); {
		case n != 0 && r.byPool() && pool == r.PoolID:
			r.rev, r.ord = rev, ord+1
		case n != 0:
			r.next = n + 1
		case !r.isBeforeOldest(pool, rev, ord):
			return store.ErrNoEvent
		}
	}
	if r.since != 0 {
		r.next = max(r.next, r.events.search(func(l *storedEvent) bool { return l.orderedAt >= r.since }))
	}
	return nil
}

func (r *logScan) byPool() bool { return r.PoolID != "" && r.TaskID == "" }

// find returns the number of an event, or 0 if it is not in the log.
func (r *logScan) find(pool string, rev int64, ord int) int64 {
	list := r.pools.byName[pool]
	if list == nil {
		return 0
	}
	if at := r.searchPool(list, rev, ord); at < len(list.numbers) && r.compare(list.numbers[at], rev, ord) == 0 {
		return list.numbers[at]
	}
	return 0
}

// isBeforeOldest reports whether an event would be older than the oldest event of its pool.
func (r *logScan) isBeforeOldest(pool string, rev int64, ord int) bool {
	list := r.pools.byName[pool]
	return list != nil && len(list.numbers) > 0 && r.compare(list.numbers[0], rev, ord) > 0
}

// scanSome scans some more events. It returns false at the end.
func (r *logScan) scanSome() bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.byPool() {
		return r.scanPool()
	}
	list, indexed := r.shortestIndex()
	if !indexed {
		return r.scanLog()
	}
	at, _ := slices.BinarySearch(list, r.next)
	for range scanBatch {
		if at >= len(list) || !r.consider(list[at], r.events.Get(list[at])) {
			return false
		}
		at++
	}
	return true
}

// scanLog scans the log itself.
func (r *logScan) scanLog() bool {
	for range scanBatch {
		n, l := r.events.From(r.next)
		if l == nil || !r.consider(n, l) {
			return false
		}
	}
	return true
}

// scanPool scans the events of one pool.
func (r *logScan) scanPool() bool {
	p := r.pools.byName[r.PoolID]
	if p == nil {
		return false
	}
	list := p.numbers
	at := r.searchPool(p, r.rev, r.ord)
	if r.rev == 0 && r.since != 0 {
		at = sort.Search(len(list), func(i int) bool { return r.events.Get(list[i]).at >= r.since })
	}
	start := r.next
	for range scanBatch {
		if at >= len(list) {
			return false
		}
		l := r.events.Get(list[at])
		if list[at] >= start && !r.consider(list[at], l) {
			return false
		}
		r.rev, r.ord = l.rev, int(l.ord)+1
		r.next = start
		at++
	}
	return true
}

func (r *logScan) shortestIndex() (ids []int64, indexed bool) {
	if r.TaskID != "" {
		return r.byTask(r.TaskID), true
	}
	consider := func(l *postings) {
		switch {
		case l == nil:
			ids, indexed = nil, true
		case !indexed || len(l.numbers) < len(ids):
			ids, indexed = l.numbers, true
		}
	}
	if r.Tenant != "" {
		consider(r.tenants.byName[r.Tenant])
	}
	if r.Action != "" {
		consider(r.actions.byName[string(r.Action)])
	}
	return ids, indexed
}

// consider adds an event if it matches. It returns false once no more events can match.
func (r *logScan) consider(n int64, l *storedEvent) bool {
	if len(r.found) >= r.Limit || (r.hasUntil && l.orderedAt >= r.until+r.maxLag) {
		return false
	}
	r.next = n + 1
	if r.matches(l) {
		r.found = append(r.found, l.event())
	}
	return len(r.found) < r.Limit
}

func (r *logScan) matches(l *storedEvent) bool {
	return (r.TaskID == "" || l.taskID == r.TaskID) &&
		(r.PoolID == "" || l.pool.name == r.PoolID) &&
		(r.Tenant == "" || l.tenant.name == r.Tenant) &&
		(r.Action == "" || l.action.name == string(r.Action)) &&
		(r.since == 0 || l.at >= r.since) && (!r.hasUntil || l.at < r.until)
}

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
	r := reading{audit: &s.audit, AuditQuery: q, since: q.Since.Micro(), until: q.Until.Micro(), ends: !q.Until.IsZero()}
	if err := r.begin(); err != nil {
		return nil, err
	}
	for more := true; more; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		more = r.more()
	}
	return r.found, nil
}

// reading is a query of the log under way. It goes by the events of one pool in their order, or else by
// number, along the shortest of the indexes that hold what is asked for.
type reading struct {
	*audit
	park.AuditQuery
	since, until int64
	ends         bool  // until counts, though it be 0: the first instant of 1970
	next         int64 // the number to go on from
	rev          int64 // and, by pool, the place behind the last event
	ord          int
	found        []park.Event
}

// begin finds the place behind the cursor and not before since.
func (r *reading) begin() error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.Cursor != "" {
		pool, rev, ord, err := park.ParseEventID(r.Cursor)
		if err != nil {
			return park.Errorf(park.InvalidRequest, "cursor %v", err)
		}
		switch n := r.number(pool, rev, ord); {
		case n != 0 && r.byPool() && pool == r.PoolID:
			r.rev, r.ord = rev, ord+1
		case n != 0:
			r.next = n + 1
		case !r.older(pool, rev, ord):
			return store.ErrNoEvent
		}
	}
	if r.since != 0 {
		r.next = max(r.next, r.all.search(func(l *line) bool { return l.written >= r.since }))
	}
	return nil
}

func (r *reading) byPool() bool { return r.PoolID != "" && r.TaskID == "" }

// number returns the number of an event, 0 where it is not there.
func (r *reading) number(pool string, rev int64, ord int) int64 {
	list := r.pools.byName[pool]
	if list == nil {
		return 0
	}
	if at := r.place(list, rev, ord); at < len(list.ids) && r.compare(list.ids[at], rev, ord) == 0 {
		return list.ids[at]
	}
	return 0
}

// older reports whether an event would be older than the oldest of its pool.
func (r *reading) older(pool string, rev int64, ord int) bool {
	list := r.pools.byName[pool]
	return list != nil && len(list.ids) > 0 && r.compare(list.ids[0], rev, ord) > 0
}

// more goes on for a while and returns false at the end.
func (r *reading) more() bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.byPool() {
		return r.alongPool()
	}
	list, indexed := r.shortest()
	if !indexed {
		return r.along()
	}
	at, _ := slices.BinarySearch(list, r.next)
	for range look {
		if at >= len(list) || !r.take(list[at], r.all.Get(list[at])) {
			return false
		}
		at++
	}
	return true
}

// along reads the log itself.
func (r *reading) along() bool {
	for range look {
		n, l := r.all.From(r.next)
		if l == nil || !r.take(n, l) {
			return false
		}
	}
	return true
}

// alongPool reads the events of one pool.
func (r *reading) alongPool() bool {
	p := r.pools.byName[r.PoolID]
	if p == nil {
		return false
	}
	list := p.ids
	at := r.place(p, r.rev, r.ord)
	if r.rev == 0 && r.since != 0 {
		at = sort.Search(len(list), func(i int) bool { return r.all.Get(list[i]).at >= r.since })
	}
	start := r.next
	for range look {
		if at >= len(list) {
			return false
		}
		l := r.all.Get(list[at])
		if list[at] >= start && !r.take(list[at], l) {
			return false
		}
		r.rev, r.ord = l.rev, int(l.ord)+1
		r.next = start
		at++
	}
	return true
}

func (r *reading) shortest() (ids []int64, indexed bool) {
	if r.TaskID != "" {
		return r.ofTask(r.TaskID), true
	}
	consider := func(l *list) {
		switch {
		case l == nil:
			ids, indexed = nil, true
		case !indexed || len(l.ids) < len(ids):
			ids, indexed = l.ids, true
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

// take adds an event if it is asked for. It returns false once no more can come.
func (r *reading) take(n int64, l *line) bool {
	if len(r.found) >= r.Limit || (r.ends && l.written >= r.until+r.late) {
		return false
	}
	r.next = n + 1
	if r.wanted(l) {
		r.found = append(r.found, l.event())
	}
	return len(r.found) < r.Limit
}

func (r *reading) wanted(l *line) bool {
	return (r.TaskID == "" || l.taskID == r.TaskID) &&
		(r.PoolID == "" || l.pool.name == r.PoolID) &&
		(r.Tenant == "" || l.tenant.name == r.Tenant) &&
		(r.Action == "" || l.action.name == string(r.Action)) &&
		(r.since == 0 || l.at >= r.since) && (!r.ends || l.at < r.until)
}

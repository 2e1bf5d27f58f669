package memory

import (
	"cmp"
	"context"
	"sort"
	"sync"

	"github.com/parkd-dev/parkd/pkg/park"
)

// audit is the log of events and the ways to find them.
type audit struct {
	mu      sync.RWMutex
	all     shelf[line] // in the order in which they were written
	tasks   index[string]
	tenants index[string]
	actions index[park.Action]
	pools   index[string] // in order of (Rev, Ord)
	clock
}

type line struct {
	park.Event
	written int64
}

func (a *audit) init() {
	a.tasks, a.tenants, a.pools = make(index[string]), make(index[string]), make(index[string])
	a.actions = make(index[park.Action])
}

// add appends the events that are not there yet.
func (a *audit) add(events []park.Event) {
	if len(events) == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range events {
		e := &events[i]
		pool := a.pools.of(e.PoolID)
		at := a.place(pool, e.Rev, e.Ord)
		if at < len(pool.ids) {
			if there := a.all.get(pool.ids[at]); there.Rev == e.Rev && there.Ord == e.Ord {
				continue
			}
		}
		n := a.all.add(line{Event: *e, written: a.stamp(e.At)})
		pool.insert(at, n)
		a.tenants.add(e.Tenant, n)
		a.actions.add(e.Action, n)
		if e.TaskID != "" {
			a.tasks.add(e.TaskID, n)
		}
	}
}

// place returns the index of the first event of a pool that is not before (rev, ord).
func (a *audit) place(pool *postings, rev int64, ord int) int {
	last := len(pool.ids)
	if last == 0 || a.compare(pool.ids[last-1], rev, ord) < 0 {
		return last
	}
	return sort.Search(last, func(i int) bool { return a.compare(pool.ids[i], rev, ord) >= 0 })
}

func (a *audit) compare(n, rev int64, ord int) int {
	l := a.all.get(n)
	return cmp.Or(cmp.Compare(l.Rev, rev), cmp.Compare(l.Ord, ord))
}

func (a *audit) newest() string {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if _, l := a.all.upTo(a.all.last); l != nil {
		return park.EventID(l.PoolID, l.Rev, l.Ord)
	}
	return ""
}

// PruneEvents implements [store.Audit].
func (s *Store) PruneEvents(ctx context.Context, before park.Time, limit int) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	return s.audit.prune(before, limit), nil
}

func (a *audit) prune(before park.Time, limit int) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	end := before.Micro() + a.late
	removed := 0
	for n, l := a.all.from(0); l != nil && removed < limit && l.written < end; n, l = a.all.from(n + 1) {
		if !l.At.Before(before.Time) {
			continue
		}
		a.pools.remove(l.PoolID, n)
		a.tenants.remove(l.Tenant, n)
		a.actions.remove(l.Action, n)
		a.tasks.remove(l.TaskID, n)
		a.all.remove(n)
		removed++
	}
	return removed
}

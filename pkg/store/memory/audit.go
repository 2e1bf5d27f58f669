package memory

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"sort"
	"sync"

	"github.com/parkd-dev/parkd/pkg/park"
)

// audit is the log of events and its indexes.
type audit struct {
	mu      sync.RWMutex
	events  sequence[storedEvent] // in the order in which they were written
	tasks   hashChains
	tenants postingIndex
	actions postingIndex
	pools   postingIndex // in order of (Rev, Ord)
	nodes   postingIndex // only to share names: it has no numbers
	pruned  map[string]park.Mark
	clock
}

// storedEvent is an event in the log. The log is most of what a daemon with its queues in memory holds, and the
// garbage collector scans all of it. So values that many events share are stored once.
type storedEvent struct {
	taskID       string
	pool         *postings
	tenant       *postings
	action       *postings
	node         *postings
	detail       *json.RawMessage // nil if there is none
	at           int64            // microseconds, as written
	orderedAt    int64
	rev          int64
	units        int64
	prevSameHash int64 // the previous event of a task whose id has the same hash
	ord          int32
	attempt      int32
}

func (a *audit) init() { a.tasks, a.pruned = newHashChains(), make(map[string]park.Mark) }

// event returns the event as it was appended, with its id.
func (l *storedEvent) event() park.Event {
	e := park.Event{
		EventID: park.EventID(l.pool.name, l.rev, int(l.ord)), At: park.FromMicro(l.at), Rev: l.rev, Ord: int(l.ord),
		Action: park.Action(l.action.name), TaskID: l.taskID, PoolID: l.pool.name, Tenant: l.tenant.name,
		Units: l.units, Attempt: int(l.attempt), Node: l.node.name,
	}
	if l.detail != nil {
		e.Detail = *l.detail
	}
	return e
}

// add appends the events that are not in the log yet.
func (a *audit) add(events []park.Event) {
	if len(events) == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range events {
		e := &events[i]
		pool := a.pools.get(e.PoolID)
		at := a.searchPool(pool, e.Rev, e.Ord)
		if at < len(pool.numbers) && a.compare(pool.numbers[at], e.Rev, e.Ord) == 0 {
			continue
		}
		n, l := a.events.next()
		l.taskID, l.pool, l.tenant = e.TaskID, pool, a.tenants.get(e.Tenant)
		l.action, l.node = a.actions.get(string(e.Action)), a.nodes.get(e.Node)
		l.at, l.orderedAt, l.rev, l.ord, l.units, l.attempt = e.At.Micro(), a.stamp(e.At), e.Rev, int32(e.Ord), e.Units, int32(e.Attempt)
		if e.Detail != nil {
			l.detail = new(e.Detail)
		}
		pool.insert(at, n)
		l.tenant.numbers = append(l.tenant.numbers, n)
		l.action.numbers = append(l.action.numbers, n)
		if e.TaskID != "" {
			l.prevSameHash = a.tasks.add(e.TaskID, n)
		}
	}
}

// searchPool returns the index of a pool's first event that is not before (rev, ord).
func (a *audit) searchPool(pool *postings, rev int64, ord int) int {
	last := len(pool.numbers)
	if last == 0 || a.compare(pool.numbers[last-1], rev, ord) < 0 {
		return last
	}
	return sort.Search(last, func(i int) bool { return a.compare(pool.numbers[i], rev, ord) >= 0 })
}

func (a *audit) compare(n, rev int64, ord int) int {
	l := a.events.Get(n)
	return cmp.Or(cmp.Compare(l.rev, rev), cmp.Compare(int(l.ord), ord))
}

// byTask returns the numbers of a task's events.
func (a *audit) byTask(id string) (found []int64) {
	for n := a.tasks.newestOf(id); n != 0; {
		l := a.events.Get(n)
		if l == nil {
			break // it was pruned, and so were all before it
		}
		if l.taskID == id {
			found = append(found, n)
		}
		n = l.prevSameHash
	}
	slices.Reverse(found)
	return found
}

func (a *audit) lastID() string {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if _, l := a.events.UpTo(a.events.lastNumber); l != nil {
		return park.EventID(l.pool.name, l.rev, int(l.ord))
	}
	return ""
}

// lastRevOf returns the rev and the time of a pool's newest event.
func (a *audit) lastRevOf(pool string) (int64, park.Time) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	p := a.pools.byName[pool]
	if p == nil || len(p.numbers) == 0 {
		return 0, park.Time{}
	}
	l := a.events.Get(p.numbers[len(p.numbers)-1])
	return l.rev, park.FromMicro(l.at)
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
	end := before.Micro() + a.maxLag
	removed := 0
	for n, l := a.events.From(0); l != nil && removed < limit && l.orderedAt < end; n, l = a.events.From(n + 1) {
		if l.at >= before.Micro() {
			continue
		}
		a.markPruned(l)
		a.pools.remove(l.pool, n)
		a.tenants.remove(l.tenant, n)
		a.actions.remove(l.action, n)
		if l.taskID != "" {
			removeFromChain(&a.tasks, &a.events, l.taskID, n, func(l *storedEvent) *int64 { return &l.prevSameHash })
		}
		a.events.Remove(n)
		removed++
	}
	return removed
}

// markPruned records that an event is removed.
func (a *audit) markPruned(l *storedEvent) {
	m := a.pruned[l.pool.name]
	if l.rev > m.Rev {
		m.Rev, m.Before = l.rev, park.FromMicro(max(m.Before.Micro(), l.at+1))
		a.pruned[l.pool.name] = m
	}
}

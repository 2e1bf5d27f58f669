package memory

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// pool is the row and the tasks of one pool.
type pool struct {
	mu       sync.RWMutex
	row      ledger.Pool
	tasks    sequence[*task] // all, in order of submission
	byID     hashChains
	queued   taskSet
	running  taskSet
	ended    []*task // by the time of their end; may hold tasks that were removed
	changes  changeLog
	waitList store.WaitList
}

type task struct {
	ledger.Record
	number       int64 // in pool.tasks
	prevSameHash int64 // the previous task whose id has the same hash
	prev, next   *task // in its taskSet
}

// taskSet holds the tasks of one status, in no particular order.
type taskSet struct {
	first *task
	count int
}

func (r *taskSet) add(t *task) {
	if t.prev, t.next = nil, r.first; r.first != nil {
		r.first.prev = t
	}
	r.first = t
	r.count++
}

func (r *taskSet) remove(t *task) {
	if t.prev == nil {
		r.first = t.next
	} else {
		t.prev.next = t.next
	}
	if t.next != nil {
		t.next.prev = t.prev
	}
	t.prev, t.next = nil, nil
	r.count--
}

func (r *taskSet) all(yield func(*task) bool) {
	for t := r.first; t != nil && yield(t); t = t.next {
	}
}

func newPool() *pool { return &pool{byID: newHashChains()} }

// setOf returns the tasks of a status, or nil for a status of ended tasks.
func (p *pool) setOf(s park.Status) *taskSet {
	switch s {
	case park.Queued:
		return &p.queued
	case park.Running:
		return &p.running
	default:
		return nil
	}
}

// find returns the task with the id, or nil.
func (p *pool) find(id string) *task {
	for at := p.tasks.Get(p.byID.newestOf(id)); at != nil; at = p.tasks.Get((*at).prevSameHash) {
		if (*at).TaskID == id {
			return *at
		}
	}
	return nil
}

// commit applies the step's row and tasks, or nothing. done means that the step had been applied before. dead says
// whether its node was declared dead.
func (p *pool) commit(step *store.Step, dead bool) (done bool, err error) {
	switch {
	case step.ID == "":
		return false, errors.New("a step needs an id")
	case p.changes.hasStep(step.Row.Rev, step.ID):
		return true, nil
	case dead:
		return false, store.ErrDead
	case p.row.Rev != step.Row.Rev-1:
		c := p.conflict(step.Row.Rev - 1)
		if step.Node != "" {
			c.NodesAhead = p.waitList.Add(step.Node)
		}
		return false, c
	}
	if err := p.insert(step.Inserts); err != nil {
		return false, err
	}
	changed := make([]*task, len(step.Updates))
	for i := range step.Updates {
		if changed[i] = p.find(step.Updates[i].TaskID); changed[i] == nil {
			p.removeLast(len(step.Inserts))
			return false, fmt.Errorf("update task %s of pool %s: no such task", step.Updates[i].TaskID, step.PoolID)
		}
	}
	step.NodesWaiting = p.waitList.Done(step.Node)
	p.row = step.Row
	p.row.LastStep = step.ID
	p.changes.beginStep(p.row.Rev, step.ID)
	for i := range step.Inserts {
		p.addByStatus(*p.tasks.Get(p.tasks.lastNumber - int64(len(step.Inserts)-1-i)))
	}
	for i, t := range changed {
		if live := p.setOf(t.Status); live != nil {
			live.remove(t)
		}
		t.State = step.Updates[i].State
		p.addByStatus(t)
	}
	return false, nil
}

// advanceRev moves the pool to row's rev, unless it is there already or later.
func (p *pool) advanceRev(row ledger.Pool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.row.Rev >= row.Rev:
		return
	case p.row.Rev == 0:
		p.row = row
	default:
		p.row.Rev, p.row.LastStep = row.Rev, row.LastStep
		if p.row.LastAt.Before(row.LastAt.Time) {
			p.row.LastAt = row.LastAt
		}
	}
	p.changes = changeLog{firstRev: row.Rev + 1}
}

// insert adds all records, or none.
func (p *pool) insert(records []ledger.Record) error {
	for i := range records {
		r := &records[i]
		if p.find(r.TaskID) != nil {
			p.removeLast(i)
			return fmt.Errorf("insert task %s of pool %s: %w", r.TaskID, r.PoolID, store.ErrTaskExists)
		}
		n, at := p.tasks.next()
		*at = &task{Record: *r, number: n, prevSameHash: p.byID.add(r.TaskID, n)}
	}
	return nil
}

// removeLast removes the last n tasks.
func (p *pool) removeLast(n int) {
	for range n {
		_, at := p.tasks.UpTo(p.tasks.lastNumber)
		p.remove(*at)
	}
}

// remove removes a task.
func (p *pool) remove(t *task) {
	removeFromChain(&p.byID, &p.tasks, t.TaskID, t.number, func(t **task) *int64 { return &(*t).prevSameHash })
	p.tasks.Remove(t.number)
}

// addByStatus adds a task to those of its status, and records that it was touched.
func (p *pool) addByStatus(t *task) {
	p.changes.add(t)
	if live := p.setOf(t.Status); live != nil {
		live.add(t)
		return
	}
	at := len(p.ended)
	for at > 0 && p.ended[at-1].EndedAt.After(t.EndedAt.Time) {
		at--
	}
	p.ended = append(p.ended, nil)
	copy(p.ended[at+1:], p.ended[at:])
	p.ended[at] = t
}

func (p *pool) conflict(rev int64) *store.Conflict {
	c := &store.Conflict{Row: p.row}
	touched, ok := p.changes.changedSince(rev, p.row.Rev)
	if !ok {
		c.Reload = true
		return c
	}
	for t := range touched {
		c.Changed = append(c.Changed, t.withoutPayload())
	}
	return c
}

func (p *pool) load() store.Snapshot {
	p.mu.RLock()
	defer p.mu.RUnlock()
	s := store.Snapshot{Row: p.row}
	s.Tasks = make([]ledger.Record, 0, p.queued.count+p.running.count)
	for _, live := range [...]*taskSet{&p.queued, &p.running} {
		for t := range live.all {
			s.Tasks = append(s.Tasks, t.withoutPayload())
		}
	}
	return s
}

// withoutPayload returns the record without the fields that scheduling does not need.
func (t *task) withoutPayload() ledger.Record {
	r := t.Record
	r.Payload, r.Command, r.WorkDir, r.Result = nil, nil, "", nil
	return r
}

func (p *pool) records(ids []string) []ledger.Record {
	p.mu.RLock()
	defer p.mu.RUnlock()
	var found []ledger.Record
	for _, id := range unique(ids) {
		if t := p.find(id); t != nil {
			found = append(found, t.Record)
		}
	}
	return found
}

// prune removes up to limit tasks that ended before the given time. It calls mark before it removes the first.
func (p *pool) prune(before park.Time, limit int, mark func()) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for n < limit && len(p.ended) > 0 && p.ended[0].EndedAt.Before(before.Time) {
		t := p.ended[0]
		p.ended[0] = nil
		p.ended = p.ended[1:]
		if at := p.tasks.Get(t.number); t.Status.Ended() && at != nil && *at == t {
			if n == 0 {
				mark()
			}
			p.remove(t)
			n++
		}
	}
	return n
}

// sortNewestFirst sorts tasks by submission, the newest first.
func sortNewestFirst(tasks []*task) {
	slices.SortFunc(tasks, func(a, b *task) int { return cmp.Compare(b.number, a.number) })
}

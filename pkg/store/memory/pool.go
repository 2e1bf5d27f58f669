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

// pool is one pool's row and tasks.
type pool struct {
	mu      sync.RWMutex
	row     ledger.Pool
	order   shelf[*task] // all, in order of submission
	byID    chains
	queued  ring
	running ring
	ended   []*task // by the time of their end; may hold some that are gone
	since   journal
	line    store.WaitList
}

type task struct {
	ledger.Record
	number     int64 // in pool.order
	before     int64 // the task before whose id has the same hash
	prev, next *task // in the ring that it is in
}

// ring holds the tasks of one status, in no order that means something.
type ring struct {
	first *task
	n     int
}

func (r *ring) add(t *task) {
	if t.prev, t.next = nil, r.first; r.first != nil {
		r.first.prev = t
	}
	r.first = t
	r.n++
}

func (r *ring) remove(t *task) {
	if t.prev == nil {
		r.first = t.next
	} else {
		t.prev.next = t.next
	}
	if t.next != nil {
		t.next.prev = t.prev
	}
	t.prev, t.next = nil, nil
	r.n--
}

func (r *ring) all(yield func(*task) bool) {
	for t := r.first; t != nil && yield(t); t = t.next {
	}
}

func newPool() *pool { return &pool{byID: newChains()} }

// live returns the ring of a status, nil where the tasks of that status have ended.
func (p *pool) live(s park.Status) *ring {
	switch s {
	case park.Queued:
		return &p.queued
	case park.Running:
		return &p.running
	default:
		return nil
	}
}

// find returns the task with the id, nil where there is none.
func (p *pool) find(id string) *task {
	for at := p.order.Get(p.byID.last(id)); at != nil; at = p.order.Get((*at).before) {
		if (*at).TaskID == id {
			return *at
		}
	}
	return nil
}

// commit applies the step's row and tasks, or nothing. done means that the step had been applied before; dead is whether
// its node is.
func (p *pool) commit(step *store.Step, dead bool) (done bool, err error) {
	switch {
	case step.ID == "":
		return false, errors.New("a step needs an id")
	case p.since.knows(step.Row.Rev, step.ID):
		return true, nil
	case dead:
		return false, store.ErrDead
	case p.row.Rev != step.Row.Rev-1:
		c := p.conflict(step.Row.Rev - 1)
		if step.Node != "" {
			c.NodesAhead = p.line.Add(step.Node)
		}
		return false, c
	}
	if err := p.insert(step.Inserts); err != nil {
		return false, err
	}
	changed := make([]*task, len(step.Updates))
	for i := range step.Updates {
		if changed[i] = p.find(step.Updates[i].TaskID); changed[i] == nil {
			p.takeBack(len(step.Inserts))
			return false, fmt.Errorf("update task %s of pool %s: there is no such task", step.Updates[i].TaskID, step.PoolID)
		}
	}
	step.NodesWaiting = p.line.Done(step.Node)
	p.row = step.Row
	p.row.LastStep = step.ID
	p.since.begin(p.row.Rev, step.ID)
	for i := range step.Inserts {
		p.enter(*p.order.Get(p.order.last - int64(len(step.Inserts)-1-i)))
	}
	for i, t := range changed {
		if live := p.live(t.Status); live != nil {
			live.remove(t)
		}
		t.State = step.Updates[i].State
		p.enter(t)
	}
	return false, nil
}

// lift moves the pool to row's rev, unless it has come that far.
func (p *pool) lift(row ledger.Pool) {
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
	p.since = journal{first: row.Rev + 1}
}

// insert makes all records known by their ids, or none.
func (p *pool) insert(records []ledger.Record) error {
	for i := range records {
		r := &records[i]
		if p.find(r.TaskID) != nil {
			p.takeBack(i)
			return fmt.Errorf("insert task %s of pool %s: %w", r.TaskID, r.PoolID, store.ErrTaskExists)
		}
		n, at := p.order.next()
		*at = &task{Record: *r, number: n, before: p.byID.add(r.TaskID, n)}
	}
	return nil
}

// takeBack makes the last n tasks unknown again.
func (p *pool) takeBack(n int) {
	for range n {
		_, at := p.order.UpTo(p.order.last)
		p.remove(*at)
	}
}

// remove makes a task unknown.
func (p *pool) remove(t *task) {
	unlink(&p.byID, &p.order, t.TaskID, t.number, func(t **task) *int64 { return &(*t).before })
	p.order.Remove(t.number)
}

// enter puts a task where its status belongs and notes that it was touched.
func (p *pool) enter(t *task) {
	p.since.touch(t)
	if live := p.live(t.Status); live != nil {
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
	touched, ok := p.since.after(rev, p.row.Rev)
	if !ok {
		c.Reload = true
		return c
	}
	for t := range touched {
		c.Changed = append(c.Changed, t.light())
	}
	return c
}

func (p *pool) load() store.Snapshot {
	p.mu.RLock()
	defer p.mu.RUnlock()
	s := store.Snapshot{Row: p.row}
	s.Tasks = make([]ledger.Record, 0, p.queued.n+p.running.n)
	for _, live := range [...]*ring{&p.queued, &p.running} {
		for t := range live.all {
			s.Tasks = append(s.Tasks, t.light())
		}
	}
	return s
}

// light returns the record without what scheduling does not need.
func (t *task) light() ledger.Record {
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

// prune removes up to limit tasks that ended before the given time, and calls mark before it removes the first.
func (p *pool) prune(before park.Time, limit int, mark func()) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for n < limit && len(p.ended) > 0 && p.ended[0].EndedAt.Before(before.Time) {
		t := p.ended[0]
		p.ended[0] = nil
		p.ended = p.ended[1:]
		if at := p.order.Get(t.number); t.Status.Ended() && at != nil && *at == t {
			if n == 0 {
				mark()
			}
			p.remove(t)
			n++
		}
	}
	return n
}

// newest sorts tasks by submission, the newest first.
func newest(tasks []*task) {
	slices.SortFunc(tasks, func(a, b *task) int { return cmp.Compare(b.number, a.number) })
}

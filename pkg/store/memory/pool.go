package memory

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// pool is one pool's row and tasks.
type pool struct {
	mu    sync.RWMutex
	row   park.PoolRow
	tasks map[string]*task
	live  map[park.Status]map[*task]struct{} // the queued and the running ones
	order shelf[*task]                       // all, in order of submission
	ended []*task                            // by the time of their end; may hold some that are gone
	since journal
}

type task struct {
	park.Record
	number int64 // in pool.order
}

func newPool() *pool {
	return &pool{
		tasks: make(map[string]*task),
		live: map[park.Status]map[*task]struct{}{
			park.Queued:  make(map[*task]struct{}),
			park.Running: make(map[*task]struct{}),
		},
	}
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
		return false, p.conflict(step.Row.Rev - 1)
	}
	if err := p.insert(step.Inserts); err != nil {
		return false, err
	}
	for i := range step.Updates {
		if u := &step.Updates[i]; p.tasks[u.TaskID] == nil {
			p.takeBack(step.Inserts)
			return false, fmt.Errorf("update task %s of pool %s: there is no such task", u.TaskID, step.PoolID)
		}
	}
	p.row = step.Row
	p.row.LastStep = step.ID
	p.since.begin(p.row.Rev, step.ID)
	for i := range step.Inserts {
		t := p.tasks[step.Inserts[i].TaskID]
		t.number = p.order.add(t)
		p.enter(t)
	}
	for i := range step.Updates {
		t := p.tasks[step.Updates[i].TaskID]
		delete(p.live[t.Status], t)
		t.State = step.Updates[i].State
		p.enter(t)
	}
	return false, nil
}

// insert makes all records known by their ids, or none.
func (p *pool) insert(records []park.Record) error {
	for i := range records {
		r := &records[i]
		if p.tasks[r.TaskID] != nil {
			p.takeBack(records[:i])
			return fmt.Errorf("insert task %s of pool %s: %w", r.TaskID, r.PoolID, store.ErrTaken)
		}
		p.tasks[r.TaskID] = &task{Record: *r}
	}
	return nil
}

func (p *pool) takeBack(records []park.Record) {
	for i := range records {
		delete(p.tasks, records[i].TaskID)
	}
}

// enter puts a task where its status belongs and notes that it was touched.
func (p *pool) enter(t *task) {
	p.since.touch(t)
	if live := p.live[t.Status]; live != nil {
		live[t] = struct{}{}
		return
	}
	at := len(p.ended)
	for at > 0 && p.ended[at-1].EndedAt.After(t.EndedAt.Time) {
		at--
	}
	p.ended = slices.Insert(p.ended, at, t)
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
	s.Tasks = make([]park.Record, 0, len(p.live[park.Queued])+len(p.live[park.Running]))
	for _, live := range p.live {
		for t := range live {
			s.Tasks = append(s.Tasks, t.light())
		}
	}
	return s
}

// light returns the record without what scheduling does not need.
func (t *task) light() park.Record {
	r := t.Record
	r.Payload, r.Command, r.WorkDir, r.Result = nil, nil, "", nil
	return r
}

func (p *pool) records(ids []string) []park.Record {
	p.mu.RLock()
	defer p.mu.RUnlock()
	var found []park.Record
	for _, id := range unique(ids) {
		if t := p.tasks[id]; t != nil {
			found = append(found, t.Record)
		}
	}
	return found
}

// prune removes up to limit tasks that ended before the given time.
func (p *pool) prune(before park.Time, limit int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for n < limit && len(p.ended) > 0 && p.ended[0].EndedAt.Before(before.Time) {
		t := p.ended[0]
		p.ended[0] = nil
		p.ended = p.ended[1:]
		if t.Status.Ended() && p.tasks[t.TaskID] == t {
			delete(p.tasks, t.TaskID)
			p.order.remove(t.number)
			n++
		}
	}
	return n
}

// newest sorts tasks by submission, the newest first.
func newest(tasks []*task) {
	slices.SortFunc(tasks, func(a, b *task) int { return cmp.Compare(b.number, a.number) })
}

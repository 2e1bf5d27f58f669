package sim

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// base is a model of the database: what the stores of parkd promise, in the simplest form, with the same answers to
// the same questions. Its steps are kept, so that it can be put back to an earlier one.
type base struct {
	pools  map[string]*table
	steps  []done // in the order of their commits, over all pools
	boxes  map[box][]*letter
	mailed map[mail]bool
	letter int64
	events []park.Event
	known  map[string]bool        // events by id
	nodes  map[string]store.Pulse // of the living
	dead   map[string]bool
	leases map[string]store.Kept
	pruned []pruning
	// returns is how often the database was put back: what was sent to it before never arrives after that.
	returns int
	// entered is told of a step's new tasks, logged of its events, posted of messages, committed of the step, and removed of
	// tasks that were pruned, in order; and again from the beginning after a return to an earlier step, which returned is
	// told of.
	entered   func(*ledger.Record)
	logged    func([]park.Event)
	posted    func(*park.Message)
	committed func(done)
	removed   func(pool, id string)
	trimmed   func(trimmed)
	returned  func()
}

// done is a step that was committed, and when.
type done struct {
	step
	at time.Duration
}

type box struct{ tenant, key string }

// mail is what a mailbox knows a message by: an id may have had several lives.
type mail struct {
	pool, task string
	at         int64
}

// pruning is a task that was removed after so many steps.
type pruning struct {
	steps    int
	pool, id string
}

type letter struct {
	park.Message
	number  int64
	trimmed bool
}

// table is one pool's rows.
type table struct {
	row   ledger.Pool
	tasks map[string]*ledger.Record
	order []*ledger.Record // by submission
	// numbers are those of submissions.
	numbers map[string]int64
	last    int64
	noted   []note // of the step that led to each rev, from rev 1 on
	line    store.Line
}

type note struct {
	id      string
	touched []string
}

func newBase() *base {
	b := &base{}
	b.reset()
	b.nodes, b.dead, b.leases = make(map[string]store.Pulse), make(map[string]bool), make(map[string]store.Kept)
	return b
}

func (b *base) reset() {
	b.pools, b.boxes, b.mailed = make(map[string]*table), make(map[box][]*letter), make(map[mail]bool)
	b.steps, b.events, b.known, b.pruned = nil, nil, make(map[string]bool), nil
}

// back returns to the state after the first n steps.
func (b *base) back(n int) {
	b.returns++
	steps, pruned := b.steps[:n:n], b.pruned
	b.reset()
	b.returned()
	for i, s := range steps {
		for ; len(pruned) > 0 && pruned[0].steps <= i; pruned = pruned[1:] {
			b.remove(pruned[0].pool, pruned[0].id)
		}
		if err := b.commit(s, true); err != nil {
			panic(fmt.Sprintf("sim: a step that was done before: %v", err))
		}
	}
}

func (b *base) table(pool string) *table {
	t := b.pools[pool]
	if t == nil {
		t = &table{tasks: make(map[string]*ledger.Record), numbers: make(map[string]int64)}
		b.pools[pool] = t
	}
	return t
}

// commit does a step, or says why not. again is for one that is done for the second time, after a return.
func (b *base) commit(s done, again bool) error {
	t := b.table(s.PoolID)
	done := s.Row.Rev - 1
	known := done >= 0 && done < int64(len(t.noted)) && t.noted[done].id == s.ID
	switch dead := s.Node != "" && !again && b.nodes[s.Node].Counter == 0; {
	case dead && known, t.row.Rev != done && known:
		return nil
	case dead:
		return store.ErrDead
	case t.row.Rev != done:
		c := t.since(done)
		if s.Node != "" {
			c.Ahead = t.line.Join(s.Node)
		}
		return c
	}
	if err := t.check(s.Step); err != nil {
		return err
	}
	b.apply(t, s.Step)
	s.Waiting = t.line.Pass(s.Node)
	b.steps = append(b.steps, s)
	b.committed(s)
	return nil
}

func (t *table) check(s *store.Step) error {
	if s.ID == "" {
		return errors.New("a step needs an id")
	}
	for i := range s.Inserts {
		if t.tasks[s.Inserts[i].TaskID] != nil {
			return fmt.Errorf("insert task %s: %w", s.Inserts[i].TaskID, store.ErrTaken)
		}
	}
	for i := range s.Inserts {
		if bytes.Contains(s.Inserts[i].Payload, []byte(`"`+toxic+`"`)) {
			return &store.RefusedError{Err: errors.New("toxic")}
		}
	}
	for i := range s.Updates {
		if r := s.Updates[i].State.Result; len(r) < 1000 && poisoned(r) {
			return &store.RefusedError{Err: errors.New("poison")}
		}
		if t.tasks[s.Updates[i].TaskID] == nil {
			return fmt.Errorf("update task %s: there is no such task", s.Updates[i].TaskID)
		}
	}
	return nil
}

func (b *base) apply(t *table, s *store.Step) {
	t.row = s.Row
	t.row.LastStep = s.ID
	n := note{id: s.ID}
	for i := range s.Inserts {
		r := s.Inserts[i]
		t.tasks[r.TaskID] = &r
		t.order = append(t.order, &r)
		t.last++
		t.numbers[r.TaskID] = t.last
		n.touched = append(n.touched, r.TaskID)
		b.entered(&r)
	}
	for i := range s.Updates {
		t.tasks[s.Updates[i].TaskID].State = s.Updates[i].State
		n.touched = append(n.touched, s.Updates[i].TaskID)
	}
	t.noted = append(t.noted, n)
	b.deliver(s.Messages)
	b.append(s.Events)
}

func (b *base) append(events []park.Event) {
	for _, e := range events {
		e.EventID = park.EventID(e.PoolID, e.Rev, e.Ord)
		if b.known[e.EventID] {
			continue
		}
		b.known[e.EventID] = true
		b.events = append(b.events, e)
		b.logged(b.events[len(b.events)-1:])
	}
}

// since tells what came after a rev.
func (t *table) since(rev int64) *store.Conflict {
	c := &store.Conflict{Row: t.row}
	if rev > t.row.Rev || rev < 0 || t.row.Rev-rev > 64 {
		c.Reload = true
		return c
	}
	var touched []string
	for _, n := range t.noted[rev:] {
		touched = append(touched, n.touched...)
	}
	slices.Sort(touched) // their order is not that of the steps
	for _, id := range slices.Compact(touched) {
		if r := t.tasks[id]; r != nil { // else it was pruned since
			c.Changed = append(c.Changed, light(r))
		}
	}
	return c
}

// light returns a record without what scheduling does not need.
func light(r *ledger.Record) ledger.Record {
	l := *r
	l.Payload, l.Command, l.WorkDir, l.Result = nil, nil, "", nil
	return l
}

func (b *base) load(pool string) store.Snapshot {
	t := b.pools[pool]
	if t == nil {
		return store.Snapshot{}
	}
	s := store.Snapshot{Row: t.row}
	for _, r := range t.order {
		if !r.Status.Ended() {
			s.Tasks = append(s.Tasks, light(r))
		}
	}
	return s
}

func (b *base) records(pool string, ids []string) (found []ledger.Record) {
	t := b.pools[pool]
	if t == nil {
		return nil
	}
	for _, id := range slices.Compact(slices.Sorted(slices.Values(ids))) {
		if r := t.tasks[id]; r != nil {
			found = append(found, *r)
		}
	}
	return found
}

func (b *base) deliver(messages []park.Message) {
	for i := range messages {
		m := &messages[i]
		known := mail{m.PoolID, m.TaskID, m.CreatedAt.Micro()}
		if b.mailed[known] {
			continue
		}
		b.mailed[known] = true
		b.letter++
		l := &letter{Message: *m, number: b.letter}
		l.ID = strconv.FormatInt(b.letter, 10)
		k := box{m.Tenant, m.Key}
		b.boxes[k] = append(b.boxes[k], l)
		b.posted(&l.Message)
	}
}

func (b *base) messages(q park.MailboxQuery) (found []park.Message, err error) {
	after, err := number(q.After)
	if err != nil {
		return nil, err
	}
	for _, l := range b.boxes[box{q.Tenant, q.Key}] {
		if l.number > after && !l.trimmed && !l.CreatedAt.Before(q.Since.Time) && len(found) < q.Limit {
			found = append(found, l.Message)
		}
	}
	return found, nil
}

func (b *base) trim(tenant, key, upTo string) error {
	last, err := number(upTo)
	if err != nil {
		return err
	}
	for _, l := range b.boxes[box{tenant, key}] {
		if l.number <= last && !l.trimmed {
			l.trimmed = true
			b.trimmed(trimmed{box{tenant, key}, l.number})
		}
	}
	return nil
}

// prune removes up to limit tasks that ended before the given time.
func (b *base) prune(before park.Time, limit int) (n int) {
	for _, pool := range slices.Sorted(maps.Keys(b.pools)) {
		var old []string
		for _, r := range b.pools[pool].order {
			if r.Status.Ended() && r.EndedAt.Before(before.Time) && n+len(old) < limit {
				old = append(old, r.TaskID)
			}
		}
		for _, id := range old {
			b.remove(pool, id)
		}
		n += len(old)
	}
	return n
}

func (b *base) remove(pool, id string) {
	t := b.pools[pool]
	b.pruned = append(b.pruned, pruning{len(b.steps), pool, id})
	r := t.tasks[id]
	delete(t.tasks, id)
	t.order = slices.DeleteFunc(t.order, func(o *ledger.Record) bool { return o == r })
	b.removed(pool, id)
}

// pruneMessages removes up to limit messages that are older than the given time.
func (b *base) pruneMessages(before park.Time, limit int) (n int) {
	for _, k := range slices.SortedFunc(maps.Keys(b.boxes), func(x, y box) int { return cmp.Or(cmp.Compare(x.tenant, y.tenant), cmp.Compare(x.key, y.key)) }) {
		for _, l := range b.boxes[k] {
			if !l.trimmed && l.CreatedAt.Before(before.Time) && n < limit {
				l.trimmed = true
				b.trimmed(trimmed{k, l.number})
				delete(b.mailed, mail{l.PoolID, l.TaskID, l.CreatedAt.Micro()})
				n++
			}
		}
	}
	return n
}

func number(id string) (int64, error) {
	if id == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil {
		return 0, park.Errorf(park.InvalidRequest, "a message's id must be a number, not %q", id)
	}
	return n, nil
}

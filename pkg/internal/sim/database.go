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

// database is a model of the database: it does what the stores of parkd guarantee, in the simplest way. It keeps its
// steps, so that it can be restored to an earlier one.
type database struct {
	pools       map[string]*table
	steps       []committedStep // in commit order, over all pools
	mailboxes   map[mailbox][]*storedMessage
	delivered   map[messageKey]bool
	lastMessage int64
	events      []park.Event
	known       map[string]bool                // events by id
	nodes       map[string]store.NodeHeartbeat // the live ones
	dead        map[string]bool
	leases      map[string]store.LeaseRenewal
	pruned      []prunedTask
	// restores counts how often the database was restored: requests that were sent before never arrive.
	restores int
	// Callbacks, in order: entered for each new task of a step, logged for its events, posted for its messages,
	// committed for the step, removed for pruned tasks. After a restore, which calls returned, they are called again
	// from the first step on.
	entered   func(*ledger.Record)
	logged    func([]park.Event)
	posted    func(*park.Message)
	committed func(committedStep)
	removed   func(pool, id string)
	trimmed   func(trimmed)
	returned  func()
}

// committedStep is a committed step with its time.
type committedStep struct {
	step
	at time.Duration
}

type mailbox struct{ tenant, key string }

// messageKey identifies a message: an id may have been used by several tasks.
type messageKey struct {
	pool, task string
	at         int64
}

// prunedTask is a task that was removed, and after how many steps.
type prunedTask struct {
	steps    int
	pool, id string
}

type storedMessage struct {
	park.Message
	number  int64
	trimmed bool
}

// table has the rows of one pool.
type table struct {
	row   ledger.Pool
	tasks map[string]*ledger.Record
	order []*ledger.Record // in the order of submission
	// numbers counts submissions.
	numbers map[string]int64
	last    int64
	steps   []stepNote // the step of each rev, from rev 1 on
	line    store.WaitList
}

type stepNote struct {
	id      string
	touched []string
}

func newBase() *database {
	b := &database{}
	b.reset()
	b.nodes, b.dead, b.leases = make(map[string]store.NodeHeartbeat), make(map[string]bool), make(map[string]store.LeaseRenewal)
	return b
}

func (b *database) reset() {
	b.pools, b.mailboxes, b.delivered = make(map[string]*table), make(map[mailbox][]*storedMessage), make(map[messageKey]bool)
	b.steps, b.events, b.known, b.pruned = nil, nil, make(map[string]bool), nil
}

// restore returns to the state after the first n steps.
func (b *database) restore(n int) {
	b.restores++
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

func (b *database) table(pool string) *table {
	t := b.pools[pool]
	if t == nil {
		t = &table{tasks: make(map[string]*ledger.Record), numbers: make(map[string]int64)}
		b.pools[pool] = t
	}
	return t
}

// commit commits a step, or returns why it cannot. again is set for a step that is committed again after a restore.
func (b *database) commit(s committedStep, again bool) error {
	t := b.table(s.PoolID)
	done := s.Row.Rev - 1
	known := done >= 0 && done < int64(len(t.steps)) && t.steps[done].id == s.ID
	switch dead := s.Node != "" && !again && b.nodes[s.Node].Counter == 0; {
	case dead && known, t.row.Rev != done && known:
		return nil
	case dead:
		return store.ErrDead
	case t.row.Rev != done:
		c := t.since(done)
		if s.Node != "" {
			c.NodesAhead = t.line.Add(s.Node)
		}
		return c
	}
	if err := t.check(s.Step); err != nil {
		return err
	}
	b.apply(t, s.Step)
	s.NodesWaiting = t.line.Done(s.Node)
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
			return fmt.Errorf("insert task %s: %w", s.Inserts[i].TaskID, store.ErrTaskExists)
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

func (b *database) apply(t *table, s *store.Step) {
	t.row = s.Row
	t.row.LastStep = s.ID
	n := stepNote{id: s.ID}
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
	t.steps = append(t.steps, n)
	b.deliver(s.Messages)
	b.append(s.Events)
}

func (b *database) append(events []park.Event) {
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

// since returns the changes after a rev.
func (t *table) since(rev int64) *store.Conflict {
	c := &store.Conflict{Row: t.row}
	if rev > t.row.Rev || rev < 0 || t.row.Rev-rev > 64 {
		c.Reload = true
		return c
	}
	var touched []string
	for _, n := range t.steps[rev:] {
		touched = append(touched, n.touched...)
	}
	slices.Sort(touched) // the order of steps is not guaranteed
	for _, id := range slices.Compact(touched) {
		if r := t.tasks[id]; r != nil { // else it was pruned since
			c.Changed = append(c.Changed, withoutPayload(r))
		}
	}
	return c
}

// withoutPayload returns a record with only the fields that scheduling needs.
func withoutPayload(r *ledger.Record) ledger.Record {
	l := *r
	l.Payload, l.Command, l.WorkDir, l.Result = nil, nil, "", nil
	return l
}

func (b *database) load(pool string) store.Snapshot {
	t := b.pools[pool]
	if t == nil {
		return store.Snapshot{}
	}
	s := store.Snapshot{Row: t.row}
	for _, r := range t.order {
		if !r.Status.Ended() {
			s.Tasks = append(s.Tasks, withoutPayload(r))
		}
	}
	return s
}

func (b *database) records(pool string, ids []string) (found []ledger.Record) {
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

func (b *database) deliver(messages []park.Message) {
	for i := range messages {
		m := &messages[i]
		known := messageKey{m.PoolID, m.TaskID, m.CreatedAt.Micro()}
		if b.delivered[known] {
			continue
		}
		b.delivered[known] = true
		b.lastMessage++
		l := &storedMessage{Message: *m, number: b.lastMessage}
		l.ID = strconv.FormatInt(b.lastMessage, 10)
		k := mailbox{m.Tenant, m.Key}
		b.mailboxes[k] = append(b.mailboxes[k], l)
		b.posted(&l.Message)
	}
}

func (b *database) messages(q park.MailboxQuery) (found []park.Message, err error) {
	after, err := number(q.After)
	if err != nil {
		return nil, err
	}
	for _, l := range b.mailboxes[mailbox{q.Tenant, q.Key}] {
		if l.number > after && !l.trimmed && !l.CreatedAt.Before(q.Since.Time) && len(found) < q.Limit {
			found = append(found, l.Message)
		}
	}
	return found, nil
}

func (b *database) trim(tenant, key, upTo string) error {
	last, err := number(upTo)
	if err != nil {
		return err
	}
	for _, l := range b.mailboxes[mailbox{tenant, key}] {
		if l.number <= last && !l.trimmed {
			l.trimmed = true
			b.trimmed(trimmed{mailbox{tenant, key}, l.number})
		}
	}
	return nil
}

// prune removes up to limit tasks that ended before the given time.
func (b *database) prune(before park.Time, limit int) (n int) {
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

func (b *database) remove(pool, id string) {
	t := b.pools[pool]
	b.pruned = append(b.pruned, prunedTask{len(b.steps), pool, id})
	r := t.tasks[id]
	delete(t.tasks, id)
	t.order = slices.DeleteFunc(t.order, func(o *ledger.Record) bool { return o == r })
	b.removed(pool, id)
}

// pruneMessages removes up to limit messages older than the given time.
func (b *database) pruneMessages(before park.Time, limit int) (n int) {
	for _, k := range slices.SortedFunc(maps.Keys(b.mailboxes), func(x, y mailbox) int { return cmp.Or(cmp.Compare(x.tenant, y.tenant), cmp.Compare(x.key, y.key)) }) {
		for _, l := range b.mailboxes[k] {
			if !l.trimmed && l.CreatedAt.Before(before.Time) && n < limit {
				l.trimmed = true
				b.trimmed(trimmed{k, l.number})
				delete(b.delivered, messageKey{l.PoolID, l.TaskID, l.CreatedAt.Micro()})
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

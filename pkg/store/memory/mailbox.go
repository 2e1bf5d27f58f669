package memory

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"sync"

	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// mail holds every mailbox.
type mail struct {
	mu     sync.RWMutex
	all    shelf[letter] // by message id
	boxes  map[boxKey]*box
	recent *box
	pruned park.Time // messages from before may be gone
	seen   chains    // by task
	pools  lists     // of no numbers: the names alone
	clock
}

type boxKey struct{ tenant, key string }

// box is a mailbox without what was trimmed.
type box struct {
	boxKey
	list
}

// letter is a message; see line.
type letter struct {
	taskID  string
	status  park.Status
	payload json.RawMessage
	pool    *list
	box     *box
	said    *said // nil for a message without words
	created int64 // microseconds
	written int64
	before  int64 // the letter before of a task of the same hash
	attempt int32
	trimmed bool
}

type said struct{ reason, message string }

func (m *mail) init() { m.boxes, m.seen = make(map[boxKey]*box), newChains() }

func (l *letter) message(n int64) park.Message {
	m := park.Message{
		ID: strconv.FormatInt(n, 10), TaskID: l.taskID, PoolID: l.pool.name, Status: l.status, Payload: l.payload,
		Attempt: int(l.attempt), CreatedAt: park.FromMicro(l.created), Tenant: l.box.tenant, Key: l.box.key,
	}
	if l.said != nil {
		m.Reason, m.Message = l.said.reason, l.said.message
	}
	return m
}

// clock orders what is written by time although it does not come quite in that order: written never falls, and
// an item's own time lies at most late before it.
type clock struct{ written, late int64 }

func (c *clock) stamp(at park.Time) int64 {
	us := at.Micro()
	c.written = max(c.written, us)
	c.late = max(c.late, c.written-us)
	return c.written
}

func (m *mail) add(messages []park.Message) {
	if len(messages) == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range messages {
		msg := &messages[i]
		pool := m.pools.of(msg.PoolID)
		if m.knows(msg.TaskID, pool, msg.CreatedAt.Micro()) {
			continue
		}
		n, l := m.all.next()
		l.taskID, l.pool, l.status, l.payload, l.attempt = msg.TaskID, pool, msg.Status, msg.Payload, int32(msg.Attempt)
		l.box, l.created, l.written = m.box(boxKey{msg.Tenant, msg.Key}), msg.CreatedAt.Micro(), m.stamp(msg.CreatedAt)
		if msg.Reason != "" || msg.Message != "" {
			l.said = &said{msg.Reason, msg.Message}
		}
		l.before = m.seen.add(msg.TaskID, n)
		l.box.ids = append(l.box.ids, n)
	}
}

// knows reports whether the message of a task that ended at a time is there already.
func (m *mail) knows(task string, pool *list, at int64) bool {
	for l := m.all.Get(m.seen.last(task)); l != nil; l = m.all.Get(l.before) {
		if l.taskID == task && l.pool == pool && l.created == at {
			return true
		}
	}
	return false
}

// box returns a mailbox, which it makes if need be.
func (m *mail) box(k boxKey) *box {
	if m.recent != nil && m.recent.boxKey == k {
		return m.recent
	}
	b := m.boxes[k]
	if b == nil {
		b = &box{boxKey: k}
		m.boxes[k] = b
	}
	m.recent = b
	return b
}

// forget lets go of a mailbox that is empty.
func (m *mail) forget(b *box) {
	if len(b.ids) > 0 {
		return
	}
	delete(m.boxes, b.boxKey)
	if m.recent == b {
		m.recent = nil
	}
}

// Messages implements [store.Mailbox].
func (s *Store) Messages(ctx context.Context, q park.MailboxQuery) ([]park.Message, error) {
	after, err := store.ParseMessageID(q.After)
	if err != nil {
		return nil, err
	}
	return s.mail.read(q, after), ctx.Err()
}

func (m *mail) read(q park.MailboxQuery, after int64) []park.Message {
	m.mu.RLock()
	defer m.mu.RUnlock()
	box := m.boxes[boxKey{q.Tenant, q.Key}]
	if box == nil {
		return nil
	}
	start := after + 1
	if since := q.Since.Micro(); since != 0 {
		start = max(start, m.all.search(func(l *letter) bool { return l.written >= since }))
	}
	at, _ := slices.BinarySearch(box.ids, start)
	var found []park.Message
	for ; at < len(box.ids) && len(found) < q.Limit; at++ {
		l := m.all.Get(box.ids[at])
		if l.created < q.Since.Micro() {
			continue
		}
		found = append(found, l.message(box.ids[at]))
	}
	return found
}

// Trim implements [store.Mailbox].
func (s *Store) Trim(ctx context.Context, tenant, key, upTo string) error {
	last, err := store.ParseMessageID(upTo)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mail.trim(boxKey{tenant, key}, last)
	return nil
}

func (m *mail) trim(key boxKey, last int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	box := m.boxes[key]
	if box == nil {
		return
	}
	for len(box.ids) > 0 && box.ids[0] <= last {
		l := m.all.Get(box.ids[0])
		l.trimmed, l.payload, l.said = true, nil, nil
		box.ids = box.ids[1:]
	}
	m.forget(box)
}

// PruneMessages implements [store.Mailbox].
func (s *Store) PruneMessages(ctx context.Context, before park.Time, limit int) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	return s.mail.prune(before, limit), nil
}

func (m *mail) prune(before park.Time, limit int) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	end := before.Micro() + m.late
	removed := 0
	for n, l := m.all.From(0); l != nil && removed < limit && l.written < end; n, l = m.all.From(n + 1) {
		if l.created >= before.Micro() {
			continue
		}
		raise(&m.pruned, before)
		if !l.trimmed {
			l.box.drop(n)
			m.forget(l.box)
		}
		unlink(&m.seen, &m.all, l.taskID, n, func(l *letter) *int64 { return &l.before })
		m.all.Remove(n)
		removed++
	}
	return removed
}

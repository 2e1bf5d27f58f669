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

// mailboxes holds all mailboxes.
type mailboxes struct {
	mu           sync.RWMutex
	all          sequence[storedMessage] // by message id
	boxes        map[mailboxKey]*mailbox
	lastUsed     *mailbox
	prunedBefore park.Time    // messages created before this time may have been pruned
	byTask       hashChains   // by task
	pools        postingIndex // only to share names: it has no numbers
	clock
}

type mailboxKey struct{ tenant, key string }

// mailbox holds the messages of a mailbox that were not trimmed.
type mailbox struct {
	mailboxKey
	postings
}

// storedMessage is a message as it is stored; see storedEvent.
type storedMessage struct {
	taskID       string
	status       park.Status
	payload      json.RawMessage
	pool         *postings
	mailbox      *mailbox
	texts        *messageTexts // nil if the message has no texts
	created      int64         // microseconds
	orderedAt    int64
	prevSameHash int64 // the previous message of a task whose id has the same hash
	attempt      int32
	trimmed      bool
}

type messageTexts struct{ reason, message string }

func (m *mailboxes) init() { m.boxes, m.byTask = make(map[mailboxKey]*mailbox), newHashChains() }

func (l *storedMessage) message(n int64) park.Message {
	m := park.Message{
		ID: strconv.FormatInt(n, 10), TaskID: l.taskID, PoolID: l.pool.name, Status: l.status, Payload: l.payload,
		Attempt: int(l.attempt), CreatedAt: park.FromMicro(l.created), Tenant: l.mailbox.tenant, Key: l.mailbox.key,
	}
	if l.texts != nil {
		m.Reason, m.Message = l.texts.reason, l.texts.message
	}
	return m
}

// clock orders items by time although they arrive slightly out of order: latest never falls, and an item's own time is
// at most maxLag before it.
type clock struct{ latest, maxLag int64 }

func (c *clock) stamp(at park.Time) int64 {
	us := at.Micro()
	c.latest = max(c.latest, us)
	c.maxLag = max(c.maxLag, c.latest-us)
	return c.latest
}

func (m *mailboxes) add(messages []park.Message) {
	if len(messages) == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range messages {
		msg := &messages[i]
		pool := m.pools.get(msg.PoolID)
		if m.has(msg.TaskID, pool, msg.CreatedAt.Micro()) {
			continue
		}
		n, l := m.all.next()
		l.taskID, l.pool, l.status, l.payload, l.attempt = msg.TaskID, pool, msg.Status, msg.Payload, int32(msg.Attempt)
		l.mailbox, l.created, l.orderedAt = m.mailbox(mailboxKey{msg.Tenant, msg.Key}), msg.CreatedAt.Micro(), m.stamp(msg.CreatedAt)
		if msg.Reason != "" || msg.Message != "" {
			l.texts = &messageTexts{msg.Reason, msg.Message}
		}
		l.prevSameHash = m.byTask.add(msg.TaskID, n)
		l.mailbox.numbers = append(l.mailbox.numbers, n)
	}
}

// has reports whether the message of a task that ended at this time is already stored.
func (m *mailboxes) has(task string, pool *postings, at int64) bool {
	for l := m.all.Get(m.byTask.newestOf(task)); l != nil; l = m.all.Get(l.prevSameHash) {
		if l.taskID == task && l.pool == pool && l.created == at {
			return true
		}
	}
	return false
}

// mailbox returns a mailbox, and creates it if necessary.
func (m *mailboxes) mailbox(k mailboxKey) *mailbox {
	if m.lastUsed != nil && m.lastUsed.mailboxKey == k {
		return m.lastUsed
	}
	b := m.boxes[k]
	if b == nil {
		b = &mailbox{mailboxKey: k}
		m.boxes[k] = b
	}
	m.lastUsed = b
	return b
}

// removeIfEmpty removes a mailbox that has no messages left.
func (m *mailboxes) removeIfEmpty(b *mailbox) {
	if len(b.numbers) > 0 {
		return
	}
	delete(m.boxes, b.mailboxKey)
	if m.lastUsed == b {
		m.lastUsed = nil
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

func (m *mailboxes) read(q park.MailboxQuery, after int64) []park.Message {
	m.mu.RLock()
	defer m.mu.RUnlock()
	box := m.boxes[mailboxKey{q.Tenant, q.Key}]
	if box == nil {
		return nil
	}
	start := after + 1
	if since := q.Since.Micro(); since != 0 {
		start = max(start, m.all.search(func(l *storedMessage) bool { return l.orderedAt >= since }))
	}
	at, _ := slices.BinarySearch(box.numbers, start)
	var found []park.Message
	for ; at < len(box.numbers) && len(found) < q.Limit; at++ {
		l := m.all.Get(box.numbers[at])
		if l.created < q.Since.Micro() {
			continue
		}
		found = append(found, l.message(box.numbers[at]))
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
	s.mail.trim(mailboxKey{tenant, key}, last)
	return nil
}

func (m *mailboxes) trim(key mailboxKey, last int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	box := m.boxes[key]
	if box == nil {
		return
	}
	for len(box.numbers) > 0 && box.numbers[0] <= last {
		l := m.all.Get(box.numbers[0])
		l.trimmed, l.payload, l.texts = true, nil, nil
		box.numbers = box.numbers[1:]
	}
	m.removeIfEmpty(box)
}

// PruneMessages implements [store.Mailbox].
func (s *Store) PruneMessages(ctx context.Context, before park.Time, limit int) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	return s.mail.prune(before, limit), nil
}

func (m *mailboxes) prune(before park.Time, limit int) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	end := before.Micro() + m.maxLag
	removed := 0
	for n, l := m.all.From(0); l != nil && removed < limit && l.orderedAt < end; n, l = m.all.From(n + 1) {
		if l.created >= before.Micro() {
			continue
		}
		advance(&m.prunedBefore, before)
		if !l.trimmed {
			l.mailbox.remove(n)
			m.removeIfEmpty(l.mailbox)
		}
		removeFromChain(&m.byTask, &m.all, l.taskID, n, func(l *storedMessage) *int64 { return &l.prevSameHash })
		m.all.Remove(n)
		removed++
	}
	return removed
}

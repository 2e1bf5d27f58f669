package memory

import (
	"context"
	"slices"
	"strconv"
	"sync"

	"github.com/parkd-dev/parkd/pkg/park"
)

type boxKey struct{ tenant, key string }

type taskKey struct{ pool, task string }

// mail holds every mailbox.
type mail struct {
	mu    sync.RWMutex
	all   shelf[letter] // by message id
	boxes index[boxKey] // without what was trimmed
	seen  map[taskKey]struct{}
	clock
}

type letter struct {
	park.Message
	written int64
	trimmed bool
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
		key := taskKey{msg.PoolID, msg.TaskID}
		if _, again := m.seen[key]; again {
			continue
		}
		m.seen[key] = struct{}{}
		n := m.all.add(letter{Message: *msg, written: m.stamp(msg.CreatedAt)})
		m.boxes.add(boxKey{msg.Tenant, msg.Key}, n)
	}
}

// Messages implements [store.Mailbox].
func (s *Store) Messages(ctx context.Context, q park.MailboxQuery) ([]park.Message, error) {
	after, err := parseMessageID(q.After)
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
		l := m.all.get(box.ids[at])
		if l.CreatedAt.Before(q.Since.Time) {
			continue
		}
		msg := l.Message
		msg.ID = strconv.FormatInt(box.ids[at], 10)
		found = append(found, msg)
	}
	return found
}

func parseMessageID(id string) (int64, error) {
	if id == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil || n < 0 {
		return 0, park.Errorf(park.InvalidRequest, "a message's id must be a number, not %q", id)
	}
	return n, nil
}

// Trim implements [store.Mailbox].
func (s *Store) Trim(ctx context.Context, tenant, key, upTo string) error {
	last, err := parseMessageID(upTo)
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
		l := m.all.get(box.ids[0])
		l.trimmed, l.Payload, l.Message.Message = true, nil, ""
		box.ids = box.ids[1:]
	}
	if len(box.ids) == 0 {
		delete(m.boxes, key)
	}
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
	for n, l := m.all.from(0); l != nil && removed < limit && l.written < end; n, l = m.all.from(n + 1) {
		if !l.CreatedAt.Before(before.Time) {
			continue
		}
		if !l.trimmed {
			m.boxes.remove(boxKey{l.Tenant, l.Key}, n)
		}
		delete(m.seen, taskKey{l.PoolID, l.TaskID})
		m.all.remove(n)
		removed++
	}
	return removed
}

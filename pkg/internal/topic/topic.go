// Package topic wakes goroutines that wait until something may read differently: a mailbox, the audit log, a task. A
// goroutine joins a topic before it reads, so it misses nothing that comes after its read.
package topic

import (
	"sync"

	"github.com/parkd-dev/parkd/pkg/park"
)

// Topic names what is waited for.
type Topic struct{ kind, a, b string }

// Audit is woken when the audit log has new events.
func Audit() Topic { return Topic{kind: "audit"} }

// Mailbox is woken when a mailbox has a new message.
func Mailbox(tenant, key string) Topic { return Topic{"mailbox", tenant, key} }

// Ended is woken when a task has ended.
func Ended(pool, task string) Topic { return Topic{"ended", pool, task} }

// Started is woken when a task starts, and when it ends.
func Started(pool, task string) Topic { return Topic{"started", pool, task} }

// Outbox is woken when a step has left outbox entries in a store for others.
func Outbox(b park.Backend) Topic { return Topic{kind: "outbox", a: string(b)} }

// Hub wakes who has joined a topic. The zero value is ready to use.
type Hub struct {
	mu     sync.Mutex
	topics map[Topic]*subscribers
}

type subscribers struct {
	woken chan struct{}
	count int
}

// Join returns a channel that is closed at the next wake of t, and a function that must be called once the caller no
// longer waits.
func (h *Hub) Join(t Topic) (<-chan struct{}, func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.topics == nil {
		h.topics = make(map[Topic]*subscribers)
	}
	s := h.topics[t]
	if s == nil {
		s = &subscribers{woken: make(chan struct{})}
		h.topics[t] = s
	}
	s.count++
	return s.woken, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if s.count--; s.count == 0 && h.topics[t] == s {
			delete(h.topics, t)
		}
	}
}

// Joined reports whether anybody waits for anything.
func (h *Hub) Joined() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.topics) > 0
}

// Wake wakes everyone who waits for one of the topics.
func (h *Hub) Wake(topics ...Topic) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.topics) == 0 {
		return
	}
	for _, t := range topics {
		if s := h.topics[t]; s != nil {
			close(s.woken)
			delete(h.topics, t)
		}
	}
}

// WakeAll wakes everyone.
func (h *Hub) WakeAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.topics {
		close(s.woken)
	}
	clear(h.topics)
}

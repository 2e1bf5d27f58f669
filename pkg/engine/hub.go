package engine

import (
	"sync"

	"github.com/parkd-dev/parkd/pkg/park"
)

// hub wakes those who wait for something to be read anew: a mailbox, the audit log, an ended task. A waiter
// joins a topic before it reads, so nothing that comes after its read is missed.
type hub struct {
	mu     sync.Mutex
	topics map[topic]*bell
}

// topic names what is waited for: a mailbox by tenant and key, a task by pool and id, or the audit log.
type topic struct{ kind, a, b string }

var auditTopic = topic{kind: "audit"}

func mailTopic(tenant, key string) topic { return topic{"mailbox", tenant, key} }
func taskTopic(pool, id string) topic    { return topic{"task", pool, id} }

// startTopic is woken when a task starts, and when it ends.
func startTopic(pool, id string) topic { return topic{"start", pool, id} }

// outboxTopic is woken when a step has owed parcels.
func outboxTopic(b park.Backend) topic { return topic{kind: "outbox", a: string(b)} }

type bell struct {
	rung  chan struct{}
	heard int // how many wait
}

// join returns a channel that is closed at the next wake of t, and a function that must be called when the
// waiter no longer waits.
func (h *hub) join(t topic) (<-chan struct{}, func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.topics == nil {
		h.topics = make(map[topic]*bell)
	}
	b := h.topics[t]
	if b == nil {
		b = &bell{rung: make(chan struct{})}
		h.topics[t] = b
	}
	b.heard++
	return b.rung, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if b.heard--; b.heard == 0 && h.topics[t] == b {
			delete(h.topics, t)
		}
	}
}

// wakeAll wakes everyone.
func (h *hub) wakeAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, b := range h.topics {
		close(b.rung)
	}
	clear(h.topics)
}

// awaited reports whether anybody waits for anything.
func (h *hub) awaited() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.topics) > 0
}

// wake wakes everyone who waits for one of the topics.
func (h *hub) wake(topics ...topic) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.topics) == 0 {
		return
	}
	for _, t := range topics {
		if b := h.topics[t]; b != nil {
			close(b.rung)
			delete(h.topics, t)
		}
	}
}

package memory

import (
	"context"
	"sync"

	"github.com/parkd-dev/parkd/pkg/internal/sparse"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// outbox holds the entries that wait for delivery, by destination.
type outbox struct {
	mu     sync.Mutex
	dests  map[string]*sparse.List[outboxEntry]
	lastID int64 // the id assigned last, over all destinations
}

type outboxEntry struct {
	store.OutboxEntry
	dueAt int64
}

func (o *outbox) add(entries []store.OutboxEntry) {
	if len(entries) == 0 {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range entries {
		p := outboxEntry{OutboxEntry: entries[i]}
		if p.Message != nil {
			p.Message = new(*p.Message)
		}
		if p.Event != nil {
			p.Event = new(*p.Event)
		}
		o.lastID++
		p.ID = o.lastID
		d := o.dests[p.Dest]
		if d == nil {
			d = &sparse.List[outboxEntry]{}
			o.dests[p.Dest] = d
		}
		*d.Add(p.ID) = p
	}
}

// Outbox implements [store.Queue].
func (s *Store) Outbox(ctx context.Context, dest string, now park.Time, limit int) ([]store.OutboxEntry, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return s.outbox.due(dest, now.Micro(), limit), nil
}

func (o *outbox) due(dest string, now int64, limit int) []store.OutboxEntry {
	o.mu.Lock()
	defer o.mu.Unlock()
	d := o.dests[dest]
	if d == nil {
		return nil
	}
	var found []store.OutboxEntry
	for n, p := d.From(0); p != nil && len(found) < limit; n, p = d.From(n + 1) {
		if p.dueAt <= now {
			found = append(found, p.OutboxEntry)
		}
	}
	return found
}

// AckOutbox implements [store.Queue].
func (s *Store) AckOutbox(ctx context.Context, done []int64, later []store.DeferredEntry) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.outbox.ack(done, later)
	return nil
}

func (o *outbox) ack(done []int64, later []store.DeferredEntry) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, id := range done {
		for _, d := range o.dests {
			if d.Remove(id) {
				break
			}
		}
	}
	for _, l := range later {
		for _, d := range o.dests {
			if p := d.Get(l.ID); p != nil {
				p.Attempts, p.dueAt = l.Attempts, l.Until.Micro()
				break
			}
		}
	}
}

// Package relay carries what a step owes to another store, or to a notifier, to where it belongs.
//
// If a mailbox or the audit log is not in the queue's store, or a pool has a notifier, then a step leaves entries in
// the queue's outbox. A relay delivers them at least once, and takes them out only when the other side has them.
// Deliveries to stores are idempotent, so each message and each event is stored once. A relay never holds up a pool.
package relay

import (
	"context"
	"encoding/binary"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/env"
	"github.com/parkd-dev/parkd/pkg/internal/health"
	"github.com/parkd-dev/parkd/pkg/internal/portion"
	"github.com/parkd-dev/parkd/pkg/internal/topic"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

const (
	batch      = 256
	firstRetry = time.Second
	// LastRetry is the longest rest between two tries to deliver an outbox entry.
	LastRetry = 5 * time.Minute
	// giveUp is how long a notification is tried. Messages and events are tried for ever.
	giveUp = 3 * 24 * time.Hour
	// tick bounds how late an outbox entry is looked for that was put off.
	tick = time.Second
)

// Mailbox is the destination of messages for a mailbox in another store.
func Mailbox(b park.Backend) string { return "mailbox/" + string(b) }

// Audit is the destination of events for an audit log in another store.
func Audit(b park.Backend) string { return "audit/" + string(b) }

// Notifier is the destination of a pool's messages for its notifier.
func Notifier(pool string) string { return "notify/" + pool }

// Source is the queue whose entries are relayed, and the engine around it.
type Source struct {
	Env    *env.Env
	Log    *slog.Logger
	Hub    *topic.Hub
	Health *health.Stores
	From   park.Backend
	Queue  store.Queue
	// Turn reports whether this node is the one to relay, of several that share the queue; nil: it always is.
	Turn func() bool
}

// Relay carries the entries of one queue to one destination.
type Relay struct {
	Source
	dest    string
	deliver deliverer
	to      park.Backend // where deliver brings them; "" for a notifier
	calls   *calls       // instead of deliver, for a notifier
	owed    atomic.Pointer[backlog]
	part    portion.Portion
}

// deliverer delivers entries. After an error none counts as delivered: all are tried again soon, in order.
type deliverer func(ctx context.Context, entries []store.OutboxEntry) error

// ToMailbox returns a relay of messages to a mailbox in the store to.
func ToMailbox(s Source, to park.Backend, mailbox store.Mailbox) *Relay {
	return &Relay{Source: s, dest: Mailbox(to), to: to, deliver: func(ctx context.Context, entries []store.OutboxEntry) error {
		messages := make([]park.Message, 0, len(entries))
		topics := make([]topic.Topic, 0, len(entries))
		for i := range entries {
			if m := entries[i].Message; m != nil {
				messages = append(messages, *m)
				topics = append(topics, topic.Mailbox(m.Tenant, m.Key))
			}
		}
		err := mailbox.Deliver(ctx, messages)
		if err == nil {
			s.Hub.Wake(topics...)
		}
		return err
	}}
}

// ToAudit returns a relay of events to an audit log in the store to.
func ToAudit(s Source, to park.Backend, audit store.Audit) *Relay {
	return &Relay{Source: s, dest: Audit(to), to: to, deliver: func(ctx context.Context, entries []store.OutboxEntry) error {
		events := make([]park.Event, 0, len(entries))
		for i := range entries {
			if ev := entries[i].Event; ev != nil {
				events = append(events, *ev)
			}
		}
		err := audit.Append(ctx, events)
		if err == nil {
			s.Hub.Wake(topic.Audit())
		}
		return err
	}}
}

// Run relays until ctx ends.
func (r *Relay) Run(ctx context.Context) {
	var answered chan struct{}
	if r.calls != nil {
		answered = r.calls.answered
		defer r.calls.all.Wait()
	}
	for ctx.Err() == nil {
		woken, leave := r.Hub.Join(topic.Outbox(r.From))
		var moved int
		var err error
		if r.Turn == nil || r.Turn() {
			moved, err = r.carry(ctx)
		}
		if err != nil && ctx.Err() == nil {
			r.Log.Error("outbox entries not relayed", "dest", r.dest, "error", err)
		}
		if err == nil && moved > 0 {
			leave()
			continue
		}
		if err != nil {
			woken = nil
		}
		r.Env.Await(tick, woken, ctx.Done(), answered)
		leave()
	}
}

// carry delivers one batch and returns how many entries it has done with, for now or for good.
func (r *Relay) carry(ctx context.Context) (int, error) {
	if r.part.Next() == 0 {
		r.part = portion.Of(park.DefaultMaxResult)
	}
	now := r.Env.Wall()
	most := min(r.part.Next(), batch)
	entries, err := r.Queue.Outbox(ctx, r.dest, now, most)
	if err != nil && ctx.Err() == nil {
		r.Health.Failed(r.From, health.Outbox)
	}
	if err == nil {
		r.found(entries)
	}
	if err != nil || len(entries) == 0 {
		return 0, err
	}
	if r.calls != nil {
		return r.call(ctx, entries, len(entries) == most, now)
	}
	if err := r.deliver(ctx, entries); err != nil {
		if ctx.Err() == nil {
			r.Health.Failed(r.to, health.Delivery)
		}
		return 0, err
	}
	r.Health.Works(r.to)
	return len(entries), r.Queue.AckOutbox(ctx, ids(entries), nil)
}

// call begins the notifications of entries that can be begun, and settles those that have ended.
func (r *Relay) call(ctx context.Context, entries []store.OutboxEntry, full bool, now park.Time) (int, error) {
	s := r.calls.sort(ctx, entries, full, now)
	moved := len(s.done) + len(s.later) + len(s.aside)
	if moved == 0 {
		return 0, nil
	}
	if err := r.Queue.AckOutbox(ctx, s.done, append(s.aside, s.later...)); err != nil {
		return 0, err
	}
	r.calls.settled(s.done, s.later)
	return moved, nil
}

// backlog is what a look at the outbox has found.
type backlog struct {
	entries int
	since   park.Time
}

// found records the result of a read. The present entries are a better estimate of the next batch's size than earlier
// ones.
func (r *Relay) found(entries []store.OutboxEntry) {
	b := &backlog{entries: len(entries)}
	size := 0
	for i := range entries {
		size += entries[i].Size()
	}
	if len(entries) > 0 {
		b.since = entries[0].Since
		r.part.Reset()
		r.part.Read(len(entries), size)
	}
	r.owed.Store(b)
}

// Dest returns where the relay carries entries.
func (r *Relay) Dest() string { return r.dest }

// Owed returns how many entries the last look at the outbox has found, at most a batch, and since when the oldest
// waits.
func (r *Relay) Owed() (entries int, since park.Time) {
	if b := r.owed.Load(); b != nil {
		return b.entries, b.since
	}
	return 0, park.Time{}
}

// backoff doubles with each attempt. Half of it is random, so that many do not come back at once.
func backoff(e *env.Env, attempts int) time.Duration {
	d := min(firstRetry<<min(attempts, 20), LastRetry)
	var random [8]byte
	e.Read(random[:])
	return d/2 + time.Duration(binary.LittleEndian.Uint64(random[:])%uint64(d/2+1))
}

func ids(entries []store.OutboxEntry) []int64 {
	all := make([]int64, len(entries))
	for i := range entries {
		all[i] = entries[i].ID
	}
	return all
}

package engine

// What other nodes did, on the side of a pool.

import (
	"context"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/topic"
	"github.com/parkd-dev/parkd/pkg/lot"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// recheck bounds how late a call that waits hears of what another node delivered to a store that both share.
const recheck = time.Second

// catchUp takes over what other nodes did since this node's last look.
func (l *loop) catchUp() error {
	c, err := l.node.Store.Since(l.ctx, l.ID, l.lot.Row().Rev)
	if err != nil {
		return err
	}
	if l.behind = false; c == nil {
		return nil
	}
	return l.merge(c)
}

// tell wakes those here who wait for what another node did.
func (l *loop) tell(c *store.Conflict) {
	if c.Reload {
		l.eng.hub.WakeAll()
		return
	}
	topics := []topic.Topic{topic.Audit(), topic.Outbox(l.QueueBackend)}
	for i := range c.Changed {
		r := &c.Changed[i]
		if r.Status != park.Queued {
			topics = append(topics, topic.Started(l.ID, r.TaskID))
		}
		if r.Status.Ended() {
			topics = append(topics, topic.Ended(l.ID, r.TaskID), topic.Mailbox(r.Tenant, r.MailboxKey))
		}
	}
	l.eng.hub.Wake(topics...)
}

// keepElsewhere lets leases live on that are due here, but were kept at another node.
func (l *loop) keepElsewhere(ctx context.Context, now lot.Instant) error {
	due := l.lot.LeasesDue(now)
	if len(due) == 0 {
		return nil
	}
	ids := make([]string, 0, len(due))
	for id := range due {
		ids = append(ids, id)
	}
	kept, err := l.node.Store.Leases(ctx, l.ID, ids)
	if err != nil {
		return err
	}
	now = l.eng.env.Instant() // what was kept while the store was asked must have its whole time
	for _, k := range kept {
		if k.Lease == due[k.TaskID] && l.kept[k.Lease] < k.Counter {
			l.lot.Extend(k.TaskID, k.Lease, k.TTL, now)
			l.kept[k.Lease] = k.Counter
		}
	}
	if len(l.kept) > 1000+2*l.lot.Running() {
		clear(l.kept) // most of them are over; the others live once longer
	}
	return nil
}

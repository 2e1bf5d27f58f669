package engine

// What other nodes did, on the side of a pool.

import (
	"context"
	"fmt"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/internal/topic"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// recheck bounds how late a call that waits hears of what another node delivered to a store that both share.
const hubPollInterval = time.Second

// catchUp takes over what other nodes did since this node's last look.
func (l *loop) catchUp() error {
	c, err := l.node.Store.Since(l.ctx, l.ID, l.lot.Row().Rev)
	if err != nil {
		return err
	}
	if l.mustCatchUp = false; c == nil {
		return nil
	}
	return l.merge(c)
}

// tell wakes those here who wait for what another node did.
func (l *loop) wakeWaiters(c *store.Conflict) {
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

// extendKept lets leases live on that are due here, but were kept at another node.
func (l *loop) extendRenewed(ctx context.Context, now lot.Instant) error {
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
		if k.Lease == due[k.TaskID] && l.renewals[k.Lease] < k.Counter {
			l.lot.Extend(k.TaskID, k.Lease, k.TTL, now)
			l.renewals[k.Lease] = k.Counter
		}
	}
	if len(l.renewals) > 1000+2*l.lot.Running() {
		clear(l.renewals) // most of them are over; the others live once longer
	}
	return nil
}

// refresh makes sure that the lot is what the store holds.
func (l *loop) refresh(batch []message) error {
	catchUp := l.mustCatchUp
	for _, m := range batch {
		switch m := m.(type) {
		case *operations:
			catchUp = catchUp || m.catchUp
		case *refreshRequest:
			catchUp, l.mustReload = true, l.mustReload || m.reload
		}
	}
	if catchUp {
		l.refreshPending.Store(false) // whichever way it is answered below: else nothing would be heard of any more
	}
	if l.halted != nil {
		return l.halted
	}
	if !l.mustReload {
		if catchUp && l.node != nil {
			return l.catchUp()
		}
		return nil
	}
	if err := l.load(l.ctx); err != nil {
		return err
	}
	l.mustReload = false
	l.specs.clear()
	l.wakeWaiters(&store.Conflict{Reload: true})
	l.reconcile()
	return l.halted
}

// merge takes over what another node did.
func (l *loop) merge(c *store.Conflict) error {
	if c.Reload {
		l.mustReload = true
		return l.refresh(nil)
	}
	l.lot.Merge(c.Row, c.Changed, l.eng.env.Instant())
	if !l.lot.Agrees() {
		// A task that ended and was pruned since is in no store any more, and so nobody tells of its end.
		l.mustReload = true
		return l.refresh(nil)
	}
	for i := range c.Changed {
		l.specs.invalidate(&c.Changed[i])
	}
	l.unsecured = true
	l.wakeWaiters(c)
	l.compareLimits()
	l.reconcile()
	l.publish()
	return nil
}

// secure sees that what is answered without a step of its own, by what other nodes have done, is as durable as a step.
func (l *loop) ensureDurable(ops []lot.Op) error {
	if !l.unsecured || len(ops) == 0 {
		return nil
	}
	if err := l.node.Store.Secure(l.ctx); err != nil {
		return fmt.Errorf("%w: %w", store.ErrInDoubt, err) // of a task that is there nobody may say that it was not accepted
	}
	l.unsecured = false
	return nil
}

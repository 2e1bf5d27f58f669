package engine

// Changes that other nodes made, on the side of a pool.

import (
	"context"
	"fmt"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/internal/topic"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// hubPollInterval bounds how late a waiting call learns of deliveries that another node made to a shared store.
const hubPollInterval = time.Second

// catchUp merges what other nodes did since this node's last look.
func (l *loop) catchUp() error {
	c, err := l.node.Store.ChangesSince(l.ctx, l.ID, l.lot.Row().Rev)
	if err != nil {
		return err
	}
	if l.mustCatchUp = false; c == nil {
		return nil
	}
	return l.merge(c)
}

// wakeWaiters wakes callers on this node that wait for changes of another node.
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

// extendRenewed extends leases that are due here but were renewed at another node.
func (l *loop) extendRenewed(ctx context.Context, now lot.Instant) error {
	due := l.lot.ExpiredLeases(now)
	if len(due) == 0 {
		return nil
	}
	ids := make([]string, 0, len(due))
	for id := range due {
		ids = append(ids, id)
	}
	kept, err := l.node.Store.LeaseRenewals(ctx, l.ID, ids)
	if err != nil {
		return err
	}
	now = l.eng.env.Instant() // a lease that was renewed during the read must get its whole time
	for _, k := range kept {
		if k.Lease == due[k.TaskID] && l.renewals[k.Lease] < k.Counter {
			l.lot.ExtendLease(k.TaskID, k.Lease, k.TTL, now)
			l.renewals[k.Lease] = k.Counter
		}
	}
	if len(l.renewals) > 1000+2*l.lot.Running() {
		clear(l.renewals) // most of them are over; each of the others may be extended once too often
	}
	return nil
}

// refresh brings the lot up to date with the store if the batch needs it.
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
		l.refreshPending.Store(false) // cleared in any case, else no further change would be followed
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

// merge applies what another node did to the lot.
func (l *loop) merge(c *store.Conflict) error {
	if c.Reload {
		l.mustReload = true
		return l.refresh(nil)
	}
	l.lot.Merge(c.Row, c.Changed, l.eng.env.Instant())
	if !l.lot.MatchesRow() {
		// A task that has ended and been pruned since is in no store, so the changes do not include its end.
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

// ensureDurable is for requests that are answered without a step of their own: it makes the changes of other nodes that
// the answers depend on as durable as a step.
func (l *loop) ensureDurable(ops []lot.Op) error {
	if !l.unsecured || len(ops) == 0 {
		return nil
	}
	if err := l.node.Store.AwaitDurable(l.ctx); err != nil {
		return fmt.Errorf("%w: %w", store.ErrInDoubt, err) // the task may be accepted, so the answer must not deny it
	}
	l.unsecured = false
	return nil
}

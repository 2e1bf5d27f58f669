package engine

import (
	"context"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/topic"
	"github.com/parkd-dev/parkd/pkg/lot"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

const (
	// followTick is how often a node asks for the revs of its pools: the bound on how late it hears of what another
	// did. Hints only make it sooner.
	followTick = 200 * time.Millisecond
	// announceRest is the least time between two announcements: under load one tells of many steps.
	announceRest = 10 * time.Millisecond
	listenRest   = time.Second
	// everyone stands for no pool: a hint of it is from a node that has begun to live.
	everyone = "*"
	// recheck bounds how late someone who waits hears of what another node delivered to a store that both share.
	recheck = time.Second
)

// following asks for the revs of the pools again and again.
func (n *node) following() {
	ids := make([]string, len(n.pools))
	for i, p := range n.pools {
		ids[i] = p.ID
	}
	for n.eng.rest(followTick) {
		revs, err := n.store.Revs(n.eng.ctx, ids)
		if err != nil {
			continue // the beats say so
		}
		for _, p := range n.pools {
			p.hear(revs[p.ID])
		}
	}
}

// listening waits for hints, on a connection that is made again whenever it breaks.
func (n *node) listening() {
	for {
		err := n.store.Listen(n.eng.ctx, func(id string, rev int64) {
			if id == everyone {
				notify(n.joined)
			}
			if p := n.eng.pools[id]; p != nil && p.node == n {
				p.hear(rev)
			}
		})
		if n.eng.ctx.Err() != nil {
			return
		}
		n.eng.log.Debug("no hints", "error", err)
		if !n.eng.rest(listenRest) {
			return
		}
	}
}

// hear has the pool follow to rev, unless it is there already.
func (p *pool) hear(rev int64) {
	if p.rev.Load() < rev && p.called.CompareAndSwap(false, true) {
		p.post(&request{fresh: true})
	}
}

// post sends a request that nobody waits for, without waiting for room.
func (p *pool) post(r *request) {
	r.reply = make(chan reply, 1)
	select {
	case p.requests <- r:
	default:
		p.eng.env.Go(func() { _ = p.send(p.ctx, r) })
	}
}

// changed notes that a step of this node is there to be announced.
func (n *node) changed() {
	notify(n.news)
}

// notify leaves a note in a channel that has room for one.
func notify(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// greet has the other nodes look who is there. Until they do, one that was alone tells nobody of its steps.
func (n *node) greet(ctx context.Context) {
	if n.eng.cfg.Quiet {
		return
	}
	if err := n.store.Announce(ctx, everyone, 0); err != nil {
		n.eng.log.Debug("not announced", "error", err)
	}
}

func (n *node) announcing() {
	if n.eng.cfg.Quiet {
		return
	}
	told := make(map[*pool]int64)
	for n.eng.env.Await(forever, n.eng.ctx.Done(), n.news) == 1 {
		for _, p := range n.pools {
			rev := p.rev.Load()
			if n.alone() || told[p] == rev {
				continue
			}
			told[p] = rev
			if err := n.store.Announce(n.eng.ctx, p.ID, rev); err != nil {
				n.eng.log.Debug("not announced", "pool", p.ID, "error", err)
			}
		}
		if !n.eng.rest(announceRest) {
			return
		}
	}
}

// catchUp takes over what other nodes did since this node's last look.
func (p *pool) catchUp() error {
	c, err := p.node.store.Since(p.ctx, p.ID, p.lot.Row().Rev)
	if err != nil {
		return err
	}
	if p.behind = false; c == nil {
		return nil
	}
	return p.merge(c)
}

// tell wakes those here who wait for what another node did.
func (p *pool) tell(c *store.Conflict) {
	if c.Reload {
		p.eng.hub.WakeAll()
		return
	}
	topics := []topic.Topic{topic.Audit(), topic.Outbox(p.QueueBackend)}
	for i := range c.Changed {
		r := &c.Changed[i]
		if r.Status != park.Queued {
			topics = append(topics, topic.Started(p.ID, r.TaskID))
		}
		if r.Status.Ended() {
			topics = append(topics, topic.Ended(p.ID, r.TaskID), topic.Mailbox(r.Tenant, r.MailboxKey))
		}
	}
	p.eng.hub.Wake(topics...)
}

// keepElsewhere lets leases live on that are due here, but were kept at another node.
func (p *pool) keepElsewhere(ctx context.Context, now lot.Instant) error {
	due := p.lot.LeasesDue(now)
	if len(due) == 0 {
		return nil
	}
	ids := make([]string, 0, len(due))
	for id := range due {
		ids = append(ids, id)
	}
	kept, err := p.node.store.Leases(ctx, p.ID, ids)
	if err != nil {
		return err
	}
	now = p.eng.env.Instant() // what was kept while the store was asked must have its whole time
	for _, k := range kept {
		if k.Lease == due[k.TaskID] && p.kept[k.Lease] < k.Counter {
			p.lot.Extend(k.TaskID, k.Lease, k.TTL, now)
			p.kept[k.Lease] = k.Counter
		}
	}
	if len(p.kept) > 1000+2*p.lot.Running() {
		clear(p.kept) // most of them are over; the others live once longer
	}
	return nil
}

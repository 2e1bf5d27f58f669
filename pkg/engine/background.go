package engine

// The work of an engine that no caller waits for: relays to other stores and to notifiers, and retention.

import (
	"maps"
	"slices"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/relay"
	"github.com/parkd-dev/parkd/pkg/internal/retention"
	"github.com/parkd-dev/parkd/pkg/park"
)

// startRelays starts one relay for each queue's store and each place outside of it that its pools owe something to.
func (e *Engine) startRelays() {
	started := make(map[[2]string]bool)
	start := func(r *relay.Relay) {
		if k := [2]string{string(r.From), r.Dest()}; !started[k] {
			started[k] = true
			e.relays = append(e.relays, r)
			e.work.Go(func() { r.Run(e.ctx) })
		}
	}
	for _, id := range e.order {
		p := e.pools[id]
		from := relay.Source{
			Env: e.env, Log: e.log, Hub: &e.hub, Health: e.health, From: p.QueueBackend, Queue: p.queue, Turn: e.turn(p.QueueBackend),
		}
		if !p.localMail {
			start(relay.ToMailbox(from, p.MailboxBackend, e.stores[p.MailboxBackend]))
		}
		if !p.localAudit {
			start(relay.ToAudit(from, e.cfg.Audit, e.audit))
		}
		if p.Notifier != nil {
			start(relay.ToNotifier(from, p.ID, p.Notifier.Notify))
		}
	}
}

// turn returns what reports whether this node does for a store what one node is enough for; nil if it is alone.
func (e *Engine) turn(b park.Backend) func() bool {
	if n := e.nodes[b]; n != nil {
		return n.First
	}
	return nil
}

// startRetention starts the removal of what is older than the retention.
func (e *Engine) startRetention() {
	j := &retention.Janitor{Env: e.env, Log: e.log, Logs: make(map[string]retention.Pruner), Keep: e.cfg.Retention}
	for _, b := range slices.Sorted(maps.Keys(e.stores)) {
		j.Stores = append(j.Stores, retention.Store{Store: e.stores[b], Turn: e.turn(b)})
	}
	for _, id := range e.order {
		p := e.pools[id]
		if l, ok := p.Logs.(Pruner); ok {
			j.Logs[id] = l
		}
		if p.loadedAt.After(j.LastStep.Time) {
			j.LastStep = p.loadedAt
		}
	}
	e.work.Go(func() { j.Run(e.ctx) })
}

// handOverWithin bounds how long an engine that is closed waits for what it owes to other stores.
const handOverWithin = 3 * time.Second

// handOver waits until what queues in memory owe to stores that outlive them is there: nobody delivers it later.
func (e *Engine) handOver() {
	giveUp := e.env.Mono() + handOverWithin
	for _, id := range e.order {
		p := e.pools[id]
		if p.QueueBackend.Kind() != park.InMemory {
			continue
		}
		var dests []string
		if !p.localMail {
			dests = append(dests, relay.Mailbox(p.MailboxBackend))
		}
		if !p.localAudit {
			dests = append(dests, relay.Audit(e.cfg.Audit))
		}
		for _, dest := range dests {
			for e.owes(p, dest) && e.env.Mono() < giveUp && e.rest(handOverRest) {
			}
		}
	}
}

const handOverRest = 10 * time.Millisecond

func (e *Engine) owes(p *pool, dest string) bool {
	parcels, err := p.queue.Outbox(e.ctx, dest, e.env.Wall(), 1)
	return err == nil && len(parcels) > 0
}

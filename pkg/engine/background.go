package engine

// Background work of an engine that no caller waits for: relays to other stores and to notifiers, and retention.

import (
	"maps"
	"slices"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/relay"
	"github.com/parkd-dev/parkd/pkg/internal/retention"
	"github.com/parkd-dev/parkd/pkg/park"
)

// startRelays starts one relay for each queue store and each destination outside of it that receives outbox entries of its
// pools.
func (e *Engine) startRelays() {
	started := make(map[[2]string]bool)
	start := func(r *relay.Relay) {
		if k := [2]string{string(r.From), r.Dest()}; !started[k] {
			started[k] = true
			e.relays = append(e.relays, r)
			e.background.Go(func() { r.Run(e.ctx) })
		}
	}
	for _, id := range e.poolIDs {
		p := e.pools[id]
		from := relay.Source{
			Env: e.env, Log: e.log, Hub: &e.hub, Health: e.health, From: p.QueueBackend, Queue: p.queue, Turn: e.isFirst(p.QueueBackend),
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

// isFirst returns a function that reports whether this node does the work of a shared store that one node is enough
// for. It returns nil if the engine has no other nodes.
func (e *Engine) isFirst(b park.Backend) func() bool {
	if n := e.nodes[b]; n != nil {
		return n.First
	}
	return nil
}

// startRetention starts the removal of tasks, messages and events that are older than the retention.
func (e *Engine) startRetention() {
	j := &retention.Janitor{Env: e.env, Log: e.log, Logs: make(map[string]retention.Pruner), Keep: e.cfg.Retention}
	for _, b := range slices.Sorted(maps.Keys(e.stores)) {
		j.Stores = append(j.Stores, retention.Store{Store: e.stores[b], Turn: e.isFirst(b)})
	}
	for _, id := range e.poolIDs {
		p := e.pools[id]
		if l, ok := p.Logs.(retention.Pruner); ok {
			j.Logs[id] = l
		}
		if p.loadedAt.After(j.LastStep.Time) {
			j.LastStep = p.loadedAt
		}
	}
	e.background.Go(func() { j.Run(e.ctx) })
}

// flushTimeout bounds how long a closing engine waits for the delivery of entries.
const flushTimeout = 3 * time.Second

// flushOutboxes waits until the entries of queues in memory are delivered: after the engine has closed nobody delivers
// them.
func (e *Engine) flushOutboxes() {
	deadline := e.env.Mono() + flushTimeout
	for _, id := range e.poolIDs {
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
			for e.hasOutboxEntries(p, dest) && e.env.Mono() < deadline && e.sleep(flushInterval) {
			}
		}
	}
}

const flushInterval = 10 * time.Millisecond

func (e *Engine) hasOutboxEntries(p *pool, dest string) bool {
	entries, err := p.queue.Outbox(e.ctx, dest, e.env.Wall(), 1)
	return err == nil && len(entries) > 0
}

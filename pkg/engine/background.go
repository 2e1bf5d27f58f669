package engine

// The work of an engine that no caller waits for: relays to other stores and to notifiers, and retention.

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/relay"
	"github.com/parkd-dev/parkd/pkg/internal/retention"
	"github.com/parkd-dev/parkd/pkg/park"
)

// Pruner forgets what runs wrote before a time; [Logs] that implement it are asked when old tasks are removed.
type Pruner interface {
	PruneLogs(ctx context.Context, before time.Time) error
}

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

package cluster

import (
	"context"
	"errors"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/health"
	"github.com/parkd-dev/parkd/pkg/store"
)

const (
	// maxBeat bounds the time between two heartbeats, and so how late a node goes on after an outage of the store.
	maxBeat = time.Second
	// complainRest is the time between two log lines about failing heartbeats.
	complainRest = 10 * time.Minute
)

func (n *Node) beat() {
	// More often than the others need, so that a heartbeat may fail and the fence still falls in time.
	for n.Env.Await(min(n.TTL/10, maxBeat), n.ctx.Done(), n.joined) != 0 {
		n.heartbeat(n.ctx)
	}
}

// fence ends this node's runs the moment it has been silent for too long. It does so apart from the heartbeats, which
// may hang, and it looks often, for timers stand still while the machine is suspended.
func (n *Node) fence() {
	for n.rest(min(max(n.aliveFor(), n.TTL/100), n.TTL/10)) {
		n.mu.Lock()
		if !n.Alive() {
			n.generation.Load().end(ErrNodeLost)
		}
		n.mu.Unlock()
	}
}

// heartbeat moves the counter once, and declares nodes dead whose counters stand still.
func (n *Node) heartbeat(ctx context.Context) {
	began := n.Env.Mono()
	ctx, cancel := n.Env.WithTimeout(ctx, n.TTL/3, context.DeadlineExceeded)
	defer cancel()
	live, err := n.Store.Heartbeat(ctx, n.Name(), n.own())
	switch {
	case errors.Is(err, store.ErrDead):
		n.Log.Warn("taken for dead by another node: beginning again under another name")
		n.mute.Store(nil)
		n.counted.Store(0)
		n.generation.Load().end(ErrNodeLost)
		n.rename()
		return
	case err != nil:
		n.unheard(err)
		return
	}
	n.heard()
	n.mu.Lock()
	// Judged by the previous heartbeat: if this one came too late, it must not hide that runs have ended or were not
	// begun.
	lost := !n.Alive()
	if lost {
		n.generation.Load().end(ErrNodeLost)
		n.nextGeneration()
	}
	n.live = live
	n.counted.Store(int64(began) + 1) // 0 means never
	n.mu.Unlock()
	if lost {
		n.resume()
		n.everAlive = true
		n.greet(ctx)
	}
	n.declareDead(ctx, live)
	n.compare(live)
}

func (n *Node) nextGeneration() {
	ctx, end := context.WithCancelCause(n.ctx)
	n.generation.Store(&generation{ctx, end})
}

// unheard notes that a heartbeat failed. That is logged when it begins, and rarely while it lasts.
func (n *Node) unheard(err error) {
	n.Health.Failed(n.Backend, health.Beat)
	now := n.Env.Mono()
	if n.mute.Swap(&err) == nil || now-n.complained >= complainRest {
		n.complained = now
		n.Log.Warn("not known to be alive", "error", err)
	}
}

func (n *Node) heard() {
	n.Health.Works(n.Backend)
	if n.mute.Swap(nil) != nil {
		n.Log.Info("known to be alive again")
	}
}

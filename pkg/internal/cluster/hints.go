package cluster

import (
	"context"
	"time"
)

const (
	// followEvery is how often a node asks for the revs of its pools: the bound on how late it hears of another node's
	// step. Hints only make it sooner.
	followEvery = 200 * time.Millisecond
	// announceRest is the least time between two announcements: under load one tells of many steps.
	announceRest = 10 * time.Millisecond
	listenRest   = time.Second
	// everyone is the pool name of a hint that a node has begun to live.
	everyone = "*"
)

// Announce notes that a pool has a new rev by a step of this node.
func (n *Node) Announce() { notify(n.changed) }

// follow asks for the revs of the pools again and again.
func (n *Node) follow() {
	ids := make([]string, len(n.pools))
	for i, p := range n.pools {
		ids[i] = p.Name()
	}
	for n.rest(followEvery) {
		revs, err := n.Store.Revs(n.ctx, ids)
		if err != nil {
			continue // the heartbeats say so
		}
		for _, p := range n.pools {
			p.Follow(revs[p.Name()])
		}
	}
}

// listen waits for hints, on a connection that is made again whenever it breaks.
func (n *Node) listen() {
	byName := make(map[string]Pool, len(n.pools))
	for _, p := range n.pools {
		byName[p.Name()] = p
	}
	for {
		err := n.Store.Listen(n.ctx, func(pool string, rev int64) {
			if pool == everyone {
				notify(n.joined)
			}
			if p := byName[pool]; p != nil {
				p.Follow(rev)
			}
		})
		if n.ctx.Err() != nil {
			return
		}
		n.Log.Debug("no hints", "error", err)
		if !n.rest(listenRest) {
			return
		}
	}
}

// greet has the other nodes read who is alive. Until they do, a node that was alone sends no hints of its steps.
func (n *Node) greet(ctx context.Context) {
	if n.Quiet {
		return
	}
	if err := n.Store.NotifyRev(ctx, everyone, 0); err != nil {
		n.Log.Debug("not announced", "error", err)
	}
}

func (n *Node) announce() {
	if n.Quiet {
		return
	}
	told := make(map[Pool]int64)
	for n.Env.Await(-1, n.ctx.Done(), n.changed) == 1 {
		for _, p := range n.pools {
			rev := p.Rev()
			if n.Members() < 2 || told[p] == rev {
				continue
			}
			told[p] = rev
			if err := n.Store.NotifyRev(n.ctx, p.Name(), rev); err != nil {
				n.Log.Debug("not announced", "pool", p.Name(), "error", err)
			}
		}
		if !n.rest(announceRest) {
			return
		}
	}
}

// notify leaves a note in a channel that has room for one.
func notify(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

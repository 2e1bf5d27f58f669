package cluster

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/parkd-dev/parkd/pkg/store"
)

// renameRest is how long a node that was taken for dead waits between two looks for what it still runs.
const renameRest = 50 * time.Millisecond

// declareDead marks nodes as dead whose counters have stood still for too long, and takes over their tasks.
func (n *Node) declareDead(ctx context.Context, live map[string]store.NodeHeartbeat) {
	terms := n.agreed(live)
	now, patience := n.Env.Mono(), terms.TTL+terms.Grace
	maps.DeleteFunc(n.seen, func(name string, _ observation) bool {
		_, ok := live[name]
		return !ok
	})
	for _, name := range slices.Sorted(maps.Keys(live)) {
		counter := live[name].Counter
		s, ok := n.seen[name]
		if !ok || s.counter != counter {
			n.seen[name] = observation{counter, now}
			continue
		}
		if name == n.Name() || now-s.at < patience {
			continue
		}
		dead, err := n.Store.DeclareDead(ctx, name, counter)
		if err != nil {
			n.Log.Error("dead node not marked as dead", "dead", name, "error", err)
		}
		if dead {
			n.Log.Warn("node is dead: taking over its tasks", "dead", name)
			delete(n.seen, name)
			n.takeOver(name)
		}
	}
}

// tend takes over what runs on nodes that are not alive. A node may die after it has declared another dead and before
// it took over that node's tasks.
func (n *Node) tend() {
	for n.rest(n.TTL / 5) {
		running := n.running()
		since := n.Env.Mono()
		// A node beats before it starts anything. So if a heartbeat that began after the look at what runs does not list
		// a node that runs something, that node is dead.
		for time.Duration(n.counted.Load()) <= since {
			if !n.rest(n.TTL / 20) {
				return
			}
		}
		live := n.living()
		for _, name := range running {
			if _, alive := live[name]; !alive {
				n.takeOver(name)
			}
		}
	}
}

// running returns the nodes that tasks run on, as far as this node knows, sorted.
func (n *Node) running() []string {
	names := make(map[string]bool)
	for _, p := range n.pools {
		nodes, err := p.Nodes(n.ctx)
		if err != nil {
			continue
		}
		for _, name := range nodes {
			names[name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// takeOver requeues what ran on a dead node.
func (n *Node) takeOver(dead string) {
	for _, p := range n.pools {
		p.TakeOver(dead)
	}
}

// rename gives the node another name once no run of its former name is left. Outcomes that are still to be stored are
// stored under the new name, unless another node was faster.
func (n *Node) rename() {
	for _, p := range n.pools {
		for {
			left, err := p.Executing(n.ctx)
			if err != nil {
				return
			}
			if left == 0 {
				break
			}
			if !n.rest(renameRest) {
				return
			}
		}
	}
	name := n.Env.ID()
	n.name.Store(&name)
	for _, p := range n.pools {
		// Before this node is alive again: nothing may start under the old name.
		if p.Renamed(n.ctx) != nil {
			return
		}
	}
}

// resume has the pools look for what happened meanwhile, and start tasks again.
func (n *Node) resume() {
	for _, p := range n.pools {
		// What was loaded a moment before the first heartbeat only lacks what has come since.
		p.Resume(n.everAlive)
	}
}

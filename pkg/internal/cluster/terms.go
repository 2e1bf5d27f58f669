package cluster

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/parkd-dev/parkd/pkg/store"
)

// What the nodes of a store have to agree on. Each node reads its own configuration file; a task is run by the settings
// of whichever node starts it, and nobody sees why it went otherwise elsewhere. So nodes tell each other their terms and
// a hash of the settings of each pool with every heartbeat. The values stay where they are: some are secrets.

// own returns what this node tells the others of itself.
func (n *Node) own() store.NodeConfig {
	if n.fingerprints == nil {
		n.fingerprints = make(map[string]string, len(n.pools))
		for _, p := range n.pools {
			n.fingerprints[p.Name()] = p.Fingerprint()
		}
		text, _ := json.Marshal(n.fingerprints) // a map of strings cannot fail
		n.settings = string(text)
	}
	return store.NodeConfig{TTL: n.TTL, Grace: n.Grace, PoolSettings: n.settings}
}

// agreed returns the terms by which nodes are declared dead: the longest that any of them lives by. So a node that allows
// itself more time than the others is left that time, and values can be changed on one node after the other.
func (n *Node) agreed(live map[string]store.NodeHeartbeat) store.NodeConfig {
	longest := store.NodeConfig{TTL: n.TTL, Grace: n.Grace}
	differ := false
	for _, p := range live {
		differ = differ || p.TTL != 0 && (p.TTL != n.TTL || p.Grace != n.Grace)
		longest = longest.Longest(p.NodeConfig)
	}
	if differ && (!n.differ || longest != n.terms) {
		n.Log.Warn("nodes differ in node_ttl or kill_grace: each stops its runs by its own, and is declared dead by the longest",
			"node_ttl", n.TTL, "grace", n.Grace, "longest_node_ttl", longest.TTL, "longest_grace", longest.Grace)
	}
	n.terms, n.differ = longest, differ
	return longest
}

// compare logs which other nodes have other settings of a pool than this one: once, and again when these are other nodes.
// A node that has no such pool, or does not tell its settings, is not among them.
func (n *Node) compare(live map[string]store.NodeHeartbeat) {
	others := make(map[string][]string) // by pool
	for _, name := range slices.Sorted(maps.Keys(live)) {
		var theirs map[string]string
		if name == n.Name() || json.Unmarshal([]byte(live[name].PoolSettings), &theirs) != nil {
			continue
		}
		for pool, print := range theirs {
			if own := n.fingerprints[pool]; own != "" && print != "" && own != print {
				others[pool] = append(others[pool], name)
			}
		}
	}
	for _, p := range n.pools {
		pool := p.Name()
		names := strings.Join(others[pool], " ")
		switch names {
		case n.unlike[pool]:
		case "":
			n.Log.Info("nodes have the same settings of a pool again", "pool", pool, "node", n.Name())
		default:
			n.Log.Warn("nodes differ in their settings of a pool, and tasks run by those of the node that starts them: give all nodes the same",
				"pool", pool, "node", n.Name(), "unlike_nodes", names)
		}
		n.unlike[pool] = names
	}
}

package engine

// What nodes of one store have to agree on.

import "github.com/parkd-dev/parkd/pkg/store"

// own are the terms that this node lives by.
func (n *node) own() store.Terms {
	return store.Terms{TTL: n.ttl, Grace: n.grace, Settings: n.settings()}
}

// agreed returns the terms by which nodes are taken for dead: the longest that any of them lives by. So one that allows
// itself more time than the others is left that time, and values can be changed on one node after the other.
func (n *node) agreed(live map[string]store.Pulse) store.Terms {
	longest := store.Terms{TTL: n.ttl, Grace: n.grace}
	differ := false
	for _, p := range live {
		differ = differ || p.TTL != 0 && (p.TTL != n.ttl || p.Grace != n.grace)
		longest = longest.Longest(p.Terms)
	}
	if differ && (!n.differ || longest != n.terms) {
		n.eng.log.Warn("nodes differ in node_ttl or kill_grace: each stops its runs by its own, and is taken for dead by the longest",
			"node_ttl", n.ttl, "grace", n.grace, "longest_node_ttl", longest.TTL, "longest_grace", longest.Grace)
	}
	n.terms, n.differ = longest, differ
	return longest
}

package engine

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// Each node of a shared store reads its own configuration file. A task is then run by the settings of whichever node starts
// it, and nobody sees why it went otherwise elsewhere. So nodes tell each other a hash of the settings of each pool with
// every beat. The values stay where they are: some are secrets.

// fingerprint returns a hash of all that a pool is configured with. What is zero is left out, so that a setting of a newer
// version that nobody uses makes no difference between versions.
func (p *Pool) fingerprint() string {
	text, err := json.Marshal(struct {
		Spec park.PoolSpec
		More any
	}{p.PoolSpec, p.Settings})
	if err != nil {
		return ""
	}
	var all any
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if d.Decode(&all) != nil {
		return ""
	}
	if text, err = json.Marshal(withoutZeros(all)); err != nil {
		return ""
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// withoutZeros takes the fields out of objects that are zero or hold nothing else, and returns nil for a zero.
func withoutZeros(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, field := range v {
			if v[key] = withoutZeros(field); v[key] == nil {
				delete(v, key)
			}
		}
		if len(v) == 0 {
			return nil
		}
	case []any:
		if len(v) == 0 {
			return nil
		}
	case string:
		if v == "" {
			return nil
		}
	case bool:
		if !v {
			return nil
		}
	case json.Number:
		if v == "0" {
			return nil
		}
	}
	return v
}

// settings returns what the node tells the others of its pools: their fingerprints by pool, as JSON.
func (n *node) settings() string {
	if n.fingerprints != nil {
		return n.told
	}
	n.fingerprints = make(map[string]string, len(n.pools))
	for _, p := range n.pools {
		n.fingerprints[p.ID] = p.fingerprint()
	}
	text, _ := json.Marshal(n.fingerprints) // of strings alone
	n.told = string(text)
	return n.told
}

// compare says which other nodes have other settings of a pool than this one: once, and again when these are other nodes.
// A node that has no such pool, or does not tell its settings, is not among them.
func (n *node) compare(live map[string]store.Pulse) {
	others := make(map[string][]string) // by pool
	for _, name := range slices.Sorted(maps.Keys(live)) {
		var theirs map[string]string
		if name == n.name() || json.Unmarshal([]byte(live[name].Settings), &theirs) != nil {
			continue
		}
		for pool, print := range theirs {
			if own := n.fingerprints[pool]; own != "" && print != "" && own != print {
				others[pool] = append(others[pool], name)
			}
		}
	}
	for _, p := range n.pools {
		names := strings.Join(others[p.ID], " ")
		switch names {
		case n.unlike[p.ID]:
		case "":
			n.eng.log.Info("nodes have the same settings of a pool again", "pool", p.ID, "node", n.name())
		default:
			n.eng.log.Warn("nodes differ in their settings of a pool, and tasks run by those of the node that starts them: give all nodes the same",
				"pool", p.ID, "node", n.name(), "unlike_nodes", names)
		}
		n.unlike[p.ID] = names
	}
}

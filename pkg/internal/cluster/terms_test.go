package cluster

import (
	"strings"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/env/envtest"
	"github.com/parkd-dev/parkd/pkg/store"
)

// TestTermsOfNodes: the longest count. A difference is logged once, and again only if it is another.
func TestTermsOfNodes(t *testing.T) {
	n, logged := newNode(t, &envtest.Machine{}, &fakeStore{})
	own := store.NodeHeartbeat{NodeConfig: store.NodeConfig{TTL: n.TTL, Grace: n.Grace}}
	slow := store.NodeHeartbeat{NodeConfig: store.NodeConfig{TTL: time.Minute, Grace: n.Grace}}
	brief := store.NodeHeartbeat{NodeConfig: store.NodeConfig{TTL: n.TTL, Grace: time.Second}}
	type m = map[string]store.NodeHeartbeat
	for i, c := range []struct {
		live       m
		ttl, grace time.Duration
		logged     int
	}{
		{nil, n.TTL, n.Grace, 0},
		{m{"own": own, "old": {}}, n.TTL, n.Grace, 0},
		{m{"own": own, "slow": slow}, time.Minute, n.Grace, 1},
		{m{"own": own, "slow": slow}, time.Minute, n.Grace, 1},
		{m{"own": own, "slow": slow, "brief": brief}, time.Minute, n.Grace, 1},
		{m{"own": own, "brief": brief}, n.TTL, n.Grace, 2},
		{m{"own": own}, n.TTL, n.Grace, 2},
		{m{"own": own, "brief": brief}, n.TTL, n.Grace, 3},
	} {
		got := n.agreed(c.live)
		if warned := strings.Count(logged.String(), "WARN"); got != (store.NodeConfig{TTL: c.ttl, Grace: c.grace}) || warned != c.logged {
			t.Errorf("%d: %+v, logged %d times, want %d", i, got, warned, c.logged)
		}
	}
}

// TestUnlikeSettings: a node that tells no settings, or has no such pool, differs in none. A node that differs is logged once.
func TestUnlikeSettings(t *testing.T) {
	n, logged := newNode(t, &envtest.Machine{}, &fakeStore{}, &fakePool{name: "a", print: "1"}, &fakePool{name: "b", print: "2"}, &fakePool{name: "untold"})
	same := n.own().PoolSettings
	if n.own().PoolSettings != same || same != `{"a":"1","b":"2","untold":""}` {
		t.Errorf("the settings are %s, and then %s", same, n.own().PoolSettings)
	}
	type m = map[string]store.NodeHeartbeat
	pulse := func(text string) store.NodeHeartbeat {
		return store.NodeHeartbeat{NodeConfig: store.NodeConfig{PoolSettings: text}}
	}
	for i, c := range []struct {
		live        m
		warns, back int
		last        string
	}{
		{m{"me": pulse(`{"a":"x"}`), "old": pulse(""), "like": pulse(same), "apart": pulse(`{"c":"x"}`), "silent": pulse(`{"a":"", "untold":"x"}`), "newer": pulse(`{"a":"x", "c":1}`)}, 0, 0, ""},
		{m{"one": pulse(`{"a":"x"}`)}, 1, 0, "unlike_nodes=one"},
		{m{"one": pulse(`{"a":"y"}`)}, 1, 0, "unlike_nodes=one"},
		{m{"two": pulse(`{"a":"y"}`), "one": pulse(`{"a":"y"}`)}, 2, 0, `unlike_nodes="one two"`},
		{m{"one": pulse(`{"b":"y"}`)}, 3, 1, "pool=b node=me unlike_nodes=one"},
		{nil, 3, 2, "pool=b"},
	} {
		n.compare(c.live)
		text := logged.String()
		all := strings.Split(strings.TrimSpace(text), "\n")
		if w, b := strings.Count(text, "WARN"), strings.Count(text, "INFO"); w != c.warns || b != c.back || !strings.Contains(all[len(all)-1], c.last) {
			t.Errorf("%d: %d warnings, %d that it is over: %s", i, w, b, text)
		}
	}
}

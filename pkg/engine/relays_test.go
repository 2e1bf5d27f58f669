package engine

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/parkd-dev/parkd/pkg/internal/cluster"
	"github.com/parkd-dev/parkd/pkg/internal/env"
	"github.com/parkd-dev/parkd/pkg/internal/env/envtest"
	"github.com/parkd-dev/parkd/pkg/internal/health"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

// nodesWith returns the node me of a store in memory, beside another.
func nodesWith(other string) map[park.Backend]*cluster.Node {
	e := &Engine{env: env.New(&envtest.Machine{}), health: &health.Stores{}}
	return map[park.Backend]*cluster.Node{park.InMemory: nodeAmong(e, nil, other)}
}

type nopNotifier struct{}

func (nopNotifier) Notify(context.Context, string, park.Message) error { return nil }

// TestTurns: of several nodes that share a store the first does what one node is enough for.
func TestTurns(t *testing.T) {
	e := &Engine{}
	if e.isFirst(park.InMemory) != nil {
		t.Error("a node that is alone takes turns")
	}
	for other, want := range map[string]bool{"a": false, "z": true} {
		e.nodes = nodesWith(other)
		if turn := e.isFirst(park.InMemory); turn == nil || turn() != want {
			t.Errorf("me beside %s: not %t", other, want)
		}
		if e.isFirst(park.File) != nil {
			t.Error("a store that is not shared has turns")
		}
	}
}

// TestRelaysAreStarted: one for each store and place, and one for each pool that notifies.
func TestRelaysAreStarted(t *testing.T) {
	both := []park.Backend{park.InMemory, park.File}
	for _, c := range []struct {
		queues, mails []park.Backend // of the pools a and b
		audit         park.Backend
		notify        bool
		want          string
	}{
		{[]park.Backend{park.InMemory, park.InMemory}, []park.Backend{park.InMemory, park.InMemory}, park.InMemory, false, ""},
		{[]park.Backend{park.InMemory, park.InMemory}, []park.Backend{park.File, park.File}, park.InMemory, false, "in_memory>mailbox/file"},
		{[]park.Backend{park.InMemory, park.InMemory}, both, park.File, false, "in_memory>audit/file in_memory>mailbox/file"},
		{both, []park.Backend{park.File, park.File}, park.Postgres, false, "in_memory>mailbox/file in_memory>audit/postgres file>audit/postgres"},
		{both, both, park.File, true, "in_memory>audit/file in_memory>notify/a file>notify/b"},
	} {
		p := testLoop(t, ledger.Pool{State: park.Active})
		e := p.eng
		w := simulatorOf(p)
		e.cfg.Audit, e.pools = c.audit, map[string]*pool{}
		for i, id := range []string{"a", "b"} {
			one := &pool{Pool: Pool{PoolSpec: park.PoolSpec{ID: id, QueueBackend: c.queues[i], MailboxBackend: c.mails[i]}}, eng: e}
			one.localMail, one.localAudit = c.queues[i] == c.mails[i], c.queues[i] == c.audit
			if c.notify {
				one.Notifier = nopNotifier{}
			}
			e.pools[id], e.poolIDs = one, append(e.poolIDs, id)
		}
		e.startRelays()
		var got []string
		for _, o := range e.relays {
			got = append(got, fmt.Sprintf("%s>%s", o.From, o.Dest()))
		}
		if text := strings.Join(got, " "); text != c.want || len(w.Begun) != len(got) {
			t.Errorf("%+v: %q, %d begun", c, text, len(w.Begun))
		}
	}
}

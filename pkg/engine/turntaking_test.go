package engine

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/env"
	"github.com/parkd-dev/parkd/pkg/internal/env/envtest"
	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

// TestTakingTurns: for how long a node stands in line, how often it looks, what it leaves to others meanwhile, and when it
// need not stand there any more.
func TestTakingTurns(t *testing.T) {
	const ms = time.Millisecond
	outcome := func() message { return outcomeReport("x", 1000) }
	submit := func() message {
		r := &operations{}
		r.setOp(lot.Submit{Spec: &ledger.Spec{}})
		return r
	}
	for name, c := range map[string]struct {
		aheads   []int
		stepped  time.Duration
		batch    []message
		comes    []message
		unheeded bool // the last time
		stored   bool // by others
		fails    bool // the store, asked for news
		ends     bool // the loop
		looks    int
		took     time.Duration
		hands    string // what the node hands over: w for all that it has
		leaves   bool   // unheeded
	}{
		"its turn":            {aheads: []int{0}, batch: []message{outcome()}, looks: 1, hands: "w"},
		"soon":                {aheads: []int{2, 1, 0}, stepped: 10 * ms, batch: []message{outcome()}, looks: 3, took: 15 * ms, hands: "www"},
		"never":               {aheads: []int{1}, stepped: 10 * ms, batch: []message{outcome()}, looks: 9, took: 40 * ms, hands: "wwwwwwwww", leaves: true},
		"the shortest time":   {aheads: []int{1}, batch: []message{outcome()}, looks: 8, took: 2 * ms, hands: "wwwwwwww", leaves: true},
		"a longer time":       {aheads: []int{1}, stepped: 30 * ms, batch: []message{outcome()}, looks: 8, took: 100 * ms, hands: "wwwwwwww", leaves: true},
		"the longest time":    {aheads: []int{1}, stepped: time.Second, batch: []message{outcome()}, looks: 9, took: 2 * time.Second, hands: "wwwwwwwww", leaves: true},
		"as it was at first":  {aheads: []int{4, 1}, stepped: 30 * ms, batch: []message{submit()}, looks: 14, took: 240 * ms, hands: "--------------"},
		"what nobody can do":  {aheads: []int{1}, stepped: 10 * ms, batch: []message{submit(), outcome()}, looks: 9, took: 40 * ms, hands: "---------"},
		"with nothing to do":  {aheads: []int{1}, stepped: 10 * ms, batch: []message{&operations{}}, looks: 9, took: 40 * ms, hands: "---------"},
		"in vain before":      {aheads: []int{1}, stepped: 10 * ms, batch: []message{outcome()}, unheeded: true, looks: 9, took: 40 * ms, hands: "---------"},
		"in vain, then not":   {aheads: []int{0}, batch: []message{outcome()}, unheeded: true, looks: 1, hands: "-"},
		"stored by others":    {aheads: []int{1}, stepped: 10 * ms, batch: []message{outcome()}, stored: true, looks: 1, took: 5 * ms, hands: "w"},
		"not all of it":       {aheads: []int{1}, stepped: 10 * ms, batch: []message{outcome(), submit()}, stored: true, looks: 9, took: 40 * ms, hands: "---------"},
		"a store that fails":  {aheads: []int{1}, stepped: 10 * ms, batch: []message{outcome()}, fails: true, looks: 1, took: 5 * ms, hands: "w"},
		"a line that fails":   {stepped: 10 * ms, batch: []message{outcome()}, looks: 1, hands: "w"},
		"the end of the loop": {aheads: []int{1}, stepped: 10 * ms, batch: []message{outcome()}, ends: true, looks: 1, hands: "w"},
		"something comes":     {aheads: []int{1, 1, 0}, stepped: 10 * ms, batch: []message{outcome()}, comes: []message{submit()}, looks: 3, took: 10 * ms, hands: "w--"},
	} {
		synctest.Test(t, func(t *testing.T) {
			l := &fakeShared{placesAhead: c.aheads}
			p := l.newLoop(&envtest.Machine{})
			p.eng.env = env.New(nil)
			p.lot = lot.New(lot.Config{Pool: "remote"}, p.eng.env.Instant())
			status := park.Running
			if c.stored {
				status = park.Queued
			}
			p.lot.Restore(&ledger.Record{Spec: ledger.Spec{TaskID: "x", Units: 1}, State: ledger.State{Status: status, Attempt: 1}}, p.eng.env.Instant())
			p.commitTime, p.delegationIgnored, p.contenders = c.stepped, c.unheeded, 3
			for _, r := range c.comes {
				p.messages <- r
			}
			if c.fails {
				l.err = errAsked
			}
			if c.ends {
				close(p.quit)
			}
			began := time.Now()
			batch := p.awaitTurn(c.batch)
			hands := ""
			for _, h := range l.hands {
				if h.All {
					hands += "w"
				} else {
					hands += "-"
				}
			}
			if took := time.Since(began); took != c.took || len(l.hands) != c.looks || hands != c.hands || p.delegationIgnored != c.leaves {
				t.Errorf("%s: %d looks in %s, not %d in %s; hands over %s, not %s; unheeded %t", name, len(l.hands), took, c.looks, c.took, hands, c.hands, p.delegationIgnored)
			}
			for i, h := range l.hands[1:] {
				if h.Note != nil {
					t.Errorf("%s: look %d leaves again what was left", name, i+1)
				}
			}
			// Where nothing was caught up with since, that is to come.
			if caught := strings.Contains(hands, "w") && c.took > 0 && !c.fails; p.contenders != 0 || p.mustCatchUp == caught || len(batch) != len(c.batch)+len(c.comes) {
				t.Errorf("%s: %d rivals, behind %t, a batch of %d", name, p.contenders, p.mustCatchUp, len(batch))
			}
		})
	}
}

// TestWhyALeaseIsLost: what a worker is told, who may have ended the task itself.
func TestWhyALeaseIsLost(t *testing.T) {
	l := &fakeShared{}
	p := l.newLoop(&envtest.Machine{})
	for name, c := range map[string]struct {
		holds  []ledger.Record
		fails  error
		status park.Status
		code   park.Code
		says   string
	}{
		"none":          {holds: []ledger.Record{}, code: park.LeaseNotFound},
		"not read":      {holds: []ledger.Record{}, fails: errAsked, code: park.StorageUnavailable},
		"its own":       {holds: []ledger.Record{{State: ledger.State{Status: park.Completed, Lease: "id"}}}, status: park.Completed},
		"another end":   {holds: []ledger.Record{{State: ledger.State{Status: park.Failed, Lease: "id", Attempt: 2}}}, status: park.Completed, code: park.LeaseLost, says: "is failed"},
		"another's":     {holds: []ledger.Record{{State: ledger.State{Status: park.Completed, Lease: "no"}}}, status: park.Completed, code: park.LeaseLost, says: "is completed"},
		"no end":        {holds: []ledger.Record{{State: ledger.State{Status: park.Completed, Lease: "id"}}}, code: park.LeaseLost, says: "is completed"},
		"another start": {holds: []ledger.Record{{State: ledger.State{Status: park.Running, Attempt: 3}}}, code: park.LeaseLost, says: "is running in attempt 3"},
		"parked":        {holds: []ledger.Record{{State: ledger.State{Status: park.Queued}}}, code: park.LeaseLost, says: "is queued in attempt 1"},
	} {
		l.records, l.err = c.holds, c.fails
		err := p.leaseLostError(t.Context(), "id", leaseRef{pool: p.pool, task: "a"}, c.status)
		if c.code == "" && err != nil || c.code != "" && park.CodeOf(err) != c.code || c.says != "" && !strings.HasSuffix(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
		if c.fails != nil && !errors.Is(err, c.fails) {
			t.Errorf("%s: %v", name, err)
		}
	}
	w := &waiter{}
	spec := &ledger.Spec{}
	if got := p.leasesOf([]runStart{{}, {spec: spec}, {}}, w, park.Time{}); len(got) != 1 {
		t.Errorf("%d leases of one task that could be read", len(got))
	}
}

package engine

import (
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/env"
	"github.com/parkd-dev/parkd/pkg/internal/env/envtest"
	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

// TestUntilTheNextInstant: the lot is looked at again when its next instant comes, by either clock, and soon enough to notice
// that the wall clock was set.
func TestUntilTheNextInstant(t *testing.T) {
	began := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	hand := &envtest.Machine{Wall: began, Mono: time.Hour}
	p := stoppedLoop()
	p.eng.env = env.New(hand)
	of := func(records ...ledger.Record) *lot.Lot {
		l := lot.New(lot.Config{Pool: "remote", Leased: true}, p.eng.env.Instant())
		for i := range records {
			l.Restore(&records[i], p.eng.env.Instant())
		}
		l.Merge(ledger.Pool{MaxUnits: 2, MaxQueueDepth: 2, State: park.Active}, nil, p.eng.env.Instant())
		return l
	}
	parked := ledger.Record{Spec: ledger.Spec{TaskID: "parked", Units: 1, Deadline: park.At(began.Add(time.Minute))}, State: ledger.State{Status: park.Queued}}
	leased := ledger.Record{Spec: ledger.Spec{TaskID: "leased", Units: 1}, State: ledger.State{
		Status: park.Running, Attempt: 1, Lease: "remote.1.x.leased", LeaseTTL: 57 * time.Second, StartedAt: park.At(began),
	}}
	both := []*lot.Lot{of(parked), of(leased), of(parked, leased), of()}
	for _, at := range []struct {
		after time.Duration
		want  [3]time.Duration // of one that is parked, one that is leased, and both
	}{
		{0, [3]time.Duration{maxTimer, maxTimer, maxTimer}},
		{54 * time.Second, [3]time.Duration{maxTimer, 3 * time.Second, 3 * time.Second}},
		{2 * time.Second, [3]time.Duration{4 * time.Second, time.Second, time.Second}},
		{2 * time.Second, [3]time.Duration{2 * time.Second, 0, 0}},
		{time.Minute, [3]time.Duration{0, 0, 0}},
	} {
		hand.Pass(at.after)
		for i, want := range at.want {
			p.lot = both[i]
			if d, ok := p.untilNextTimer(); d != want || !ok {
				t.Errorf("%s later: lot %d waits for %s, %t; not for %s", at.after, i, d, ok, want)
			}
		}
		p.lot = both[3]
		if d, ok := p.untilNextTimer(); ok {
			t.Errorf("a lot without tasks waits for %s", d)
		}
	}
	hand.Wall = began
	if now := p.eng.env.Instant(); !now.Wall.Equal(began.Add(118 * time.Second)) {
		t.Errorf("the clock ran backwards, to %s", now.Wall)
	}
}

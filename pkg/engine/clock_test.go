package engine

import (
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/lot"
	"github.com/parkd-dev/parkd/pkg/park"
)

// TestUntilTheNextInstant: the lot is looked at again when its next instant comes, by either clock, and soon enough to notice
// that the wall clock was set.
func TestUntilTheNextInstant(t *testing.T) {
	began := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	hand := &handClock{wall: began, mono: time.Hour}
	c := &clock{world: hand}
	of := func(records ...park.Record) *lot.Lot {
		l := lot.New(lot.Config{Pool: "remote", Leased: true}, c.now())
		for i := range records {
			l.Restore(&records[i], c.now())
		}
		l.Merge(park.PoolRow{MaxUnits: 2, MaxQueueDepth: 2, State: park.Active}, nil, c.now())
		return l
	}
	parked := park.Record{Spec: park.Spec{TaskID: "parked", Units: 1, Deadline: park.At(began.Add(time.Minute))}, State: park.State{Status: park.Queued}}
	leased := park.Record{Spec: park.Spec{TaskID: "leased", Units: 1}, State: park.State{
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
		hand.pass(at.after)
		for i, want := range at.want {
			if d, ok := c.until(both[i]); d != want || !ok {
				t.Errorf("%s later: lot %d waits for %s, %t; not for %s", at.after, i, d, ok, want)
			}
		}
		if d, ok := c.until(both[3]); ok {
			t.Errorf("a lot without tasks waits for %s", d)
		}
	}
	hand.wall = began
	if now := c.now(); !now.Wall.Equal(began.Add(118 * time.Second)) {
		t.Errorf("the clock ran backwards, to %s", now.Wall)
	}
}

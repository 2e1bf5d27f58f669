package storetest

import (
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// livesTests are of what outlives a queue, or is outlived by it.
func livesTests() group {
	return group{
		"a message of an id that is used again":     testSecondLife,
		"the same from a step of this store":        testSecondLifeHere,
		"a pool that was never there begins later":  testLiftNew,
		"a pool that was put back goes on later":    testLiftOld,
		"a pool that has come so far is left alone": testLiftNot,
		"the last rev of a log":                     testLastRev,
	}
}

// testSecondLife: each life of an id leaves its message, however often each is delivered.
func testSecondLife(t *testing.T, s store.Store) {
	first := letter("gpu", 1)
	second := first
	second.CreatedAt, second.Payload = park.At(first.CreatedAt.Add(time.Hour)), []byte(`"second"`)
	deliver(t, s, first)
	deliver(t, s, second, first)
	deliver(t, s, first, second)
	found := messages(t, s, alice())
	same(t, "messages", withoutIDs(found), []park.Message{first, second})
	if err := s.Trim(t.Context(), "acme", "alice", found[1].ID); err != nil {
		t.Fatal(err)
	}
	deliver(t, s, first, second)
	same(t, "messages after a trim", withoutIDs(messages(t, s, alice())), []park.Message(nil))
}

func testSecondLifeHere(t *testing.T, s store.Store) {
	first := letter("gpu", 1)
	deliver(t, s, first)
	f := NewFeed("gpu")
	f.Pass(time.Hour)
	r := f.Submit(func(r *ledger.Record) { r.TaskID = first.TaskID })
	second := f.Message(f.End(f.Start(r.TaskID).TaskID, park.Completed, `"second"`))
	commit(t, s, f.Next())
	same(t, "messages", withoutIDs(messages(t, s, alice())), []park.Message{first, second})
}

// lifted is the row of a pool whose log goes up to rev 7.
func lifted() ledger.Pool {
	return ledger.Pool{
		Rev: 7, MaxUnits: 1 << 30, MaxQueueDepth: 1 << 20, State: park.Active, LastAt: hours(7), ConfiguredUnits: 1 << 30,
		ConfiguredDepth: 1 << 20, LastStep: "lifted",
	}
}

func lift(t *testing.T, s store.Store, row ledger.Pool) {
	t.Helper()
	for range 2 {
		if err := s.AdvanceRev(t.Context(), "gpu", row); err != nil {
			t.Fatalf("lift: %v", err)
		}
	}
}

func testLiftNew(t *testing.T, s store.Store) {
	lift(t, s, lifted())
	same(t, "pool", load(t, s, "gpu"), store.Snapshot{Row: lifted()})
	f := NewFeed("gpu")
	f.Submit(nil)
	if err := s.Commit(t.Context(), f.Next()); err == nil {
		t.Error("a step to rev 1 was taken after rev 7")
	}
	f = NewFeed("gpu")
	f.Row.Rev = 7
	f.Submit(nil)
	commit(t, s, f.Next())
	wantState(t, s, f)
}

func testLiftOld(t *testing.T, s store.Store) {
	f := NewFeed("gpu")
	f.Submit(nil)
	f.Start(f.Submit(nil).TaskID)
	commit(t, s, f.Next())
	lift(t, s, lifted())
	f.Row.Rev, f.Row.LastAt, f.Row.LastStep = 7, hours(7), "lifted"
	wantState(t, s, f)
	f.Pass(8 * time.Hour)
	f.Submit(nil)
	commit(t, s, f.Next())
	wantState(t, s, f)
}

func testLiftNot(t *testing.T, s store.Store) {
	f := NewFeed("gpu")
	for range 7 {
		f.Submit(nil)
		commit(t, s, f.Next())
	}
	lift(t, s, lifted())
	wantState(t, s, f)
}

func testLastRev(t *testing.T, s store.Store) {
	want := func(pool string, rev int64, at park.Time) {
		t.Helper()
		r, a, err := s.LastRev(t.Context(), pool)
		if err != nil || r != rev || !a.Equal(at.Time) {
			t.Errorf("pool %s: got rev %d at %s, %v; want %d at %s", pool, r, a, err, rev, at)
		}
	}
	want("gpu", 0, park.Time{})
	for _, pool := range []string{"gpu", "cpu"} {
		f := NewFeed(pool)
		for range 3 {
			f.Pass(time.Hour)
			for range 200 {
				f.Submit(nil)
			}
			commit(t, s, f.Next())
		}
		want(pool, 3, hours(3))
	}
	appendEvents(t, s, park.Event{PoolID: "gpu", Rev: 9, At: hours(9), Action: park.ActUpdate})
	want("gpu", 9, hours(9))
	want("cpu", 3, hours(3))
	if pruned(t, s.PruneEvents, hours(10), 1000) == 0 {
		t.Fatal("nothing was pruned")
	}
	want("gpu", 0, park.Time{})
}

// testLiftedSince: what came between is not known to anyone.
func testLiftedSince(t *testing.T, s, other store.Store) {
	f := NewFeed("gpu")
	f.Submit(nil)
	commit(t, s, f.Next())
	lift(t, s, lifted())
	for _, from := range []int64{0, 1} {
		c, err := other.(store.Shared).ChangesSince(t.Context(), "gpu", from)
		if err != nil || c == nil || !c.Reload {
			t.Errorf("from rev %d on: %+v, %v; want a reload", from, c, err)
		}
	}
	c, err := other.(store.Shared).ChangesSince(t.Context(), "gpu", 7)
	if err != nil || c != nil {
		t.Errorf("from the rev itself: %+v, %v", c, err)
	}
}

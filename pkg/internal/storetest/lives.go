package storetest

import (
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// livesTests returns the tests of ids that are used again, and of pools whose row is restored from their log.
func livesTests() storeTests {
	return storeTests{
		"messages of an id that is used again": testSecondLife,
		"the same by a step of this store":     testSecondLifeHere,
		"raise a pool without steps":           testLiftNew,
		"raise a pool that was restored":       testLiftOld,
		"a pool with this rev is not changed":  testLiftNot,
		"the last rev of a log":                testLastRev,
	}
}

// testSecondLife sees that an id that is used again leaves a message for each use, however often each is delivered.
func testSecondLife(t *testing.T, s store.Store) {
	first := newMessage("gpu", 1)
	second := first
	second.CreatedAt, second.Payload = park.At(first.CreatedAt.Add(time.Hour)), []byte(`"second"`)
	deliver(t, s, first)
	deliver(t, s, second, first)
	deliver(t, s, first, second)
	found := messages(t, s, aliceBox())
	equal(t, "messages", withoutIDs(found), []park.Message{first, second})
	if err := s.Trim(t.Context(), "acme", "alice", found[1].ID); err != nil {
		t.Fatal(err)
	}
	deliver(t, s, first, second)
	equal(t, "messages after a trim", withoutIDs(messages(t, s, aliceBox())), []park.Message(nil))
}

func testSecondLifeHere(t *testing.T, s store.Store) {
	first := newMessage("gpu", 1)
	deliver(t, s, first)
	model := NewModel("gpu")
	model.Advance(time.Hour)
	r := model.Submit(func(r *ledger.Record) { r.TaskID = first.TaskID })
	second := model.Message(model.End(model.Start(r.TaskID).TaskID, park.Completed, `"second"`))
	commit(t, s, model.Next())
	equal(t, "messages", withoutIDs(messages(t, s, aliceBox())), []park.Message{first, second})
}

// liftedRow is the row of a pool whose log reaches rev 7.
func liftedRow() ledger.Pool {
	return ledger.Pool{
		Rev: 7, MaxUnits: 1 << 30, MaxQueueDepth: 1 << 20, State: park.Active, LastAt: atHour(7), ConfiguredUnits: 1 << 30,
		ConfiguredDepth: 1 << 20, LastStep: "lifted",
	}
}

// lift raises a pool to a row, twice as after a lost reply.
func lift(t *testing.T, s store.Store, row ledger.Pool) {
	t.Helper()
	for range 2 {
		if err := s.AdvanceRev(t.Context(), "gpu", row); err != nil {
			t.Fatalf("lift: %v", err)
		}
	}
}

func testLiftNew(t *testing.T, s store.Store) {
	lift(t, s, liftedRow())
	equal(t, "pool", load(t, s, "gpu"), store.Snapshot{Row: liftedRow()})
	model := NewModel("gpu")
	model.Submit(nil)
	if err := s.Commit(t.Context(), model.Next()); err == nil {
		t.Error("a step to rev 1 was taken after rev 7")
	}
	model = NewModel("gpu")
	model.Row.Rev = 7
	model.Submit(nil)
	commit(t, s, model.Next())
	wantState(t, s, model)
}

func testLiftOld(t *testing.T, s store.Store) {
	model := NewModel("gpu")
	model.Submit(nil)
	model.Start(model.Submit(nil).TaskID)
	commit(t, s, model.Next())
	lift(t, s, liftedRow())
	model.Row.Rev, model.Row.LastAt, model.Row.LastStep = 7, atHour(7), "lifted"
	wantState(t, s, model)
	model.Advance(8 * time.Hour)
	model.Submit(nil)
	commit(t, s, model.Next())
	wantState(t, s, model)
}

func testLiftNot(t *testing.T, s store.Store) {
	model := NewModel("gpu")
	for range 7 {
		model.Submit(nil)
		commit(t, s, model.Next())
	}
	lift(t, s, liftedRow())
	wantState(t, s, model)
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
		model := NewModel(pool)
		for range 3 {
			model.Advance(time.Hour)
			for range 200 {
				model.Submit(nil)
			}
			commit(t, s, model.Next())
		}
		want(pool, 3, atHour(3))
	}
	appendEvents(t, s, park.Event{PoolID: "gpu", Rev: 9, At: atHour(9), Action: park.ActUpdate})
	want("gpu", 9, atHour(9))
	want("cpu", 3, atHour(3))
	if pruneAll(t, s.PruneEvents, atHour(10), 1000) == 0 {
		t.Fatal("nothing was pruned")
	}
	want("gpu", 0, park.Time{})
}

// testLiftedSince sees that a node must reload a pool whose rev was raised, since no store knows the steps between.
func testLiftedSince(t *testing.T, s, other store.Store) {
	model := NewModel("gpu")
	model.Submit(nil)
	commit(t, s, model.Next())
	lift(t, s, liftedRow())
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

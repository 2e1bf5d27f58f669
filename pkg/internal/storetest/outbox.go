package storetest

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

func outboxTests() storeTests {
	return storeTests{
		"oldest first, for one destination":     testOutboxOrder,
		"delivered entries are removed":         testSettle,
		"postponed entries come back":           testPostpone,
		"postponed entries do not delay others": testPostponedAside,
		"deliver and postpone in one call":      testSettleBoth,
		"ids are never used again":              testOutboxIDs,
	}
}

// commitParcels commits n entries for each destination, a few in each step, and returns the model.
func commitParcels(t *testing.T, s store.Store, n int, dests ...string) *Model {
	model := NewModel("gpu")
	addParcels(t, s, model, n, dests...)
	return model
}

// addParcels commits n entries for each destination, a few in each step.
func addParcels(t *testing.T, s store.Store, model *Model, n int, dests ...string) {
	t.Helper()
	for i := range n {
		for _, d := range dests {
			m := park.Message{TaskID: strconv.Itoa(i), PoolID: "gpu", Tenant: "acme", Key: "alice", Attempt: 1}
			model.AddOutboxEntry(store.OutboxEntry{Dest: d, Message: &m})
		}
		if i%3 == 2 || i == n-1 {
			model.Submit(nil)
			model.Advance(time.Second)
			commit(t, s, model.Next())
		}
	}
}

// parcelTasks returns the ids of the tasks whose messages the entries contain.
func parcelTasks(entries []store.OutboxEntry) []string {
	var all []string
	for _, p := range entries {
		all = append(all, p.Message.TaskID)
	}
	return all
}

// parcelIDs returns the ids of entries.
func parcelIDs(entries []store.OutboxEntry) []int64 {
	var all []int64
	for _, p := range entries {
		all = append(all, p.ID)
	}
	return all
}

// settle removes delivered entries and postpones others.
func settle(t testing.TB, s store.Store, done []int64, later ...store.DeferredEntry) {
	t.Helper()
	if err := s.AckOutbox(t.Context(), done, later); err != nil {
		t.Fatalf("settle: %v", err)
	}
}

func testOutboxOrder(t *testing.T, s store.Store) {
	model := commitParcels(t, s, 12, "mailbox/file", "notify/gpu")
	want := []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11"}
	for _, dest := range []string{"mailbox/file", "notify/gpu"} {
		for _, limit := range []int{1, 5, 12, 100} {
			found := outbox(t, s, dest, model.Now(), limit)
			equal(t, "entries", parcelTasks(found), want[:min(limit, 12)])
			if !slices.IsSorted(parcelIDs(found)) {
				t.Fatalf("ids do not rise: %v", parcelIDs(found))
			}
		}
		for _, p := range outbox(t, s, dest, model.Now(), noLimit) {
			if p.Dest != dest {
				t.Fatalf("got a entry for %s, want %s", p.Dest, dest)
			}
		}
	}
	equal(t, "for nobody", outbox(t, s, "notify", model.Now(), 10), []store.OutboxEntry(nil))
}

func testSettle(t *testing.T, s store.Store) {
	model := commitParcels(t, s, 6, "a", "b")
	found := parcelIDs(outbox(t, s, "a", model.Now(), noLimit))
	settle(t, s, []int64{found[1], found[4], 1 << 40})
	settle(t, s, []int64{found[1]}) // once more: its reply was lost
	settle(t, s, nil)
	equal(t, "left", parcelTasks(outbox(t, s, "a", model.Now(), noLimit)), []string{"0", "2", "3", "5"})
	equal(t, "elsewhere", len(outbox(t, s, "b", model.Now(), noLimit)), 6)
	settle(t, s, found)
	equal(t, "none", outbox(t, s, "a", model.Now(), noLimit), []store.OutboxEntry(nil))
}

func testPostpone(t *testing.T, s store.Store) {
	model := commitParcels(t, s, 3, "a")
	found := outbox(t, s, "a", model.Now(), noLimit)
	until := park.At(model.Now().Add(time.Minute))
	settle(t, s, nil, store.DeferredEntry{ID: found[1].ID, Attempts: 1, Until: until}, store.DeferredEntry{ID: 1 << 40, Attempts: 1, Until: until})
	equal(t, "before", parcelTasks(outbox(t, s, "a", park.At(until.Add(-time.Microsecond)), noLimit)), []string{"0", "2"})
	back := outbox(t, s, "a", until, noLimit)
	equal(t, "when it is due", parcelTasks(back), []string{"0", "1", "2"})
	want := found[1]
	want.Attempts = 1
	equal(t, "entry", back[1], want)

	settle(t, s, nil, store.DeferredEntry{ID: want.ID, Attempts: 2, Until: park.At(until.Add(time.Hour))})
	equal(t, "put off again", parcelTasks(outbox(t, s, "a", until, noLimit)), []string{"0", "2"})
	settle(t, s, parcelIDs(back))
	equal(t, "delivered", outbox(t, s, "a", park.At(until.Add(24*time.Hour)), noLimit), []store.OutboxEntry(nil))
}

// testPostponedAside postpones many entries to different times. Those that are due must come oldest first.
func testPostponedAside(t *testing.T, s store.Store) {
	model := commitParcels(t, s, 30, "a", "b")
	now := model.Now()
	for i, p := range outbox(t, s, "a", now, noLimit) {
		if i%3 != 0 {
			until := park.At(now.Add(time.Duration(40-i) * time.Second))
			settle(t, s, nil, store.DeferredEntry{ID: p.ID, Attempts: 1, Until: until})
		}
	}
	equal(t, "now", parcelTasks(outbox(t, s, "a", now, 4)), []string{"0", "3", "6", "9"})
	// Those from 20 on are due after 20 seconds, and come between those that were never postponed.
	equal(t, "later", parcelTasks(outbox(t, s, "a", park.At(now.Add(20*time.Second)), 12)),
		[]string{"0", "3", "6", "9", "12", "15", "18", "20", "21", "22", "23", "24"})
	equal(t, "elsewhere", len(outbox(t, s, "b", now, noLimit)), 30)
	addParcels(t, s, model, 1, "a")
	found := outbox(t, s, "a", park.At(model.Now().Add(time.Hour)), noLimit)
	equal(t, "the newest is the last", found[len(found)-1].Message.TaskID, "0")
	equal(t, "all", len(found), 31)
}

func testSettleBoth(t *testing.T, s store.Store) {
	model := commitParcels(t, s, 5, "a", "b")
	a, b := parcelIDs(outbox(t, s, "a", model.Now(), noLimit)), parcelIDs(outbox(t, s, "b", model.Now(), noLimit))
	settle(t, s, []int64{a[0], b[4]}, store.DeferredEntry{ID: a[1], Attempts: 1, Until: park.At(model.Now().Add(time.Second))})
	equal(t, "a", parcelTasks(outbox(t, s, "a", model.Now(), noLimit)), []string{"2", "3", "4"})
	equal(t, "b", parcelTasks(outbox(t, s, "b", model.Now(), noLimit)), []string{"0", "1", "2", "3"})
}

func testOutboxIDs(t *testing.T, s store.Store) {
	model := NewModel("gpu")
	last := int64(0)
	for range 4 {
		addParcels(t, s, model, 3, "a", "b")
		found := append(parcelIDs(outbox(t, s, "a", model.Now(), noLimit)), parcelIDs(outbox(t, s, "b", model.Now(), noLimit))...)
		if slices.Min(found) <= last {
			t.Fatalf("id %d was given again after %d", slices.Min(found), last)
		}
		last = slices.Max(found)
		settle(t, s, found)
	}
}

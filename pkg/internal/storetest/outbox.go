package storetest

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

func outboxTests() group {
	return group{
		"oldest first, for one destination": testOutboxOrder,
		"what is done is gone":              testSettle,
		"what is put off comes back":        testPostpone,
		"what is put off holds up nothing":  testPostponedAside,
		"done and put off at once":          testSettleBoth,
		"ids are never given twice":         testOutboxIDs,
	}
}

// posted commits n parcels for each destination, a few in each step, and returns the feed.
func posted(t *testing.T, s store.Store, n int, dests ...string) *Feed {
	f := NewFeed("gpu")
	post(t, s, f, n, dests...)
	return f
}

func post(t *testing.T, s store.Store, f *Feed, n int, dests ...string) {
	t.Helper()
	for i := range n {
		for _, d := range dests {
			m := park.Message{TaskID: strconv.Itoa(i), PoolID: "gpu", Tenant: "acme", Key: "alice", Attempt: 1}
			f.Post(store.OutboxEntry{Dest: d, Message: &m})
		}
		if i%3 == 2 || i == n-1 {
			f.Submit(nil)
			f.Pass(time.Second)
			commit(t, s, f.Next())
		}
	}
}

func parcelTasks(parcels []store.OutboxEntry) []string {
	var all []string
	for _, p := range parcels {
		all = append(all, p.Message.TaskID)
	}
	return all
}

func parcelIDs(parcels []store.OutboxEntry) []int64 {
	var all []int64
	for _, p := range parcels {
		all = append(all, p.ID)
	}
	return all
}

func settle(t testing.TB, s store.Store, done []int64, later ...store.DeferredEntry) {
	t.Helper()
	if err := s.AckOutbox(t.Context(), done, later); err != nil {
		t.Fatalf("settle: %v", err)
	}
}

func testOutboxOrder(t *testing.T, s store.Store) {
	f := posted(t, s, 12, "mailbox/file", "notify/gpu")
	want := []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11"}
	for _, dest := range []string{"mailbox/file", "notify/gpu"} {
		for _, limit := range []int{1, 5, 12, 100} {
			found := outbox(t, s, dest, f.Now(), limit)
			same(t, "parcels", parcelTasks(found), want[:min(limit, 12)])
			if !slices.IsSorted(parcelIDs(found)) {
				t.Fatalf("ids do not rise: %v", parcelIDs(found))
			}
		}
		for _, p := range outbox(t, s, dest, f.Now(), all) {
			if p.Dest != dest {
				t.Fatalf("got a parcel for %s, want %s", p.Dest, dest)
			}
		}
	}
	same(t, "for nobody", outbox(t, s, "notify", f.Now(), 10), []store.OutboxEntry(nil))
}

func testSettle(t *testing.T, s store.Store) {
	f := posted(t, s, 6, "a", "b")
	found := parcelIDs(outbox(t, s, "a", f.Now(), all))
	settle(t, s, []int64{found[1], found[4], 1 << 40})
	settle(t, s, []int64{found[1]}) // once more: its reply was lost
	settle(t, s, nil)
	same(t, "left", parcelTasks(outbox(t, s, "a", f.Now(), all)), []string{"0", "2", "3", "5"})
	same(t, "elsewhere", len(outbox(t, s, "b", f.Now(), all)), 6)
	settle(t, s, found)
	same(t, "none", outbox(t, s, "a", f.Now(), all), []store.OutboxEntry(nil))
}

func testPostpone(t *testing.T, s store.Store) {
	f := posted(t, s, 3, "a")
	found := outbox(t, s, "a", f.Now(), all)
	until := park.At(f.Now().Add(time.Minute))
	settle(t, s, nil, store.DeferredEntry{ID: found[1].ID, Attempts: 1, Until: until}, store.DeferredEntry{ID: 1 << 40, Attempts: 1, Until: until})
	same(t, "before", parcelTasks(outbox(t, s, "a", park.At(until.Add(-time.Microsecond)), all)), []string{"0", "2"})
	back := outbox(t, s, "a", until, all)
	same(t, "when it is due", parcelTasks(back), []string{"0", "1", "2"})
	want := found[1]
	want.Attempts = 1
	same(t, "parcel", back[1], want)

	settle(t, s, nil, store.DeferredEntry{ID: want.ID, Attempts: 2, Until: park.At(until.Add(time.Hour))})
	same(t, "put off again", parcelTasks(outbox(t, s, "a", until, all)), []string{"0", "2"})
	settle(t, s, parcelIDs(back))
	same(t, "delivered", outbox(t, s, "a", park.At(until.Add(24*time.Hour)), all), []store.OutboxEntry(nil))
}

// testPostponedAside puts many off by different times: what is due comes in order of age whatever else waits.
func testPostponedAside(t *testing.T, s store.Store) {
	f := posted(t, s, 30, "a", "b")
	now := f.Now()
	for i, p := range outbox(t, s, "a", now, all) {
		if i%3 != 0 {
			until := park.At(now.Add(time.Duration(40-i) * time.Second))
			settle(t, s, nil, store.DeferredEntry{ID: p.ID, Attempts: 1, Until: until})
		}
	}
	same(t, "now", parcelTasks(outbox(t, s, "a", now, 4)), []string{"0", "3", "6", "9"})
	// Those from 20 on are due 20 seconds later, and mix with those that were never put off.
	same(t, "later", parcelTasks(outbox(t, s, "a", park.At(now.Add(20*time.Second)), 12)),
		[]string{"0", "3", "6", "9", "12", "15", "18", "20", "21", "22", "23", "24"})
	same(t, "elsewhere", len(outbox(t, s, "b", now, all)), 30)
	post(t, s, f, 1, "a")
	found := outbox(t, s, "a", park.At(f.Now().Add(time.Hour)), all)
	same(t, "the newest is the last", found[len(found)-1].Message.TaskID, "0")
	same(t, "all", len(found), 31)
}

func testSettleBoth(t *testing.T, s store.Store) {
	f := posted(t, s, 5, "a", "b")
	a, b := parcelIDs(outbox(t, s, "a", f.Now(), all)), parcelIDs(outbox(t, s, "b", f.Now(), all))
	settle(t, s, []int64{a[0], b[4]}, store.DeferredEntry{ID: a[1], Attempts: 1, Until: park.At(f.Now().Add(time.Second))})
	same(t, "a", parcelTasks(outbox(t, s, "a", f.Now(), all)), []string{"2", "3", "4"})
	same(t, "b", parcelTasks(outbox(t, s, "b", f.Now(), all)), []string{"0", "1", "2", "3"})
}

func testOutboxIDs(t *testing.T, s store.Store) {
	f := NewFeed("gpu")
	last := int64(0)
	for range 4 {
		post(t, s, f, 3, "a", "b")
		found := append(parcelIDs(outbox(t, s, "a", f.Now(), all)), parcelIDs(outbox(t, s, "b", f.Now(), all))...)
		if slices.Min(found) <= last {
			t.Fatalf("id %d was given again after %d", slices.Min(found), last)
		}
		last = slices.Max(found)
		settle(t, s, found)
	}
}

package storetest

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

func pruneTests() group {
	return group{
		"ended tasks go, live ones stay":       testPruneTasks,
		"a pruned task's id is free again":     testPrunedID,
		"tasks go in bounded steps":            testPruneTaskSteps,
		"messages go by age, trimmed or not":   testPruneMessages,
		"messages go by chunks of a step":      testPruneMessageChunks,
		"a message's id is not given again":    testPrunedMessageID,
		"a pruned message may be made anew":    testPrunedMessage,
		"events go by age":                     testPruneEvents,
		"events go by chunks of a step":        testPruneChunks,
		"late ones go by their own time":       testPruneLate,
		"a cursor whose event was pruned":      testPrunedCursor,
		"nothing else is touched":              testPruneAside,
		"an empty store has nothing to forget": testPruneNothing,
	}
}

type prune func(context.Context, park.Time, int) (int, error)

// pruned calls p until nothing is left to prune, and returns how many were removed.
func pruned(t testing.TB, p prune, before park.Time, limit int) (total int) {
	t.Helper()
	for {
		n, err := p(t.Context(), before, limit)
		if err != nil {
			t.Fatalf("prune: %v", err)
		}
		if n < 0 || n > limit {
			t.Fatalf("pruned %d, at most %d were asked for", n, limit)
		}
		total += n
		if n < limit {
			return total
		}
	}
}

// hours returns the time n hours after the epoch.
func hours(n int) park.Time { return park.At(Epoch().Add(time.Duration(n) * time.Hour)) }

// aged commits n tasks: all are submitted at the epoch and one ends each hour from then on, in two pools by
// turns. Every third never ends.
func aged(t *testing.T, s store.Store, n int) map[string]*Feed {
	feeds := map[string]*Feed{"gpu": NewFeed("gpu"), "cpu": NewFeed("cpu")}
	for range n {
		for _, f := range feeds {
			f.Submit(nil)
		}
	}
	for _, f := range feeds {
		commit(t, s, f.Next())
	}
	for i := range n {
		for _, f := range feeds {
			switch i % 3 {
			case 0:
				f.End(f.Queued[0], park.Expired, "")
			case 1:
				f.End(f.Start(f.Queued[0]).TaskID, park.Completed, "")
			default:
				f.Start(f.Queued[0])
			}
			commit(t, s, f.Next())
			f.Pass(time.Hour)
		}
	}
	return feeds
}

// forget removes from the feed what ended before the given time and returns how many that were.
func (f *Feed) forget(before park.Time) (n int) {
	for id, r := range f.Tasks {
		if r.Status.Ended() && r.EndedAt.Before(before.Time) {
			delete(f.Tasks, id)
			n++
		}
	}
	return n
}

func testPruneTasks(t *testing.T, s store.Store) {
	feeds := aged(t, s, 20)
	for _, h := range []int{-1, 0, 1, 5, 5, 12, 1000, 1000} {
		want := feeds["gpu"].forget(hours(h)) + feeds["cpu"].forget(hours(h))
		same(t, "pruned before "+strconv.Itoa(h)+" h", pruned(t, s.PruneTasks, hours(h), 100), want)
		for pool, f := range feeds {
			found, _ := list(t, s, pool, park.TaskQuery{Limit: all})
			same(t, "tasks", ids(found), f.listed(park.TaskQuery{}))
			same(t, "live tasks", load(t, s, pool), store.Snapshot{Row: f.Row, Tasks: f.Live()})
		}
	}
	f := feeds["gpu"]
	for _, id := range append(f.Queued, f.Running...) {
		f.End(id, park.Dropped, "")
	}
	commit(t, s, f.Next())
	same(t, "the rest, once it has ended", pruned(t, s.PruneTasks, hours(1000), 3), len(f.Tasks))
}

func testPrunedID(t *testing.T, s store.Store) {
	f := NewFeed("gpu")
	f.End(f.Submit(nil).TaskID, park.Dropped, "")
	commit(t, s, f.Next())
	same(t, "pruned", pruned(t, s.PruneTasks, hours(1), 10), 1)
	f.number = 0
	f.Pass(2 * time.Hour)
	f.Submit(func(r *ledger.Record) { r.Tenant = "globex" })
	commit(t, s, f.Next())
	same(t, "records", records(t, s, "gpu", "gpu-1"), []ledger.Record{*f.Tasks["gpu-1"]})
	found, _ := list(t, s, "gpu", park.TaskQuery{Limit: 10})
	same(t, "listed", ids(found), []string{"gpu-1"})
	same(t, "pruned", pruned(t, s.PruneTasks, hours(1000), 10), 0)
}

func testPruneTaskSteps(t *testing.T, s store.Store) {
	feeds := aged(t, s, 12)
	want := feeds["gpu"].forget(hours(9)) + feeds["cpu"].forget(hours(9))
	same(t, "pruned one by one", pruned(t, s.PruneTasks, hours(9), 1), want)
	for pool, f := range feeds {
		found, _ := list(t, s, pool, park.TaskQuery{Limit: all})
		same(t, "tasks", ids(found), f.listed(park.TaskQuery{}))
	}
}

func testPruneMessages(t *testing.T, s store.Store) {
	var want []park.Message
	for i := range 20 {
		m := letter("gpu", i)
		m.CreatedAt = hours(i)
		want = append(want, m)
		deliver(t, s, m)
	}
	found := messages(t, s, alice())
	if err := s.Trim(t.Context(), "acme", "alice", found[2].ID); err != nil {
		t.Fatal(err)
	}
	same(t, "pruned", pruned(t, s.PruneMessages, hours(0), 4), 0)
	same(t, "pruned", pruned(t, s.PruneMessages, hours(2), 4), 2)
	deliver(t, s, want[2]) // its tombstone is younger
	same(t, "messages", messages(t, s, alice()), found[3:])
	same(t, "pruned", pruned(t, s.PruneMessages, hours(13), 4), 11)
	same(t, "messages", messages(t, s, alice()), found[13:])
	q := alice()
	q.After = found[5].ID
	same(t, "after a pruned one", messages(t, s, q), found[13:])
	same(t, "pruned", pruned(t, s.PruneMessages, hours(1000), 4), 7)
	same(t, "messages", messages(t, s, alice()), []park.Message(nil))
}

// testPruneMessageChunks prunes the messages of large steps, whose times may differ, in chunks that may end amid a step.
func testPruneMessageChunks(t *testing.T, s store.Store) {
	row := ledger.Pool{State: park.Active}
	left := 0
	for step, times := range [][]int{{0}, {1, 2}, {3}} {
		row.Rev++
		row.LastStep = "step-" + strconv.Itoa(step)
		st := &store.Step{PoolID: "gpu", ID: row.LastStep, Row: row}
		for i := range 200 {
			m := letter("gpu", 1000*step+i)
			m.CreatedAt = hours(times[i/30%len(times)])
			st.Messages = append(st.Messages, m)
		}
		commit(t, s, st)
		left += len(st.Messages)
	}
	for h, young := range []int{600, 400, 290, 200} { // of the second step, in runs of thirty, ninety are of the later time
		for n := 0; left > young; n = (n + 1) % 3 {
			limit := []int{1, 77, 130}[n]
			removed, err := s.PruneMessages(t.Context(), hours(h), limit)
			if err != nil {
				t.Fatal(err)
			}
			same(t, "pruned", removed, min(limit, left-young))
			left -= removed
			same(t, "left", len(messages(t, s, alice())), left)
		}
		same(t, "pruned", pruned(t, s.PruneMessages, hours(h), 100), 0)
	}
	same(t, "pruned", pruned(t, s.PruneMessages, hours(4), 30), left)
	same(t, "messages", messages(t, s, alice()), []park.Message(nil))
}

func testPrunedMessageID(t *testing.T, s store.Store) {
	last := ""
	for i := range 5 {
		deliver(t, s, letter("gpu", 2*i), letter("gpu", 2*i+1))
		q := alice()
		q.After = last
		found := messages(t, s, q)
		same(t, "messages", withoutIDs(found), []park.Message{letter("gpu", 2*i), letter("gpu", 2*i+1)})
		last = found[1].ID
		same(t, "pruned", pruned(t, s.PruneMessages, hours(1000), 10), 2)
	}
}

// testPrunedMessage has a task's id used for another task, long after the first was forgotten.
func testPrunedMessage(t *testing.T, s store.Store) {
	deliver(t, s, letter("gpu", 1))
	found := messages(t, s, alice())
	if err := s.Trim(t.Context(), "acme", "alice", found[0].ID); err != nil {
		t.Fatal(err)
	}
	same(t, "pruned", pruned(t, s.PruneMessages, hours(1), 10), 1)
	later := letter("gpu", 1)
	later.CreatedAt = hours(30)
	deliver(t, s, later)
	same(t, "messages", withoutIDs(messages(t, s, alice())), []park.Message{later})
}

func testPruneEvents(t *testing.T, s store.Store) {
	log := history(t, s)
	for _, at := range []time.Duration{0, time.Second, 2 * time.Second, 2 * time.Second, 8 * time.Second, time.Hour} {
		before := park.At(Epoch().Add(at))
		left := selected(log, park.AuditQuery{Since: before})
		same(t, "pruned", pruned(t, s.PruneEvents, before, 7), len(log)-len(left))
		log = left
		for _, q := range auditQueries() {
			same(t, "events", events(t, s, q), selected(log, q))
		}
	}
}

// testPruneChunks looks at what is left after each chunk, which may end amid a step.
func testPruneChunks(t *testing.T, s store.Store) {
	left := len(crowded(t, s))
	for n := 0; left > 0; n = (n + 1) % 3 {
		limit := []int{1, 77, 130}[n]
		removed, err := s.PruneEvents(t.Context(), hours(1), limit)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "pruned", removed, min(limit, left))
		left -= removed
		log := events(t, s, park.AuditQuery{})
		same(t, "left", len(log), left)
		for _, q := range crowdedQueries() {
			same(t, "events", events(t, s, q), selected(log, q))
		}
	}
	f := NewFeed("new")
	f.Submit(nil)
	commit(t, s, f.Next())
	same(t, "events", events(t, s, park.AuditQuery{}), f.Log)
}

// testPruneLate prunes what was written in another order than its times.
func testPruneLate(t *testing.T, s store.Store) {
	times := []int{0, 7, 3, 9, 1, 8, 2}
	for i, h := range times {
		m := letter("gpu", i)
		m.CreatedAt = hours(h)
		deliver(t, s, m)
		pool := "pool-" + strconv.Itoa(i)
		appendEvents(t, s, park.Event{PoolID: pool, Rev: 1, Action: park.ActSubmit, At: hours(h), Tenant: "acme"})
	}
	for h := range 11 {
		left := 0
		for _, at := range times {
			if at >= h {
				left++
			}
		}
		pruned(t, s.PruneMessages, hours(h), 2)
		pruned(t, s.PruneEvents, hours(h), 2)
		same(t, "messages left", len(messages(t, s, alice())), left)
		same(t, "events left", len(events(t, s, park.AuditQuery{})), left)
	}
}

func testPrunedCursor(t *testing.T, s store.Store) {
	log := history(t, s)
	before := park.At(Epoch().Add(3 * time.Second))
	left := selected(log, park.AuditQuery{Since: before})
	pruned(t, s.PruneEvents, before, 100)
	for _, q := range []park.AuditQuery{{}, {PoolID: "gpu"}, {PoolID: "cpu"}, {Tenant: "acme"}} {
		q.Cursor = log[1].EventID
		same(t, "events", events(t, s, q), selected(left, q))
	}
}

func testPruneAside(t *testing.T, s store.Store) {
	f := NewFeed("gpu")
	done := f.End(f.Start(f.Submit(nil).TaskID).TaskID, park.Completed, `1`)
	m := f.Message(done)
	f.Post(store.OutboxEntry{Dest: "notify/gpu", Message: &m})
	commit(t, s, f.Next())
	late := hours(1000)

	same(t, "tasks", pruned(t, s.PruneTasks, late, 10), 1)
	same(t, "messages", len(messages(t, s, alice())), 1)
	same(t, "events", events(t, s, park.AuditQuery{}), f.Log)
	same(t, "messages", pruned(t, s.PruneMessages, late, 10), 1)
	same(t, "events", events(t, s, park.AuditQuery{}), f.Log)
	same(t, "events", pruned(t, s.PruneEvents, late, 10), len(f.Log))
	same(t, "undelivered parcels", len(outbox(t, s, "notify/gpu", late, 10)), 1)
	same(t, "row", load(t, s, "gpu"), store.Snapshot{Row: f.Row})

	f.Submit(nil)
	f.Log = nil
	commit(t, s, f.Next())
	same(t, "events", events(t, s, park.AuditQuery{}), f.Log)
}

func testPruneNothing(t *testing.T, s store.Store) {
	for _, p := range []prune{s.PruneTasks, s.PruneMessages, s.PruneEvents} {
		same(t, "pruned", pruned(t, p, hours(1000), 1), 0)
	}
}

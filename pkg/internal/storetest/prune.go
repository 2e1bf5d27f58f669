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

func pruneTests() storeTests {
	return storeTests{
		"ended tasks only":                        testPruneTasks,
		"a pruned task's id can be used again":    testPrunedID,
		"tasks in limited numbers":                testPruneTaskSteps,
		"messages by age, trimmed or not":         testPruneMessages,
		"messages of a step in parts":             testPruneMessageChunks,
		"a message's id is not used again":        testPrunedMessageID,
		"a pruned message can be delivered again": testPrunedMessage,
		"events by age":                           testPruneEvents,
		"events of a step in parts":               testPruneChunks,
		"late items by their own time":            testPruneLate,
		"a cursor of a pruned event":              testPrunedCursor,
		"nothing else is changed":                 testPruneAside,
		"an empty store":                          testPruneNothing,
	}
}

// pruneFunc is one of the methods that prune a store.
type pruneFunc func(context.Context, park.Time, int) (int, error)

// pruneAll calls p until nothing is left to prune, and returns how many items were removed.
func pruneAll(t testing.TB, p pruneFunc, before park.Time, limit int) (total int) {
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

// atHour returns the time n hours after the epoch.
func atHour(n int) park.Time { return park.At(Epoch().Add(time.Duration(n) * time.Hour)) }

// commitAged submits n tasks in each of two pools at the epoch. From then on a task ends each hour, but every third one
// keeps running.
func commitAged(t *testing.T, s store.Store, n int) map[string]*Model {
	models := map[string]*Model{"gpu": NewModel("gpu"), "cpu": NewModel("cpu")}
	for range n {
		for _, model := range models {
			model.Submit(nil)
		}
	}
	for _, model := range models {
		commit(t, s, model.Next())
	}
	for i := range n {
		for _, model := range models {
			switch i % 3 {
			case 0:
				model.End(model.Queued[0], park.Expired, "")
			case 1:
				model.End(model.Start(model.Queued[0]).TaskID, park.Completed, "")
			default:
				model.Start(model.Queued[0])
			}
			commit(t, s, model.Next())
			model.Advance(time.Hour)
		}
	}
	return models
}

// removeEnded removes the tasks that ended before a time from the model, and returns their number.
func (m *Model) removeEnded(before park.Time) (n int) {
	for id, r := range m.Tasks {
		if r.Status.Ended() && r.EndedAt.Before(before.Time) {
			delete(m.Tasks, id)
			n++
		}
	}
	return n
}

func testPruneTasks(t *testing.T, s store.Store) {
	models := commitAged(t, s, 20)
	for _, h := range []int{-1, 0, 1, 5, 5, 12, 1000, 1000} {
		want := models["gpu"].removeEnded(atHour(h)) + models["cpu"].removeEnded(atHour(h))
		equal(t, "pruned before "+strconv.Itoa(h)+" h", pruneAll(t, s.PruneTasks, atHour(h), 100), want)
		for pool, model := range models {
			found, _ := list(t, s, pool, park.TaskQuery{Limit: noLimit})
			equal(t, "tasks", ids(found), model.wantList(park.TaskQuery{}))
			equal(t, "live tasks", load(t, s, pool), store.Snapshot{Row: model.Row, Tasks: model.Live()})
		}
	}
	model := models["gpu"]
	for _, id := range append(model.Queued, model.Running...) {
		model.End(id, park.Dropped, "")
	}
	commit(t, s, model.Next())
	equal(t, "the rest, once it has ended", pruneAll(t, s.PruneTasks, atHour(1000), 3), len(model.Tasks))
}

func testPrunedID(t *testing.T, s store.Store) {
	model := NewModel("gpu")
	model.End(model.Submit(nil).TaskID, park.Dropped, "")
	commit(t, s, model.Next())
	equal(t, "pruned", pruneAll(t, s.PruneTasks, atHour(1), 10), 1)
	model.lastNumber = 0
	model.Advance(2 * time.Hour)
	model.Submit(func(r *ledger.Record) { r.Tenant = "globex" })
	commit(t, s, model.Next())
	equal(t, "records", records(t, s, "gpu", "gpu-1"), []ledger.Record{*model.Tasks["gpu-1"]})
	found, _ := list(t, s, "gpu", park.TaskQuery{Limit: 10})
	equal(t, "listed", ids(found), []string{"gpu-1"})
	equal(t, "pruned", pruneAll(t, s.PruneTasks, atHour(1000), 10), 0)
}

func testPruneTaskSteps(t *testing.T, s store.Store) {
	models := commitAged(t, s, 12)
	want := models["gpu"].removeEnded(atHour(9)) + models["cpu"].removeEnded(atHour(9))
	equal(t, "pruned one by one", pruneAll(t, s.PruneTasks, atHour(9), 1), want)
	for pool, model := range models {
		found, _ := list(t, s, pool, park.TaskQuery{Limit: noLimit})
		equal(t, "tasks", ids(found), model.wantList(park.TaskQuery{}))
	}
}

func testPruneMessages(t *testing.T, s store.Store) {
	var want []park.Message
	for i := range 20 {
		m := newMessage("gpu", i)
		m.CreatedAt = atHour(i)
		want = append(want, m)
		deliver(t, s, m)
	}
	found := messages(t, s, aliceBox())
	if err := s.Trim(t.Context(), "acme", "alice", found[2].ID); err != nil {
		t.Fatal(err)
	}
	equal(t, "pruned", pruneAll(t, s.PruneMessages, atHour(0), 4), 0)
	equal(t, "pruned", pruneAll(t, s.PruneMessages, atHour(2), 4), 2)
	deliver(t, s, want[2]) // its tombstone is younger
	equal(t, "messages", messages(t, s, aliceBox()), found[3:])
	equal(t, "pruned", pruneAll(t, s.PruneMessages, atHour(13), 4), 11)
	equal(t, "messages", messages(t, s, aliceBox()), found[13:])
	q := aliceBox()
	q.After = found[5].ID
	equal(t, "after a pruned one", messages(t, s, q), found[13:])
	equal(t, "pruned", pruneAll(t, s.PruneMessages, atHour(1000), 4), 7)
	equal(t, "messages", messages(t, s, aliceBox()), []park.Message(nil))
}

// testPruneMessageChunks prunes the messages of large steps in limited numbers, so that a call may stop within a step.
func testPruneMessageChunks(t *testing.T, s store.Store) {
	row := ledger.Pool{State: park.Active}
	left := 0
	for step, times := range [][]int{{0}, {1, 2}, {3}} {
		row.Rev++
		row.LastStep = "step-" + strconv.Itoa(step)
		st := &store.Step{PoolID: "gpu", ID: row.LastStep, Row: row}
		for i := range 200 {
			m := newMessage("gpu", 1000*step+i)
			m.CreatedAt = atHour(times[i/30%len(times)])
			st.Messages = append(st.Messages, m)
		}
		commit(t, s, st)
		left += len(st.Messages)
	}
	for h, young := range []int{600, 400, 290, 200} { // of the second step, in runs of thirty, ninety are of the later time
		for n := 0; left > young; n = (n + 1) % 3 {
			limit := []int{1, 77, 130}[n]
			removed, err := s.PruneMessages(t.Context(), atHour(h), limit)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "pruned", removed, min(limit, left-young))
			left -= removed
			equal(t, "left", len(messages(t, s, aliceBox())), left)
		}
		equal(t, "pruned", pruneAll(t, s.PruneMessages, atHour(h), 100), 0)
	}
	equal(t, "pruned", pruneAll(t, s.PruneMessages, atHour(4), 30), left)
	equal(t, "messages", messages(t, s, aliceBox()), []park.Message(nil))
}

func testPrunedMessageID(t *testing.T, s store.Store) {
	last := ""
	for i := range 5 {
		deliver(t, s, newMessage("gpu", 2*i), newMessage("gpu", 2*i+1))
		q := aliceBox()
		q.After = last
		found := messages(t, s, q)
		equal(t, "messages", withoutIDs(found), []park.Message{newMessage("gpu", 2*i), newMessage("gpu", 2*i+1)})
		last = found[1].ID
		equal(t, "pruned", pruneAll(t, s.PruneMessages, atHour(1000), 10), 2)
	}
}

// testPrunedMessage uses the id of a task again, long after the message of the first task was pruned.
func testPrunedMessage(t *testing.T, s store.Store) {
	deliver(t, s, newMessage("gpu", 1))
	found := messages(t, s, aliceBox())
	if err := s.Trim(t.Context(), "acme", "alice", found[0].ID); err != nil {
		t.Fatal(err)
	}
	equal(t, "pruned", pruneAll(t, s.PruneMessages, atHour(1), 10), 1)
	later := newMessage("gpu", 1)
	later.CreatedAt = atHour(30)
	deliver(t, s, later)
	equal(t, "messages", withoutIDs(messages(t, s, aliceBox())), []park.Message{later})
}

func testPruneEvents(t *testing.T, s store.Store) {
	log := commitHistory(t, s)
	for _, at := range []time.Duration{0, time.Second, 2 * time.Second, 2 * time.Second, 8 * time.Second, time.Hour} {
		before := park.At(Epoch().Add(at))
		left := matching(log, park.AuditQuery{Since: before})
		equal(t, "pruned", pruneAll(t, s.PruneEvents, before, 7), len(log)-len(left))
		log = left
		for _, q := range auditQueries() {
			equal(t, "events", events(t, s, q), matching(log, q))
		}
	}
}

// testPruneChunks reads what is left after each call, which may stop within a step.
func testPruneChunks(t *testing.T, s store.Store) {
	left := len(commitLargeSteps(t, s))
	for n := 0; left > 0; n = (n + 1) % 3 {
		limit := []int{1, 77, 130}[n]
		removed, err := s.PruneEvents(t.Context(), atHour(1), limit)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "pruned", removed, min(limit, left))
		left -= removed
		log := events(t, s, park.AuditQuery{})
		equal(t, "left", len(log), left)
		for _, q := range largeStepQueries() {
			equal(t, "events", events(t, s, q), matching(log, q))
		}
	}
	model := NewModel("new")
	model.Submit(nil)
	commit(t, s, model.Next())
	equal(t, "events", events(t, s, park.AuditQuery{}), model.Log)
}

// testPruneLate prunes messages and events that were not written in the order of their times.
func testPruneLate(t *testing.T, s store.Store) {
	times := []int{0, 7, 3, 9, 1, 8, 2}
	for i, h := range times {
		m := newMessage("gpu", i)
		m.CreatedAt = atHour(h)
		deliver(t, s, m)
		pool := "pool-" + strconv.Itoa(i)
		appendEvents(t, s, park.Event{PoolID: pool, Rev: 1, Action: park.ActSubmit, At: atHour(h), Tenant: "acme"})
	}
	for h := range 11 {
		left := 0
		for _, at := range times {
			if at >= h {
				left++
			}
		}
		pruneAll(t, s.PruneMessages, atHour(h), 2)
		pruneAll(t, s.PruneEvents, atHour(h), 2)
		equal(t, "messages left", len(messages(t, s, aliceBox())), left)
		equal(t, "events left", len(events(t, s, park.AuditQuery{})), left)
	}
}

func testPrunedCursor(t *testing.T, s store.Store) {
	log := commitHistory(t, s)
	before := park.At(Epoch().Add(3 * time.Second))
	left := matching(log, park.AuditQuery{Since: before})
	pruneAll(t, s.PruneEvents, before, 100)
	for _, q := range []park.AuditQuery{{}, {PoolID: "gpu"}, {PoolID: "cpu"}, {Tenant: "acme"}} {
		q.Cursor = log[1].EventID
		equal(t, "events", events(t, s, q), matching(left, q))
	}
}

func testPruneAside(t *testing.T, s store.Store) {
	model := NewModel("gpu")
	done := model.End(model.Start(model.Submit(nil).TaskID).TaskID, park.Completed, `1`)
	m := model.Message(done)
	model.AddOutboxEntry(store.OutboxEntry{Dest: "notify/gpu", Message: &m})
	commit(t, s, model.Next())
	late := atHour(1000)

	equal(t, "tasks", pruneAll(t, s.PruneTasks, late, 10), 1)
	equal(t, "messages", len(messages(t, s, aliceBox())), 1)
	equal(t, "events", events(t, s, park.AuditQuery{}), model.Log)
	equal(t, "messages", pruneAll(t, s.PruneMessages, late, 10), 1)
	equal(t, "events", events(t, s, park.AuditQuery{}), model.Log)
	equal(t, "events", pruneAll(t, s.PruneEvents, late, 10), len(model.Log))
	equal(t, "undelivered entries", len(outbox(t, s, "notify/gpu", late, 10)), 1)
	equal(t, "row", load(t, s, "gpu"), store.Snapshot{Row: model.Row})

	model.Submit(nil)
	model.Log = nil
	commit(t, s, model.Next())
	equal(t, "events", events(t, s, park.AuditQuery{}), model.Log)
}

func testPruneNothing(t *testing.T, s store.Store) {
	for _, p := range []pruneFunc{s.PruneTasks, s.PruneMessages, s.PruneEvents} {
		equal(t, "pruned", pruneAll(t, p, atHour(1000), 1), 0)
	}
}

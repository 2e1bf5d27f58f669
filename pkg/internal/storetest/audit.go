package storetest

import (
	"cmp"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// testPartsOfAStep appends a step of another store in two parts, with an event of another pool between them.
func testPartsOfAStep(t *testing.T, s store.Store) {
	event := func(pool string, ord int) park.Event {
		return park.Event{EventID: park.EventID(pool, 1, ord), PoolID: pool, Rev: 1, Ord: ord, At: park.At(Epoch()), Action: park.ActSubmit, TaskID: "t", Tenant: "acme", Units: 1}
	}
	for _, part := range [][]park.Event{{event("a", 0), event("a", 1)}, {event("b", 0)}, {event("a", 2), event("a", 3)}} {
		if err := s.Append(t.Context(), part); err != nil {
			t.Fatal(err)
		}
	}
	found, err := s.Events(t.Context(), park.AuditQuery{PoolID: "a", Cursor: park.EventID("b", 1, 0), Limit: 10})
	if err != nil || len(found) != 2 || found[0].Ord != 2 {
		t.Errorf("after the event between the parts come %+v, want the second part: %v", found, err)
	}
}

// testTaskOfTwoTenants uses one task id for two tenants in one step; the task of one tenant is rejected.
func testTaskOfTwoTenants(t *testing.T, s store.Store) {
	model := NewModel("gpu")
	model.Event(park.ActReject, &ledger.Record{Spec: ledger.Spec{PoolID: "gpu", TaskID: "x", Tenant: "other", Units: 1}}, "")
	model.Submit(func(r *ledger.Record) { r.TaskID, r.Tenant = "x", "acme" })
	commit(t, s, model.Next())
	for tenant, want := range map[string]park.Action{"acme": park.ActSubmit, "other": park.ActReject} {
		found, err := s.Events(t.Context(), park.AuditQuery{TaskID: "x", Tenant: tenant, Limit: 10})
		if err != nil || len(found) == 0 || found[0].Action != want || found[0].Tenant != tenant {
			t.Errorf("tenant %s reads %+v of its task: %v", tenant, found, err)
		}
	}
}

func auditTests() storeTests {
	return storeTests{
		"a step in parts":                          testPartsOfAStep,
		"a task of two tenants":                    testTaskOfTwoTenants,
		"every combination of filters":             testEvents,
		"since and until":                          testEventTimes,
		"page by page":                             testEventPages,
		"page by page while events are added":      testEventPagesGrow,
		"a cursor that does not match the filters": testForeignCursor,
		"a step of many events":                    testLargeStep,
		"a pool's events are in order of steps":    testEventOrder,
		"late events are found by their time":      testEventsLate,
		"a repeated event is not added":            testAppendAgain,
		"a repeated step in other batches":         testAppendPieces,
		"steps of many events":                     testLargeSteps,
		"the last event":                           testLastEvent,
		"an invalid cursor":                        testBadEvent,
	}
}

// appendEvents appends events to the log.
func appendEvents(t testing.TB, s store.Store, events ...park.Event) {
	t.Helper()
	if err := s.Append(t.Context(), events); err != nil {
		t.Fatalf("append events: %v", err)
	}
}

// commitHistory commits steps of three pools in turn, with several events at the same time, and returns the log in the
// order in which it was written.
func commitHistory(t *testing.T, s store.Store) (log []park.Event) {
	t.Helper()
	models := []*Model{NewModel("gpu"), NewModel("cpu"), NewModel("gpu-2")}
	for _, model := range models {
		model.idPrefix = "task-" // the same ids in all pools
	}
	for i := range 36 {
		model := models[i%3]
		tenant := []string{"acme", "globex", "initech"}[i%5%3]
		r := model.Submit(func(r *ledger.Record) { r.Tenant = tenant })
		switch i % 4 {
		case 0:
			model.Start(r.TaskID)
		case 1:
			model.End(model.Start(r.TaskID).TaskID, park.Completed, "")
		case 2:
			model.End(r.TaskID, park.Expired, "")
		}
		if i%7 == 0 {
			model.Event(park.ActUpdate, nil, `{"cancel":"task-1"}`)
		}
		before := len(model.Log)
		step := model.Next()
		if i%6 == 5 { // as a relay from another store does
			appendEvents(t, s, step.Events...)
			step.Events = nil
		}
		commit(t, s, step)
		log = append(log, model.Log[before:]...)
		if i%3 == 2 {
			for _, model := range models {
				model.Advance(time.Duration(i/12) * time.Second) // the first twelve have the same time
			}
		}
	}
	return log
}

// matches reports whether the filters of a query select an event.
func matches(q park.AuditQuery, e park.Event) bool {
	return (q.TaskID == "" || q.TaskID == e.TaskID) && (q.PoolID == "" || q.PoolID == e.PoolID) &&
		(q.Tenant == "" || q.Tenant == e.Tenant) && (q.Action == "" || q.Action == e.Action) &&
		(q.Since.IsZero() || !e.At.Before(q.Since.Time)) && (q.Until.IsZero() || e.At.Before(q.Until.Time))
}

// matching returns the events of a log that match the filters of a query, without regard to its limit and cursor.
func matching(log []park.Event, q park.AuditQuery) (found []park.Event) {
	for _, e := range log {
		if matches(q, e) {
			found = append(found, e)
		}
	}
	return found
}

// auditQueries returns all combinations of some filters. Some combinations match nothing.
func auditQueries() []park.AuditQuery {
	return combinations([]string{"", "task-2"}, []string{"", "gpu", "nowhere"}, []string{"", "acme"},
		[]park.Action{"", park.ActSubmit, park.ActUpdate})
}

// combinations returns a query for each combination of filters.
func combinations(tasks, pools, tenants []string, actions []park.Action) (queries []park.AuditQuery) {
	for _, task := range tasks {
		for _, pool := range pools {
			for _, tenant := range tenants {
				for _, action := range actions {
					queries = append(queries, park.AuditQuery{TaskID: task, PoolID: pool, Tenant: tenant, Action: action})
				}
			}
		}
	}
	return queries
}

func testEvents(t *testing.T, s store.Store) {
	log := commitHistory(t, s)
	for _, q := range combinations([]string{"", "task-2", "nobody"}, []string{"", "gpu", "gpu-2", "nowhere"},
		[]string{"", "acme", "initech", "nobody"}, []park.Action{"", park.ActSubmit, park.ActExpire, park.ActUpdate, park.ActRequeue}) {
		equal(t, "events", events(t, s, q), matching(log, q))
	}
}

func testEventTimes(t *testing.T, s store.Store) {
	log := commitHistory(t, s)
	end := log[len(log)-1].At
	for _, q := range auditQueries() {
		for _, since := range []time.Duration{0, time.Microsecond, 4 * time.Second} {
			q.Since = park.At(Epoch().Add(since))
			q.Until = park.Time{}
			equal(t, "since", events(t, s, q), matching(log, q))
			for _, until := range []time.Duration{0, time.Second, 7 * time.Second, end.Sub(Epoch())} {
				q.Until = park.At(Epoch().Add(until))
				equal(t, "since and until", events(t, s, q), matching(log, q))
			}
		}
	}
}

// readPages reads all pages of a query and returns their events. It calls between after each page.
func readPages(t *testing.T, s store.Store, q park.AuditQuery, between func()) (found []park.Event) {
	t.Helper()
	for {
		page := events(t, s, q)
		if len(page) > q.Limit {
			t.Fatalf("a page of %d events has %d", q.Limit, len(page))
		}
		found = append(found, page...)
		if len(page) < q.Limit {
			return found
		}
		q.Cursor = page[len(page)-1].EventID
		between()
	}
}

func testEventPages(t *testing.T, s store.Store) {
	log := commitHistory(t, s)
	for _, q := range auditQueries() {
		for _, q.Limit = range []int{1, 3, 50} {
			q.Since, q.Until = park.Time{}, park.Time{}
			equal(t, "events", readPages(t, s, q, func() {}), matching(log, q))
		}
		q.Limit, q.Since, q.Until = 2, park.At(Epoch().Add(time.Second)), park.At(Epoch().Add(5*time.Second))
		equal(t, "events between", readPages(t, s, q, func() {}), matching(log, q))
	}
}

func testEventPagesGrow(t *testing.T, s store.Store) {
	log := commitHistory(t, s)
	model := NewModel("new")
	for _, q := range []park.AuditQuery{{}, {Tenant: "acme"}, {Action: park.ActSubmit}, {PoolID: "new"}, {TaskID: "new-1"}} {
		q.Limit = 3
		rounds := 0
		found := readPages(t, s, q, func() {
			if rounds++; rounds < 5 {
				model.Submit(nil)
				step := model.Next()
				commit(t, s, step)
				log = append(log, step.Events...)
			}
		})
		equal(t, "events", found, matching(log, q))
	}
}

// testForeignCursor continues after events that do not match the filters, as a watcher does if it returns with other
// filters.
func testForeignCursor(t *testing.T, s store.Store) {
	log := commitHistory(t, s)
	for i, e := range log {
		for _, q := range []park.AuditQuery{
			{},
			{Tenant: "acme"},
			{Action: park.ActStart},
			{TaskID: "task-3"},
			{PoolID: "cpu"},
			{PoolID: "cpu", Tenant: "globex"},
			{PoolID: "gpu", Since: park.At(Epoch().Add(time.Second))},
		} {
			q.Cursor = e.EventID
			equal(t, "events after "+e.EventID, events(t, s, q), matching(log[i+1:], q))
		}
	}
}

func testEventOrder(t *testing.T, s store.Store) {
	commitHistory(t, s)
	for _, pool := range []string{"gpu", "cpu", "gpu-2"} {
		found := events(t, s, park.AuditQuery{PoolID: pool})
		if !slices.IsSortedFunc(found, func(a, b park.Event) int { return cmp.Or(cmp.Compare(a.Rev, b.Rev), cmp.Compare(a.Ord, b.Ord)) }) {
			t.Fatalf("events of pool %s are out of order", pool)
		}
		for i, e := range found {
			if i > 0 && e.Rev > found[i-1].Rev+1 {
				t.Fatalf("pool %s: rev %d follows %d", pool, e.Rev, found[i-1].Rev)
			}
		}
	}
}

// testEventsLate appends the events of a pool hours after those of other pools, as a relay does after an interruption.
func testEventsLate(t *testing.T, s store.Store) {
	var log []park.Event
	for i, hours := range []int{0, 3, 9, 1, 1, 12, 5, 12, 0, 13} {
		pool := "pool-" + strconv.Itoa(i)
		for ord := range 3 {
			log = append(log, park.Event{
				EventID: park.EventID(pool, 1, ord), At: park.At(Epoch().Add(time.Duration(hours) * time.Hour)), Rev: 1, Ord: ord,
				Action: park.ActSubmit, TaskID: "task", PoolID: pool, Tenant: "acme",
			})
		}
		appendEvents(t, s, log[len(log)-3:]...)
	}
	for since := range 14 {
		for until := since; until < 15; until += 3 {
			q := park.AuditQuery{Since: park.At(Epoch().Add(time.Duration(since) * time.Hour)), Until: park.At(Epoch().Add(time.Duration(until) * time.Hour))}
			for _, q.TaskID = range []string{"", "task"} {
				for _, q.PoolID = range []string{"", "pool-4"} {
					q.Limit = 2
					equal(t, "events", readPages(t, s, q, func() {}), matching(log, q))
				}
			}
		}
	}
}

func testAppendAgain(t *testing.T, s store.Store) {
	log := commitHistory(t, s)
	appendEvents(t, s)
	appendEvents(t, s, log...)
	appendEvents(t, s, log[7], log[3], log[7])
	equal(t, "events", events(t, s, park.AuditQuery{}), log)

	fresh := park.Event{EventID: "other:1:0", PoolID: "other", Rev: 1, At: log[0].At, Action: park.ActSubmit, TaskID: "x", Tenant: "acme"}
	appendEvents(t, s, log[2], fresh, log[4], fresh)
	equal(t, "events", events(t, s, park.AuditQuery{}), append(log, fresh))
	equal(t, "the pool's", events(t, s, park.AuditQuery{PoolID: "other"}), []park.Event{fresh})
}

// testAppendPieces has a relay repeat events in other batches, some of them twice and some in the wrong order.
func testAppendPieces(t *testing.T, s store.Store) {
	model := NewModel("gpu")
	for range 300 {
		model.Submit(nil)
	}
	all := model.Next().Events
	appendEvents(t, s, all[:100]...)
	appendEvents(t, s, all[50:250]...)
	appendEvents(t, s, slices.Concat(all[240:251], all[249:252], all[250:260], all[0:1])...)
	appendEvents(t, s, all[265:270]...)
	appendEvents(t, s, all[255:400]...)
	appendEvents(t, s, all...)
	want := slices.Concat(all[:260], all[265:270], all[260:265], all[270:])
	equal(t, "events", events(t, s, park.AuditQuery{}), want)
	for _, q := range []park.AuditQuery{{Tenant: "acme"}, {TaskID: "gpu-132"}, {TaskID: "gpu-131"}, {Action: park.ActEnqueue}} {
		equal(t, "events", events(t, s, q), matching(want, q))
	}
}

func testLastEvent(t *testing.T, s store.Store) {
	equal(t, "of an empty log", must(s.LastEvent(t.Context()))(t), "")
	log := commitHistory(t, s)
	last := must(s.LastEvent(t.Context()))(t)
	equal(t, "last event", last, log[len(log)-1].EventID)
	equal(t, "after it", events(t, s, park.AuditQuery{Cursor: last}), []park.Event(nil))
	appendEvents(t, s, log[0])
	equal(t, "after one that came again", must(s.LastEvent(t.Context()))(t), last)
}

func testBadEvent(t *testing.T, s store.Store) {
	commitHistory(t, s)
	for _, cursor := range []string{"nonsense", "gpu", "gpu:1", "gpu:x:1", ":1:1", "gpu:1:99999999999999999999", "gpu:1:2147483648", "gpu:-1:0", "gpu:1:-1", "gpu:9223372036854775808:0"} {
		_, err := s.Events(t.Context(), park.AuditQuery{Limit: 1, Cursor: cursor})
		wantInvalid(t, "cursor "+cursor, err)
	}
}

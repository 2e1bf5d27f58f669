package storetest

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// testPartsOfAStep has another store's step come in two parts, with something of another pool between them.
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

// testTaskOfTwoTenants has a task that two tenants named alike, one of which was rejected, in one step.
func testTaskOfTwoTenants(t *testing.T, s store.Store) {
	f := NewFeed("gpu")
	f.Event(park.ActReject, &ledger.Record{Spec: ledger.Spec{PoolID: "gpu", TaskID: "x", Tenant: "other", Units: 1}}, "")
	f.Submit(func(r *ledger.Record) { r.TaskID, r.Tenant = "x", "acme" })
	commit(t, s, f.Next())
	for tenant, want := range map[string]park.Action{"acme": park.ActSubmit, "other": park.ActReject} {
		found, err := s.Events(t.Context(), park.AuditQuery{TaskID: "x", Tenant: tenant, Limit: 10})
		if err != nil || len(found) == 0 || found[0].Action != want || found[0].Tenant != tenant {
			t.Errorf("tenant %s reads %+v of its task: %v", tenant, found, err)
		}
	}
}

func auditTests() group {
	return group{
		"a step that came in parts":              testPartsOfAStep,
		"a task of two tenants":                  testTaskOfTwoTenants,
		"every combination of filters":           testEvents,
		"since and until":                        testEventTimes,
		"page by page":                           testEventPages,
		"page by page while more come":           testEventPagesGrow,
		"a cursor that the filters leave out":    testForeignCursor,
		"a step of many events":                  testLargeStep,
		"a pool's events are in order of steps":  testEventOrder,
		"late events are found by their time":    testEventsLate,
		"an event that comes again is not added": testAppendAgain,
		"a step again in other pieces":           testAppendPieces,
		"steps of many events":                   testLargeSteps,
		"the last event":                         testLastEvent,
		"a cursor of another kind":               testBadEvent,
	}
}

func appendEvents(t testing.TB, s store.Store, events ...park.Event) {
	t.Helper()
	if err := s.Append(t.Context(), events); err != nil {
		t.Fatalf("append events: %v", err)
	}
}

// history commits the lives of tasks of three pools by turns, several events at the same time, and returns the
// log in the order in which it was written.
func history(t *testing.T, s store.Store) (log []park.Event) {
	t.Helper()
	feeds := []*Feed{NewFeed("gpu"), NewFeed("cpu"), NewFeed("gpu-2")}
	for _, f := range feeds {
		f.prefix = "task-" // the same ids in all pools
	}
	for i := range 36 {
		f := feeds[i%3]
		tenant := []string{"acme", "globex", "initech"}[i%5%3]
		r := f.Submit(func(r *ledger.Record) { r.Tenant = tenant })
		switch i % 4 {
		case 0:
			f.Start(r.TaskID)
		case 1:
			f.End(f.Start(r.TaskID).TaskID, park.Completed, "")
		case 2:
			f.End(r.TaskID, park.Expired, "")
		}
		if i%7 == 0 {
			f.Event(park.ActUpdate, nil, `{"cancel":"task-1"}`)
		}
		before := len(f.Log)
		step := f.Next()
		if i%6 == 5 { // by the relay of another queue
			appendEvents(t, s, step.Events...)
			step.Events = nil
		}
		commit(t, s, step)
		log = append(log, f.Log[before:]...)
		if i%3 == 2 {
			for _, f := range feeds {
				f.Pass(time.Duration(i/12) * time.Second) // the first dozen all at one time
			}
		}
	}
	return log
}

func wanted(q park.AuditQuery, e park.Event) bool {
	return (q.TaskID == "" || q.TaskID == e.TaskID) && (q.PoolID == "" || q.PoolID == e.PoolID) &&
		(q.Tenant == "" || q.Tenant == e.Tenant) && (q.Action == "" || q.Action == e.Action) &&
		(q.Since.IsZero() || !e.At.Before(q.Since.Time)) && (q.Until.IsZero() || e.At.Before(q.Until.Time))
}

// selected returns the events of a log that a query should find, without regard to its limit and cursor.
func selected(log []park.Event, q park.AuditQuery) (found []park.Event) {
	for _, e := range log {
		if wanted(q, e) {
			found = append(found, e)
		}
	}
	return found
}

// auditQueries are all combinations of some filters, some of which select nothing.
func auditQueries() []park.AuditQuery {
	return combined([]string{"", "task-2"}, []string{"", "gpu", "nowhere"}, []string{"", "acme"},
		[]park.Action{"", park.ActSubmit, park.ActUpdate})
}

func combined(tasks, pools, tenants []string, actions []park.Action) (all []park.AuditQuery) {
	for _, task := range tasks {
		for _, pool := range pools {
			for _, tenant := range tenants {
				for _, action := range actions {
					all = append(all, park.AuditQuery{TaskID: task, PoolID: pool, Tenant: tenant, Action: action})
				}
			}
		}
	}
	return all
}

func testEvents(t *testing.T, s store.Store) {
	log := history(t, s)
	for _, q := range combined([]string{"", "task-2", "nobody"}, []string{"", "gpu", "gpu-2", "nowhere"},
		[]string{"", "acme", "initech", "nobody"}, []park.Action{"", park.ActSubmit, park.ActExpire, park.ActUpdate, park.ActRequeue}) {
		same(t, "events", events(t, s, q), selected(log, q))
	}
}

func testEventTimes(t *testing.T, s store.Store) {
	log := history(t, s)
	end := log[len(log)-1].At
	for _, q := range auditQueries() {
		for _, since := range []time.Duration{0, time.Microsecond, 4 * time.Second} {
			q.Since = park.At(Epoch().Add(since))
			q.Until = park.Time{}
			same(t, "since", events(t, s, q), selected(log, q))
			for _, until := range []time.Duration{0, time.Second, 7 * time.Second, end.Sub(Epoch())} {
				q.Until = park.At(Epoch().Add(until))
				same(t, "since and until", events(t, s, q), selected(log, q))
			}
		}
	}
}

// pages reads a query page by page and returns what it found; between is called after each page.
func pages(t *testing.T, s store.Store, q park.AuditQuery, between func()) (found []park.Event) {
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
	log := history(t, s)
	for _, q := range auditQueries() {
		for _, q.Limit = range []int{1, 3, 50} {
			q.Since, q.Until = park.Time{}, park.Time{}
			same(t, "events", pages(t, s, q, func() {}), selected(log, q))
		}
		q.Limit, q.Since, q.Until = 2, park.At(Epoch().Add(time.Second)), park.At(Epoch().Add(5*time.Second))
		same(t, "events between", pages(t, s, q, func() {}), selected(log, q))
	}
}

func testEventPagesGrow(t *testing.T, s store.Store) {
	log := history(t, s)
	f := NewFeed("new")
	for _, q := range []park.AuditQuery{{}, {Tenant: "acme"}, {Action: park.ActSubmit}, {PoolID: "new"}, {TaskID: "new-1"}} {
		q.Limit = 3
		rounds := 0
		found := pages(t, s, q, func() {
			if rounds++; rounds < 5 {
				f.Submit(nil)
				step := f.Next()
				commit(t, s, step)
				log = append(log, step.Events...)
			}
		})
		same(t, "events", found, selected(log, q))
	}
}

// testForeignCursor reads on behind events that are not of the kind that is asked for, as a watcher does that
// has come back with another filter.
func testForeignCursor(t *testing.T, s store.Store) {
	log := history(t, s)
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
			same(t, "events after "+e.EventID, events(t, s, q), selected(log[i+1:], q))
		}
	}
}

// largeSteps commits steps of a few hundred events of many tasks of some tenants, who take turns in several ways.
func largeSteps(t *testing.T, s store.Store) (log []park.Event) {
	t.Helper()
	f := NewFeed("gpu")
	for i, n := range []int{40, 90, 1} {
		var ids []string
		for k := range n {
			ids = append(ids, f.Submit(func(r *ledger.Record) { r.Tenant = []string{"acme", "globex", "initech"}[(k/(1+30*i))%3] }).TaskID)
		}
		for _, id := range ids {
			f.Start(id)
		}
		f.Event(park.ActUpdate, nil, `{}`)
		for _, id := range ids[:n/2] {
			f.End(id, park.Completed, "")
		}
		step := f.Next()
		commit(t, s, step)
		log = append(log, step.Events...)
		f.Pass(time.Hour)
	}
	return log
}

// testLargeStep reads steps of many events from every place in them, and while they are forgotten bit by bit.
func testLargeStep(t *testing.T, s store.Store) {
	log := largeSteps(t, s)
	queries := combined([]string{"", "gpu-3", "gpu-90"}, []string{"", "gpu"}, []string{"", "acme", "initech"},
		[]park.Action{"", park.ActStart, park.ActUpdate})
	for _, q := range queries {
		q.Limit = 7
		same(t, "events", pages(t, s, q, func() {}), selected(log, q))
		for i := 0; i < len(log); i += 29 {
			q.Cursor, q.Limit = log[i].EventID, all
			same(t, "events after "+log[i].EventID, events(t, s, q), selected(log[i+1:], q))
		}
	}
	for left := len(log); left > 0; {
		n := got(s.PruneEvents(t.Context(), hours(100), 97))(t)
		left -= n
		rest := events(t, s, park.AuditQuery{})
		same(t, "events that are left", len(rest), left)
		for _, q := range queries {
			same(t, "events", events(t, s, q), selected(rest, q))
		}
		if n == 0 {
			t.Fatalf("%d events are never forgotten", left)
		}
	}
}

func testEventOrder(t *testing.T, s store.Store) {
	history(t, s)
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

// testEventsLate has the events of a pool whose relay was cut off come hours after those of others.
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
					same(t, "events", pages(t, s, q, func() {}), selected(log, q))
				}
			}
		}
	}
}

func testAppendAgain(t *testing.T, s store.Store) {
	log := history(t, s)
	appendEvents(t, s)
	appendEvents(t, s, log...)
	appendEvents(t, s, log[7], log[3], log[7])
	same(t, "events", events(t, s, park.AuditQuery{}), log)

	fresh := park.Event{EventID: "other:1:0", PoolID: "other", Rev: 1, At: log[0].At, Action: park.ActSubmit, TaskID: "x", Tenant: "acme"}
	appendEvents(t, s, log[2], fresh, log[4], fresh)
	same(t, "events", events(t, s, park.AuditQuery{}), append(log, fresh))
	same(t, "the pool's", events(t, s, park.AuditQuery{PoolID: "other"}), []park.Event{fresh})
}

// crowded commits steps of many events, of two pools by turns, and returns the log.
func crowded(t *testing.T, s store.Store) (log []park.Event) {
	t.Helper()
	feeds := []*Feed{NewFeed("gpu"), NewFeed("cpu")}
	for i, n := range []int{150, 1, 64, 200} {
		f := feeds[i%2]
		f.Pass(time.Second)
		for k := range n {
			f.Submit(func(r *ledger.Record) {
				if r.Tenant = "acme"; k%40 == 7 {
					r.Tenant = "globex"
				}
			})
		}
		for _, id := range slices.Clone(f.Queued[:len(f.Queued)/2]) {
			f.End(f.Start(id).TaskID, park.Completed, "")
		}
		f.End(f.Queued[0], park.Expired, "")
		before := len(f.Log)
		commit(t, s, f.Next())
		log = append(log, f.Log[before:]...)
	}
	return log
}

// crowdedQueries ask for the many and for the few among the events of crowded steps.
func crowdedQueries() []park.AuditQuery {
	return []park.AuditQuery{
		{},
		{PoolID: "gpu"},
		{PoolID: "cpu"},
		{Tenant: "acme"},
		{Tenant: "globex"},
		{Tenant: "globex", PoolID: "gpu"},
		{TaskID: "gpu-1"},
		{TaskID: "gpu-140"},
		{TaskID: "gpu-200"},
		{TaskID: "cpu-3"},
		{TaskID: "cpu-3", PoolID: "gpu"},
		{Action: park.ActExpire},
		{Action: park.ActStart, Tenant: "globex"},
		{Action: park.ActComplete, PoolID: "cpu"},
		{PoolID: "gpu", Since: park.At(Epoch().Add(2 * time.Second))},
		{Tenant: "acme", Until: park.At(Epoch().Add(2 * time.Second))},
	}
}

func testLargeSteps(t *testing.T, s store.Store) {
	log := crowded(t, s)
	for _, q := range crowdedQueries() {
		same(t, "events", events(t, s, q), selected(log, q))
		q.Limit = 97
		for _, never := range []string{park.EventID("gpu", 1, 5000), park.EventID("gpu", 1<<40, 0), park.EventID("none", 1, 0)} {
			q.Cursor = never
			if found, err := s.Events(t.Context(), q); !errors.Is(err, store.ErrNoEvent) {
				t.Fatalf("after %s, which never was: %d events, %v", never, len(found), err)
			}
		}
		q.Limit, q.Cursor = 97, ""
		same(t, "pages", pages(t, s, q, func() {}), selected(log, q))
		for i := 0; i < len(log); i += 31 {
			q.Cursor, q.Limit = log[i].EventID, 5
			want := selected(log[i+1:], q)
			same(t, "events after "+q.Cursor, events(t, s, q), want[:min(5, len(want))])
		}
	}
}

// testAppendPieces has a relay repeat what was taken, cut in other places, some of it twice and some backwards.
func testAppendPieces(t *testing.T, s store.Store) {
	f := NewFeed("gpu")
	for range 300 {
		f.Submit(nil)
	}
	all := f.Next().Events
	appendEvents(t, s, all[:100]...)
	appendEvents(t, s, all[50:250]...)
	appendEvents(t, s, slices.Concat(all[240:251], all[249:252], all[250:260], all[0:1])...)
	appendEvents(t, s, all[265:270]...)
	appendEvents(t, s, all[255:400]...)
	appendEvents(t, s, all...)
	want := slices.Concat(all[:260], all[265:270], all[260:265], all[270:])
	same(t, "events", events(t, s, park.AuditQuery{}), want)
	for _, q := range []park.AuditQuery{{Tenant: "acme"}, {TaskID: "gpu-132"}, {TaskID: "gpu-131"}, {Action: park.ActEnqueue}} {
		same(t, "events", events(t, s, q), selected(want, q))
	}
}

func testLastEvent(t *testing.T, s store.Store) {
	same(t, "of an empty log", got(s.LastEvent(t.Context()))(t), "")
	log := history(t, s)
	last := got(s.LastEvent(t.Context()))(t)
	same(t, "last event", last, log[len(log)-1].EventID)
	same(t, "after it", events(t, s, park.AuditQuery{Cursor: last}), []park.Event(nil))
	appendEvents(t, s, log[0])
	same(t, "after one that came again", got(s.LastEvent(t.Context()))(t), last)
}

func testBadEvent(t *testing.T, s store.Store) {
	history(t, s)
	for _, cursor := range []string{"nonsense", "gpu", "gpu:1", "gpu:x:1", ":1:1", "gpu:1:99999999999999999999", "gpu:1:2147483648", "gpu:-1:0", "gpu:1:-1", "gpu:9223372036854775808:0"} {
		_, err := s.Events(t.Context(), park.AuditQuery{Limit: 1, Cursor: cursor})
		wantInvalid(t, "cursor "+cursor, err)
	}
}

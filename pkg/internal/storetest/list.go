package storetest

import (
	"slices"
	"strconv"
	"testing"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

func listTests() storeTests {
	return storeTests{
		"newest first, by status and tenant": testList,
		"page by page":                       testPages,
		"while tasks are added":              testPagesGrow,
		"while tasks change":                 testPagesChange,
		"the fields of a listed task":        testListed,
		"an invalid cursor":                  testBadCursor,
	}
}

// populate commits tasks of every status for two tenants in a pool, and tasks with some of the same ids in another
// pool.
func populate(t *testing.T, s store.Store) *Model {
	model, other := NewModel("gpu"), NewModel("cpu")
	other.idPrefix = model.idPrefix
	for i := range 60 {
		r := model.Submit(func(r *ledger.Record) { r.Tenant = []string{"acme", "globex", "acme"}[i%3] })
		switch i % 7 {
		case 1:
			model.Start(r.TaskID)
		case 2:
			model.End(model.Start(r.TaskID).TaskID, park.Completed, `1`)
		case 3:
			model.End(model.Start(r.TaskID).TaskID, park.Failed, "")
		case 4:
			model.End(r.TaskID, park.Expired, "")
		case 5:
			model.End(r.TaskID, park.Dropped, "")
		}
		other.Submit(nil)
		if i%4 == 0 {
			commit(t, s, model.Next())
			commit(t, s, other.Next())
		}
	}
	commit(t, s, model.Next())
	return model
}

// wantList returns the ids that a store should list, newest first.
func (m *Model) wantList(q park.TaskQuery) []string {
	var ids []string
	for n := m.lastNumber; n > 0; n-- {
		r := m.Tasks[m.idPrefix+strconv.Itoa(n)]
		if r != nil && (q.Status == "" || r.Status == q.Status) && (q.Tenant == "" || r.Tenant == q.Tenant) {
			ids = append(ids, r.TaskID)
		}
	}
	return ids
}

// taskQueries returns all combinations of some filters. Some combinations match nothing.
func taskQueries() (all []park.TaskQuery) {
	for _, status := range append(park.Statuses(), "") {
		for _, tenant := range []string{"", "acme", "globex", "nobody"} {
			all = append(all, park.TaskQuery{Status: status, Tenant: tenant})
		}
	}
	return all
}

// ids returns the ids of records.
func ids(records []ledger.Record) []string {
	var all []string
	for i := range records {
		all = append(all, records[i].TaskID)
	}
	return all
}

func testList(t *testing.T, s store.Store) {
	model := populate(t, s)
	for _, q := range taskQueries() {
		q.Limit = noLimit
		found, next := list(t, s, "gpu", q)
		equal(t, "tasks", ids(found), model.wantList(q))
		equal(t, "cursor", next, "")
	}
}

func testPages(t *testing.T, s store.Store) {
	model := populate(t, s)
	for _, q := range taskQueries() {
		want := model.wantList(q)
		for _, q.Limit = range []int{1, 2, 7, max(1, len(want)-1), max(1, len(want)), len(want) + 1} {
			got, pages := []string(nil), 0
			q.Cursor = ""
			for more := true; more; more = q.Cursor != "" {
				var found []ledger.Record
				found, q.Cursor = list(t, s, "gpu", q)
				got = append(got, ids(found)...)
				if pages++; len(found) > q.Limit || (q.Cursor != "" && len(found) < q.Limit) {
					t.Fatalf("a page of %d tasks has %d, next %q", q.Limit, len(found), q.Cursor)
				}
			}
			equal(t, "tasks", got, want)
			if full := max(1, (len(want)+q.Limit-1)/q.Limit); pages != full {
				t.Fatalf("got %d tasks in %d pages of %d, want %d pages", len(want), pages, q.Limit, full)
			}
		}
	}
}

func testPagesGrow(t *testing.T, s store.Store) {
	model := populate(t, s)
	for _, q := range []park.TaskQuery{{Limit: 4}, {Limit: 4, Tenant: "acme"}, {Limit: 2, Status: park.Queued}} {
		want, got := model.wantList(q), []string(nil)
		for more := true; more; more = q.Cursor != "" {
			var found []ledger.Record
			found, q.Cursor = list(t, s, "gpu", q)
			got = append(got, ids(found)...)
			model.Submit(nil)
			commit(t, s, model.Next())
		}
		equal(t, "tasks", got, want)
	}
}

// testPagesChange reads the pages of queued tasks while tasks start. A task that is still queued when its page is read
// must come once.
func testPagesChange(t *testing.T, s store.Store) {
	model := NewModel("gpu")
	for range 30 {
		model.Submit(nil)
	}
	commit(t, s, model.Next())
	q, seen := park.TaskQuery{Status: park.Queued, Limit: 3}, []string(nil)
	for more := true; more; more = q.Cursor != "" {
		var found []ledger.Record
		found, q.Cursor = list(t, s, "gpu", q)
		seen = append(seen, ids(found)...)
		model.Start(model.Queued[0])
		model.Start(model.Queued[len(model.Queued)-1])
		commit(t, s, model.Next())
	}
	for i, id := range seen {
		if slices.Contains(seen[:i], id) {
			t.Fatalf("task %s came twice: %v", id, seen)
		}
	}
	for _, id := range model.Queued {
		if !slices.Contains(seen, id) {
			t.Fatalf("task %s, queued all the time, did not come: %v", id, seen)
		}
	}
}

func testListed(t *testing.T, s store.Store) {
	want := fullRecord(t, "gpu", "x", park.Failed)
	row := ledger.Pool{Rev: 1, State: park.Active, LastStep: "step"}
	commit(t, s, &store.Step{PoolID: "gpu", ID: "step", Row: row, Inserts: []ledger.Record{want}})
	found, _ := list(t, s, "gpu", park.TaskQuery{Limit: 1})
	want.Payload = nil
	equal(t, "task", found, []ledger.Record{want})
}

// badCursors returns texts that are no cursors of lists.
func badCursors() []string {
	return []string{"nonsense", "-1", "1; DROP TABLE pl_pools", "gpu:1:1", " ", "0", "9223372036854775808"}
}

func testBadCursor(t *testing.T, s store.Store) {
	populate(t, s)
	for _, cursor := range badCursors() {
		_, _, err := s.List(t.Context(), "gpu", park.TaskQuery{Limit: 1, Cursor: cursor})
		wantInvalid(t, "cursor "+cursor, err)
	}
}

package storetest

import (
	"slices"
	"strconv"
	"testing"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

func listTests() group {
	return group{
		"newest first, by status and tenant": testList,
		"page by page":                       testPages,
		"while tasks are added":              testPagesGrow,
		"while tasks change":                 testPagesChange,
		"what a task in a list holds":        testListed,
		"a cursor of another kind":           testBadCursor,
	}
}

// populated commits tasks of every status for two tenants in a pool, and some of the same ids in another one.
func populated(t *testing.T, s store.Store) *Feed {
	f, other := NewFeed("gpu"), NewFeed("cpu")
	other.prefix = f.prefix
	for i := range 60 {
		r := f.Submit(func(r *ledger.Record) { r.Tenant = []string{"acme", "globex", "acme"}[i%3] })
		switch i % 7 {
		case 1:
			f.Start(r.TaskID)
		case 2:
			f.End(f.Start(r.TaskID).TaskID, park.Completed, `1`)
		case 3:
			f.End(f.Start(r.TaskID).TaskID, park.Failed, "")
		case 4:
			f.End(r.TaskID, park.Expired, "")
		case 5:
			f.End(r.TaskID, park.Dropped, "")
		}
		other.Submit(nil)
		if i%4 == 0 {
			commit(t, s, f.Next())
			commit(t, s, other.Next())
		}
	}
	commit(t, s, f.Next())
	return f
}

// listed returns what the store should list, newest first.
func (f *Feed) listed(q park.TaskQuery) []string {
	var ids []string
	for n := f.number; n > 0; n-- {
		r := f.Tasks[f.prefix+strconv.Itoa(n)]
		if r != nil && (q.Status == "" || r.Status == q.Status) && (q.Tenant == "" || r.Tenant == q.Tenant) {
			ids = append(ids, r.TaskID)
		}
	}
	return ids
}

// taskQueries are all combinations of filters, some of which select nothing.
func taskQueries() (all []park.TaskQuery) {
	for _, status := range append(park.Statuses(), "") {
		for _, tenant := range []string{"", "acme", "globex", "nobody"} {
			all = append(all, park.TaskQuery{Status: status, Tenant: tenant})
		}
	}
	return all
}

func ids(records []ledger.Record) []string {
	var all []string
	for i := range records {
		all = append(all, records[i].TaskID)
	}
	return all
}

func testList(t *testing.T, s store.Store) {
	f := populated(t, s)
	for _, q := range taskQueries() {
		q.Limit = all
		found, next := list(t, s, "gpu", q)
		same(t, "tasks", ids(found), f.listed(q))
		same(t, "cursor", next, "")
	}
}

func testPages(t *testing.T, s store.Store) {
	f := populated(t, s)
	for _, q := range taskQueries() {
		want := f.listed(q)
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
			same(t, "tasks", got, want)
			if full := max(1, (len(want)+q.Limit-1)/q.Limit); pages != full {
				t.Fatalf("got %d tasks in %d pages of %d, want %d pages", len(want), pages, q.Limit, full)
			}
		}
	}
}

func testPagesGrow(t *testing.T, s store.Store) {
	f := populated(t, s)
	for _, q := range []park.TaskQuery{{Limit: 4}, {Limit: 4, Tenant: "acme"}, {Limit: 2, Status: park.Queued}} {
		want, got := f.listed(q), []string(nil)
		for more := true; more; more = q.Cursor != "" {
			var found []ledger.Record
			found, q.Cursor = list(t, s, "gpu", q)
			got = append(got, ids(found)...)
			f.Submit(nil)
			commit(t, s, f.Next())
		}
		same(t, "tasks", got, want)
	}
}

// testPagesChange pages through the queued tasks while they start: whoever still was queued when its page came
// is seen once.
func testPagesChange(t *testing.T, s store.Store) {
	f := NewFeed("gpu")
	for range 30 {
		f.Submit(nil)
	}
	commit(t, s, f.Next())
	q, seen := park.TaskQuery{Status: park.Queued, Limit: 3}, []string(nil)
	for more := true; more; more = q.Cursor != "" {
		var found []ledger.Record
		found, q.Cursor = list(t, s, "gpu", q)
		seen = append(seen, ids(found)...)
		f.Start(f.Queued[0])
		f.Start(f.Queued[len(f.Queued)-1])
		commit(t, s, f.Next())
	}
	for i, id := range seen {
		if slices.Contains(seen[:i], id) {
			t.Fatalf("task %s came twice: %v", id, seen)
		}
	}
	for _, id := range f.Queued {
		if !slices.Contains(seen, id) {
			t.Fatalf("task %s, queued all the time, did not come: %v", id, seen)
		}
	}
}

func testListed(t *testing.T, s store.Store) {
	want := whole(t, "gpu", "x", park.Failed)
	row := ledger.Pool{Rev: 1, State: park.Active, LastStep: "step"}
	commit(t, s, &store.Step{PoolID: "gpu", ID: "step", Row: row, Inserts: []ledger.Record{want}})
	found, _ := list(t, s, "gpu", park.TaskQuery{Limit: 1})
	want.Payload = nil
	same(t, "task", found, []ledger.Record{want})
}

func badCursors() []string {
	return []string{"nonsense", "-1", "1; DROP TABLE pl_pools", "gpu:1:1", " ", "0", "9223372036854775808"}
}

func testBadCursor(t *testing.T, s store.Store) {
	populated(t, s)
	for _, cursor := range badCursors() {
		_, _, err := s.List(t.Context(), "gpu", park.TaskQuery{Limit: 1, Cursor: cursor})
		wantInvalid(t, "cursor "+cursor, err)
	}
}

package storetest

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// commitManyTenants commits steps with hundreds of events of many tasks, whose tenants alternate in several patterns.
func commitManyTenants(t *testing.T, s store.Store) (log []park.Event) {
	t.Helper()
	model := NewModel("gpu")
	for i, n := range []int{40, 90, 1} {
		var ids []string
		for k := range n {
			ids = append(ids, model.Submit(func(r *ledger.Record) { r.Tenant = []string{"acme", "globex", "initech"}[(k/(1+30*i))%3] }).TaskID)
		}
		for _, id := range ids {
			model.Start(id)
		}
		model.Event(park.ActUpdate, nil, `{}`)
		for _, id := range ids[:n/2] {
			model.End(id, park.Completed, "")
		}
		step := model.Next()
		commit(t, s, step)
		log = append(log, step.Events...)
		model.Advance(time.Hour)
	}
	return log
}

// testLargeStep reads large steps from many positions within them, also while they are pruned in parts.
func testLargeStep(t *testing.T, s store.Store) {
	log := commitManyTenants(t, s)
	queries := combinations([]string{"", "gpu-3", "gpu-90"}, []string{"", "gpu"}, []string{"", "acme", "initech"},
		[]park.Action{"", park.ActStart, park.ActUpdate})
	for _, q := range queries {
		q.Limit = 7
		equal(t, "events", readPages(t, s, q, func() {}), matching(log, q))
		for i := 0; i < len(log); i += 29 {
			q.Cursor, q.Limit = log[i].EventID, noLimit
			equal(t, "events after "+log[i].EventID, events(t, s, q), matching(log[i+1:], q))
		}
	}
	for left := len(log); left > 0; {
		n := must(s.PruneEvents(t.Context(), atHour(100), 97))(t)
		left -= n
		rest := events(t, s, park.AuditQuery{})
		equal(t, "events left", len(rest), left)
		for _, q := range queries {
			equal(t, "events", events(t, s, q), matching(rest, q))
		}
		if n == 0 {
			t.Fatalf("%d events are never pruned", left)
		}
	}
}

// commitLargeSteps commits steps of many events, of two pools in turn, and returns the log.
func commitLargeSteps(t *testing.T, s store.Store) (log []park.Event) {
	t.Helper()
	models := []*Model{NewModel("gpu"), NewModel("cpu")}
	for i, n := range []int{150, 1, 64, 200} {
		model := models[i%2]
		model.Advance(time.Second)
		for k := range n {
			model.Submit(func(r *ledger.Record) {
				if r.Tenant = "acme"; k%40 == 7 {
					r.Tenant = "globex"
				}
			})
		}
		for _, id := range slices.Clone(model.Queued[:len(model.Queued)/2]) {
			model.End(model.Start(id).TaskID, park.Completed, "")
		}
		model.End(model.Queued[0], park.Expired, "")
		before := len(model.Log)
		commit(t, s, model.Next())
		log = append(log, model.Log[before:]...)
	}
	return log
}

// largeStepQueries returns queries that match many or few events of large steps.
func largeStepQueries() []park.AuditQuery {
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
	log := commitLargeSteps(t, s)
	for _, q := range largeStepQueries() {
		equal(t, "events", events(t, s, q), matching(log, q))
		q.Limit = 97
		for _, never := range []string{park.EventID("gpu", 1, 5000), park.EventID("gpu", 1<<40, 0), park.EventID("none", 1, 0)} {
			q.Cursor = never
			if found, err := s.Events(t.Context(), q); !errors.Is(err, store.ErrNoEvent) {
				t.Fatalf("after %s, which does not exist: %d events, %v", never, len(found), err)
			}
		}
		q.Limit, q.Cursor = 97, ""
		equal(t, "pages", readPages(t, s, q, func() {}), matching(log, q))
		for i := 0; i < len(log); i += 31 {
			q.Cursor, q.Limit = log[i].EventID, 5
			want := matching(log[i+1:], q)
			equal(t, "events after "+q.Cursor, events(t, s, q), want[:min(5, len(want))])
		}
	}
}

package storetest

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

func testRecords(t *testing.T, s store.Store) {
	model, other := NewModel("gpu"), NewModel("cpu")
	other.idPrefix = model.idPrefix // the same ids in another pool
	for range 3 {
		model.Submit(nil)
		other.Submit(func(r *ledger.Record) { r.Tenant = "other" })
	}
	commit(t, s, model.Next())
	commit(t, s, other.Next())
	equal(t, "none", records(t, s, "gpu"), []ledger.Record(nil))
	equal(t, "unknown", records(t, s, "gpu", "gpu-9", "", "GPU-1", "gpu-1 "), []ledger.Record(nil))
	want := []ledger.Record{*model.Tasks["gpu-1"], *model.Tasks["gpu-3"]}
	equal(t, "some", records(t, s, "gpu", "gpu-3", "nobody", "gpu-1", "gpu-3"), want)
	equal(t, "of another pool", records(t, s, "cpu", "gpu-2"), []ledger.Record{*other.Tasks["gpu-2"]})
}

func testSizes(t *testing.T, s store.Store) {
	model, other := NewModel("gpu"), NewModel("cpu")
	other.idPrefix = model.idPrefix
	want := map[string]int{}
	for _, edit := range []func(*ledger.Record){
		func(r *ledger.Record) { r.Payload = nil },
		func(r *ledger.Record) { r.Payload = []byte(`"` + strings.Repeat("é", 1<<20) + `"`) },
		func(r *ledger.Record) {
			r.Command, r.WorkDir = []string{"python", "-c", strings.Repeat("x", 5000)}, "/srv/é"
		},
	} {
		r := model.Submit(edit)
		want[r.TaskID] = r.Size()
		other.Submit(nil)
	}
	ended := model.End(model.Start(model.Submit(nil).TaskID).TaskID, park.Completed, `"a result is no part of it"`)
	want[ended.TaskID] = ended.Size()
	commit(t, s, model.Next())
	commit(t, s, other.Next())
	sizes := must(s.Sizes(t.Context(), "gpu", []string{"gpu-1", "gpu-2", "gpu-3", "gpu-4", "gpu-9", "", "gpu-2"}))(t)
	if len(sizes) != len(want) {
		t.Errorf("got the sizes of %d tasks, want those of %d", len(sizes), len(want))
	}
	for id, n := range want {
		if d := sizes[id] - n; d < -8 || d > 8 {
			t.Errorf("task %s has %d bytes, want about %d", id, sizes[id], n)
		}
	}
	if none := must(s.Sizes(t.Context(), "gpu", nil))(t); len(none) != 0 {
		t.Errorf("got %v for no task", none)
	}
	if none := must(s.Sizes(t.Context(), "nobody's", []string{"gpu-1"}))(t); len(none) != 0 {
		t.Errorf("got %v for a pool that is not there", none)
	}
}

// testCancelled sees that a call whose context has ended returns an error, and that its step can be committed later.
func testCancelled(t *testing.T, s store.Store) {
	model := NewModel("gpu")
	model.Submit(nil)
	commit(t, s, model.Next())
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	step := func() *store.Step { model.Submit(nil); return model.Next() }()
	now := model.Now()
	for name, call := range map[string]func() error{
		"Commit":        func() error { return s.Commit(ended, step) },
		"Load":          func() error { _, err := s.Load(ended, "gpu"); return err },
		"Records":       func() error { _, err := s.Records(ended, "gpu", []string{"gpu-1"}); return err },
		"Sizes":         func() error { _, err := s.Sizes(ended, "gpu", []string{"gpu-1"}); return err },
		"List":          func() error { _, _, err := s.List(ended, "gpu", park.TaskQuery{Limit: 1}); return err },
		"Outbox":        func() error { _, err := s.Outbox(ended, "d", now, 1); return err },
		"Settle":        func() error { return s.AckOutbox(ended, []int64{1}, nil) },
		"Deliver":       func() error { return s.Deliver(ended, []park.Message{{PoolID: "gpu", TaskID: "x"}}) },
		"Messages":      func() error { _, err := s.Messages(ended, park.MailboxQuery{Limit: 1}); return err },
		"Trim":          func() error { return s.Trim(ended, "acme", "alice", "1") },
		"Append":        func() error { return s.Append(ended, []park.Event{{PoolID: "gpu", Rev: 9}}) },
		"Events":        func() error { _, err := s.Events(ended, park.AuditQuery{Limit: 1}); return err },
		"LastEvent":     func() error { _, err := s.LastEvent(ended); return err },
		"Lift":          func() error { return s.AdvanceRev(ended, "gpu", ledger.Pool{Rev: 9}) },
		"LastRev":       func() error { _, _, err := s.LastRev(ended, "gpu"); return err },
		"PruneTasks":    func() error { _, err := s.PruneTasks(ended, now, 1); return err },
		"PruneMessages": func() error { _, err := s.PruneMessages(ended, now, 1); return err },
		"PruneEvents":   func() error { _, err := s.PruneEvents(ended, now, 1); return err },
	} {
		if err := call(); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got error %v, want %v", name, err, context.Canceled)
		}
	}
	commit(t, s, step)
	wantState(t, s, model)
}

func testThousands(t *testing.T, s store.Store) {
	model := NewModel("gpu")
	for range 2000 {
		model.Submit(nil)
	}
	commit(t, s, model.Next())
	wantState(t, s, model)
	ids := model.Queued[:1500:1500]
	if n := len(records(t, s, "gpu", ids...)); n != len(ids) {
		t.Fatalf("got %d records, want %d", n, len(ids))
	}
	for _, id := range ids {
		model.End(id, park.Dropped, "")
	}
	commit(t, s, model.Next())
	wantState(t, s, model)
}

func testApart(t *testing.T, s store.Store) {
	var models []*Model
	for i := range 5 {
		model := NewModel("pool-" + strconv.Itoa(i))
		model.idPrefix = "task-"
		models = append(models, model)
	}
	for range 3 {
		for _, model := range models {
			model.End(model.Start(model.Submit(nil).TaskID).TaskID, park.Completed, `1`)
			model.Submit(nil)
			commit(t, s, model.Next())
		}
	}
	for _, model := range models {
		wantState(t, s, model)
	}
}

// testGivenStays sees that a store neither changes a step, nor is affected by later changes to its slices.
func testGivenStays(t *testing.T, s store.Store) {
	model := NewModel("gpu")
	there := model.Submit(nil).TaskID
	commit(t, s, model.Next())
	model.End(there, park.Dropped, "")
	model.End(model.Submit(nil).TaskID, park.Dropped, "")
	model.Submit(nil)
	step := model.Next()
	entries := []store.OutboxEntry{
		{Dest: "x", Message: &park.Message{TaskID: "m", PoolID: "gpu", Status: park.Completed}},
		{Dest: "x", Event: &park.Event{TaskID: "e", PoolID: "gpu", Rev: 7, Action: park.ActSubmit}},
	}
	step.Outbox = entries
	before := *step
	commit(t, s, step)
	equal(t, "step", *step, before)
	clear(step.Inserts)
	clear(step.Updates)
	clear(step.Messages)
	clear(step.Events)
	*entries[0].Message, *entries[1].Event = park.Message{}, park.Event{}
	clear(entries)
	wantState(t, s, model)
	kept := must(s.Outbox(t.Context(), "x", model.Row.LastAt, 10))(t)
	if len(kept) != 2 || kept[0].Message == nil || kept[0].Message.TaskID != "m" || kept[1].Event == nil || kept[1].Event.TaskID != "e" {
		t.Errorf("the outbox has %+v after what was given was used again", kept)
	}
}

func testClosed(t *testing.T, s store.Store) {
	model := NewModel("gpu")
	model.Submit(nil)
	commit(t, s, model.Next())
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatalf("closed again: %v", err)
	}
	// Memory remains usable while somebody refers to it; no store may hang or panic.
	model.Submit(nil)
	if err := s.Commit(t.Context(), model.Next()); err == nil {
		wantState(t, s, model)
	}
}

func testRow(t *testing.T, s store.Store) {
	model := NewModel("gpu")
	for _, state := range park.PoolStates() {
		model.Row.State = state
		model.Row.MaxUnits, model.Row.MaxQueueDepth = model.Row.MaxUnits-1, model.Row.MaxQueueDepth-1
		model.Row.ConfiguredUnits, model.Row.ConfiguredDepth = 0, 0
		model.Event(park.ActUpdate, nil, `{}`)
		commit(t, s, model.Next())
		equal(t, "row", load(t, s, "gpu").Row, model.Row)
	}
}

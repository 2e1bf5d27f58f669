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
	f, other := NewFeed("gpu"), NewFeed("cpu")
	other.prefix = f.prefix // the same ids in another pool
	for range 3 {
		f.Submit(nil)
		other.Submit(func(r *ledger.Record) { r.Tenant = "other" })
	}
	commit(t, s, f.Next())
	commit(t, s, other.Next())
	same(t, "none", records(t, s, "gpu"), []ledger.Record(nil))
	same(t, "unknown", records(t, s, "gpu", "gpu-9", "", "GPU-1", "gpu-1 "), []ledger.Record(nil))
	want := []ledger.Record{*f.Tasks["gpu-1"], *f.Tasks["gpu-3"]}
	same(t, "some", records(t, s, "gpu", "gpu-3", "nobody", "gpu-1", "gpu-3"), want)
	same(t, "of another pool", records(t, s, "cpu", "gpu-2"), []ledger.Record{*other.Tasks["gpu-2"]})
}

func testSizes(t *testing.T, s store.Store) {
	f, other := NewFeed("gpu"), NewFeed("cpu")
	other.prefix = f.prefix
	want := map[string]int{}
	for _, edit := range []func(*ledger.Record){
		func(r *ledger.Record) { r.Payload = nil },
		func(r *ledger.Record) { r.Payload = []byte(`"` + strings.Repeat("é", 1<<20) + `"`) },
		func(r *ledger.Record) {
			r.Command, r.WorkDir = []string{"python", "-c", strings.Repeat("x", 5000)}, "/srv/é"
		},
	} {
		r := f.Submit(edit)
		want[r.TaskID] = r.Size()
		other.Submit(nil)
	}
	ended := f.End(f.Start(f.Submit(nil).TaskID).TaskID, park.Completed, `"a result is no part of it"`)
	want[ended.TaskID] = ended.Size()
	commit(t, s, f.Next())
	commit(t, s, other.Next())
	sizes := got(s.Sizes(t.Context(), "gpu", []string{"gpu-1", "gpu-2", "gpu-3", "gpu-4", "gpu-9", "", "gpu-2"}))(t)
	if len(sizes) != len(want) {
		t.Errorf("got the sizes of %d tasks, want those of %d", len(sizes), len(want))
	}
	for id, n := range want {
		if d := sizes[id] - n; d < -8 || d > 8 {
			t.Errorf("task %s has %d bytes, want about %d", id, sizes[id], n)
		}
	}
	if none := got(s.Sizes(t.Context(), "gpu", nil))(t); len(none) != 0 {
		t.Errorf("got %v for no task", none)
	}
	if none := got(s.Sizes(t.Context(), "nobody's", []string{"gpu-1"}))(t); len(none) != 0 {
		t.Errorf("got %v for a pool that is not there", none)
	}
}

// testCancelled sees that a context that has ended is an error, and that a step it came too early for can be
// committed again.
func testCancelled(t *testing.T, s store.Store) {
	f := NewFeed("gpu")
	f.Submit(nil)
	commit(t, s, f.Next())
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	step := func() *store.Step { f.Submit(nil); return f.Next() }()
	now := f.Now()
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
	wantState(t, s, f)
}

func testThousands(t *testing.T, s store.Store) {
	f := NewFeed("gpu")
	for range 2000 {
		f.Submit(nil)
	}
	commit(t, s, f.Next())
	wantState(t, s, f)
	ids := f.Queued[:1500:1500]
	if n := len(records(t, s, "gpu", ids...)); n != len(ids) {
		t.Fatalf("got %d records, want %d", n, len(ids))
	}
	for _, id := range ids {
		f.End(id, park.Dropped, "")
	}
	commit(t, s, f.Next())
	wantState(t, s, f)
}

func testApart(t *testing.T, s store.Store) {
	var feeds []*Feed
	for i := range 5 {
		f := NewFeed("pool-" + strconv.Itoa(i))
		f.prefix = "task-"
		feeds = append(feeds, f)
	}
	for range 3 {
		for _, f := range feeds {
			f.End(f.Start(f.Submit(nil).TaskID).TaskID, park.Completed, `1`)
			f.Submit(nil)
			commit(t, s, f.Next())
		}
	}
	for _, f := range feeds {
		wantState(t, s, f)
	}
}

// testGivenStays sees that a store neither changes a step nor takes notice of changes to the step's slices later.
func testGivenStays(t *testing.T, s store.Store) {
	f := NewFeed("gpu")
	there := f.Submit(nil).TaskID
	commit(t, s, f.Next())
	f.End(there, park.Dropped, "")
	f.End(f.Submit(nil).TaskID, park.Dropped, "")
	f.Submit(nil)
	step := f.Next()
	parcels := []store.OutboxEntry{
		{Dest: "x", Message: &park.Message{TaskID: "m", PoolID: "gpu", Status: park.Completed}},
		{Dest: "x", Event: &park.Event{TaskID: "e", PoolID: "gpu", Rev: 7, Action: park.ActSubmit}},
	}
	step.Outbox = parcels
	before := *step
	commit(t, s, step)
	same(t, "step", *step, before)
	clear(step.Inserts)
	clear(step.Updates)
	clear(step.Messages)
	clear(step.Events)
	*parcels[0].Message, *parcels[1].Event = park.Message{}, park.Event{}
	clear(parcels)
	wantState(t, s, f)
	kept := got(s.Outbox(t.Context(), "x", f.Row.LastAt, 10))(t)
	if len(kept) != 2 || kept[0].Message == nil || kept[0].Message.TaskID != "m" || kept[1].Event == nil || kept[1].Event.TaskID != "e" {
		t.Errorf("the outbox has %+v after what was given was used again", kept)
	}
}

func testClosed(t *testing.T, s store.Store) {
	f := NewFeed("gpu")
	f.Submit(nil)
	commit(t, s, f.Next())
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatalf("closed again: %v", err)
	}
	// Some last as long as they are referred to; none may hang or panic.
	f.Submit(nil)
	if err := s.Commit(t.Context(), f.Next()); err == nil {
		wantState(t, s, f)
	}
}

func testRow(t *testing.T, s store.Store) {
	f := NewFeed("gpu")
	for _, state := range park.PoolStates() {
		f.Row.State = state
		f.Row.MaxUnits, f.Row.MaxQueueDepth = f.Row.MaxUnits-1, f.Row.MaxQueueDepth-1
		f.Row.ConfiguredUnits, f.Row.ConfiguredDepth = 0, 0
		f.Event(park.ActUpdate, nil, `{}`)
		commit(t, s, f.Next())
		same(t, "row", load(t, s, "gpu").Row, f.Row)
	}
}

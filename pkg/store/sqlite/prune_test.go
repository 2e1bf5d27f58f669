package sqlite

import (
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/storetest"
	"github.com/parkd-dev/parkd/pkg/park"
)

// TestTwoPrunesAtOnce: two calls find the same rows. One removes them, and new rows get their seqs before the other
// call removes.
func TestTwoPrunesAtOnce(t *testing.T) {
	ctx, s := t.Context(), openTemp(t)
	f := storetest.NewModel("gpu")
	put := func(end bool) {
		t.Helper()
		r := f.Submit(nil)
		if end {
			f.Message(f.End(f.Start(r.TaskID).TaskID, park.Completed, ""))
		}
		if err := s.Commit(ctx, f.Next()); err != nil {
			t.Fatal(err)
		}
	}
	put(true)
	before := park.At(f.Now().Add(time.Hour))
	var found [3][]int64
	for i, query := range []string{oldJobs, oldMessages, oldEvents} {
		var err error
		if found[i], err = s.findOld(ctx, query, 0, 1<<62, before, 100); err != nil || len(found[i]) == 0 {
			t.Fatalf("found %v, %v", found[i], err)
		}
	}
	remove := func() {
		t.Helper()
		for i, how := range []func(*writer, []int64, int64) error{(*writer).removeJobs, (*writer).removeMessages, (*writer).removeEvents} {
			if _, err := s.prune(ctx, "rows", found[i], before, how); err != nil {
				t.Fatal(err)
			}
		}
	}
	remove()
	f.Advance(2 * time.Hour)
	put(false)
	put(true)
	want := 0
	for _, e := range f.Log {
		if !e.At.Before(before.Time) {
			want++
		}
	}
	remove()
	snap, err := s.Load(ctx, "gpu")
	if err != nil || len(snap.Tasks) != 1 {
		t.Errorf("the pool has %d live tasks, want 1, %v", len(snap.Tasks), err)
	}
	listed, _, err := s.List(ctx, "gpu", park.TaskQuery{Limit: 10})
	if err != nil || len(listed) != 2 {
		t.Errorf("the pool has %d tasks, want 2, %v", len(listed), err)
	}
	messages, err := s.Messages(ctx, park.MailboxQuery{Tenant: "acme", Key: "alice", Limit: 10})
	if err != nil || len(messages) != 1 {
		t.Errorf("there are %d messages, want 1, %v", len(messages), err)
	}
	for _, q := range []park.AuditQuery{{Limit: 100}, {Limit: 100, PoolID: "gpu"}, {Limit: 100, Tenant: "acme"}} {
		events, err := s.Events(ctx, q)
		if err != nil || len(events) != want {
			t.Errorf("there are %d events, want %d, %v", len(events), want, err)
		}
	}
}

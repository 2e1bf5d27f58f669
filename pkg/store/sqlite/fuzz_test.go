package sqlite_test

import (
	"testing"

	"github.com/parkd-dev/parkd/pkg/internal/storetest"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/memory"
)

// FuzzCursors passes cursors that no store returned. A store either refuses a cursor as the caller's mistake, or takes
// it as a position. It never reports an error of its own.
func FuzzCursors(f *testing.F) {
	for _, seed := range []string{"", "1", "-1", "99999999999999999999", "gpu:1:0", "gpu:x:0", "a:1", "\x00", "0x10"} {
		f.Add(seed)
	}
	stores := []store.Store{memory.New(), openAt(f, f.TempDir()+"/parkd.db")}
	for _, s := range stores {
		feed := storetest.NewModel("gpu")
		feed.End(feed.Start(feed.Submit(nil).TaskID).TaskID, park.Completed, `1`)
		feed.Submit(nil)
		if err := s.Commit(f.Context(), feed.Next()); err != nil {
			f.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, cursor string) {
		for _, s := range stores {
			_, _, err1 := s.List(t.Context(), "gpu", park.TaskQuery{Limit: 3, Cursor: cursor})
			_, err2 := s.Messages(t.Context(), park.MailboxQuery{Tenant: "acme", Key: "alice", Limit: 3, After: cursor})
			_, err3 := s.Events(t.Context(), park.AuditQuery{PoolID: "gpu", Limit: 3, Cursor: cursor})
			err4 := s.Trim(t.Context(), "acme", "nobody", cursor)
			for _, err := range []error{err1, err2, err3, err4} {
				if err != nil && park.CodeOf(err) != park.InvalidRequest {
					t.Errorf("%T with cursor %q: %v", s, cursor, err)
				}
			}
		}
	})
}

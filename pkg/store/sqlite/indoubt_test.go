package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"testing"

	"github.com/parkd-dev/parkd/pkg/internal/storetest"
	"github.com/parkd-dev/parkd/pkg/store"
)

// failingCommit is a COMMIT whose flush fails once, either after or before it was applied.
type failingCommit struct {
	driver.StmtExecContext
	applied bool
	used    bool
	hook    func() // called before the COMMIT
}

type flushError struct{}

func (flushError) Error() string { return "disk I/O error" }
func (flushError) Code() int     { return 1034 } // SQLITE_IOERR_FSYNC

func (e *failingCommit) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	if e.used {
		return e.StmtExecContext.ExecContext(ctx, args)
	}
	e.used = true
	if e.hook != nil {
		e.hook()
		return e.StmtExecContext.ExecContext(ctx, args)
	}
	if e.applied {
		if r, err := e.StmtExecContext.ExecContext(ctx, args); err != nil {
			return r, err
		}
	}
	return nil, flushError{}
}

// TestFlushFails: a step that could not be flushed is in doubt until it is sent again, because it may exist after a
// crash.
func TestFlushFails(t *testing.T) {
	for name, stands := range map[string]bool{"it stands": true, "it does not": false} {
		t.Run(name, func(t *testing.T) {
			s := openTemp(t)
			s.writer.commit.exec = &failingCommit{StmtExecContext: s.writer.commit.exec, applied: stands} // the writer is idle
			f := storetest.NewModel("gpu")
			f.Submit(nil)
			step := f.Next()
			if err := s.Commit(t.Context(), step); !errors.Is(err, store.ErrInDoubt) {
				t.Fatalf("got %v, want a step in doubt", err)
			}
			if err := s.Commit(t.Context(), step); err != nil {
				t.Fatalf("sent again: %v", err)
			}
			wantRev(t, s, 1)
		})
	}
}

// TestContextEndsAmidACommit: a caller that stops waiting amid a commit gets a step in doubt.
func TestContextEndsAmidACommit(t *testing.T) {
	s := openTemp(t)
	ctx, cancel := context.WithCancel(t.Context())
	answered := make(chan struct{})
	s.writer.commit.exec = &failingCommit{StmtExecContext: s.writer.commit.exec, hook: func() {
		cancel()
		<-answered
	}}
	f := storetest.NewModel("gpu")
	f.Submit(nil)
	step := f.Next()
	err := s.Commit(ctx, step)
	close(answered)
	if !errors.Is(err, store.ErrInDoubt) || !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want a step in doubt", err)
	}
	if err := s.Commit(t.Context(), step); err != nil {
		t.Fatalf("sent again: %v", err)
	}
	wantRev(t, s, 1)
}

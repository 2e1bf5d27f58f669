package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"testing"

	"github.com/parkd-dev/parkd/pkg/internal/storetest"
	"github.com/parkd-dev/parkd/pkg/store"
)

// brokenEnd is a COMMIT whose flush fails, once: what it wrote may be there for all that, or not.
type brokenEnd struct {
	driver.StmtExecContext
	stands bool
	met    bool
	at     func() // called in the middle
}

type flushError struct{}

func (flushError) Error() string { return "disk I/O error" }
func (flushError) Code() int     { return 1034 } // SQLITE_IOERR_FSYNC

func (e *brokenEnd) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	if e.met {
		return e.StmtExecContext.ExecContext(ctx, args)
	}
	e.met = true
	if e.at != nil {
		e.at()
		return e.StmtExecContext.ExecContext(ctx, args)
	}
	if e.stands {
		if r, err := e.StmtExecContext.ExecContext(ctx, args); err != nil {
			return r, err
		}
	}
	return nil, flushError{}
}

// TestFlushFails: a step that could not be flushed may come back after a crash, so it is in doubt, until it was sent again.
func TestFlushFails(t *testing.T) {
	for name, stands := range map[string]bool{"it stands": true, "it does not": false} {
		t.Run(name, func(t *testing.T) {
			s := openHere(t)
			s.writer.end.exec = &brokenEnd{StmtExecContext: s.writer.end.exec, stands: stands} // the writer is idle
			f := storetest.NewFeed("gpu")
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

// TestContextEndsAmidACommit: who does not wait any more does not know.
func TestContextEndsAmidACommit(t *testing.T) {
	s := openHere(t)
	ctx, cancel := context.WithCancel(t.Context())
	answered := make(chan struct{})
	s.writer.end.exec = &brokenEnd{StmtExecContext: s.writer.end.exec, at: func() {
		cancel()
		<-answered
	}}
	f := storetest.NewFeed("gpu")
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

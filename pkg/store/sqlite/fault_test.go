package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/internal/storetest"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// faults are ways in which an open database refuses writes. Each returns a statement that breaks or repairs the
// writer's connection.
func faults() map[string]func(broken bool) string {
	return map[string]func(bool) string{
		"full": func(broken bool) string {
			if broken {
				return "PRAGMA max_page_count = 1" // which means no page more than there are
			}
			return "PRAGMA max_page_count = 4294967294"
		},
		"readonly": func(broken bool) string { return "PRAGMA query_only = " + strconv.FormatInt(flag(broken), 10) },
	}
}

// failingConn runs statements on the writer's connection, each before the next transaction. Only the writer may use its
// connection, and it does so after it has answered, too.
type failingConn struct {
	driver.StmtExecContext
	writer *writer
	next   atomic.Pointer[string]
}

// newFailingConn wraps the connection of an idle store, which then runs each statement that is put in next.
func newFailingConn(s *Store) *failingConn {
	t := &failingConn{StmtExecContext: s.writer.begin.exec, writer: s.writer}
	s.writer.begin.exec = t
	return t
}

func (t *failingConn) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	if query := t.next.Swap(nil); query != nil {
		if _, err := t.writer.queryOnce(*query); err != nil {
			return nil, err
		}
	}
	return t.StmtExecContext.ExecContext(ctx, args)
}

// wantOutage fails the test unless err is an error of the store and not of the caller.
func wantOutage(t *testing.T, err error) {
	t.Helper()
	if _, conflict := errors.AsType[*store.Conflict](err); err == nil || conflict || park.CodeOf(err) != park.Internal {
		t.Fatalf("got error %v, want an outage of the store", err)
	}
}

// commitUntilError commits large steps until one fails. It returns that step and the error.
func commitUntilError(ctx context.Context, s *Store, f *storetest.Model) (*store.Step, error) {
	for range 1000 {
		f.Submit(func(r *ledger.Record) { r.Payload = []byte(`"` + strings.Repeat("x", 64<<10) + `"`) })
		step := f.Next()
		if err := s.Commit(ctx, step); err != nil {
			return step, err
		}
	}
	return nil, nil
}

func TestFaults(t *testing.T) {
	for name, fault := range faults() {
		t.Run(name, func(t *testing.T) {
			s := openTemp(t)
			trouble := newFailingConn(s)
			f := storetest.NewModel("gpu")
			f.Submit(nil)
			if err := s.Commit(t.Context(), f.Next()); err != nil {
				t.Fatal(err)
			}
			trouble.next.Store(new(fault(true)))
			step, err := commitUntilError(t.Context(), s, f)
			wantOutage(t, err)
			wantOutage(t, s.Commit(t.Context(), step))
			wantRev(t, s, step.Row.Rev-1)

			trouble.next.Store(new(fault(false)))
			if err := s.Commit(t.Context(), step); err != nil {
				t.Fatalf("after the outage: %v", err)
			}
			wantRev(t, s, step.Row.Rev)
		})
	}
}

func wantRev(t *testing.T, s *Store, rev int64) {
	t.Helper()
	snap, err := s.Load(t.Context(), "gpu")
	if err != nil || snap.Row.Rev != rev || int64(len(snap.Tasks)) != rev {
		t.Fatalf("the pool is at rev %d with %d tasks, want %d, %v", snap.Row.Rev, len(snap.Tasks), rev, err)
	}
}

// TestEngineOutage checks what clients get: 503 while the store refuses writes, and 202 afterwards.
func TestEngineOutage(t *testing.T) {
	for name, fault := range faults() {
		t.Run(name, func(t *testing.T) {
			s := openTemp(t)
			trouble := newFailingConn(s)
			e, err := engine.Open(t.Context(), engine.Config{
				Pools: []engine.Pool{{
					PoolSpec: park.PoolSpec{
						ID: "gpu", Kind: park.GPUVram, MaxUnits: 4, MaxQueueDepth: 1000, Runtime: park.WebWorker,
						QueueBackend: park.File, MailboxBackend: park.File,
					},
				}},
				Stores: map[park.Backend]store.Store{park.File: s},
			})
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close(context.Background())
			submit := func() error {
				big := []byte(`"` + strings.Repeat("x", 256<<10) + `"`)
				r, err := e.Submit(t.Context(), "gpu", []park.Submission{{Payload: big}})
				if err == nil && r[0].Err != nil {
					err = r[0].Err
				}
				return err
			}
			if err := submit(); err != nil {
				t.Fatal(err)
			}
			trouble.next.Store(new(fault(true)))
			for range 100 {
				if err = submit(); err != nil {
					break
				}
			}
			if code := park.CodeOf(err); code != park.StorageUnavailable || code.HTTPStatus() != 503 {
				t.Fatalf("got %v (%s), want %s", err, code, park.StorageUnavailable)
			}
			trouble.next.Store(new(fault(false)))
			if err := submit(); err != nil {
				t.Fatalf("after the outage: %v", err)
			}
		})
	}
}

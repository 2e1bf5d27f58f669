// Package storetest is the test suite that every backend passes. Its tests are examples of the contract of package
// store, and do not depend on the backend.
package storetest

import (
	"cmp"
	"errors"
	"reflect"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// Open returns a fresh, empty store, and closes it at the end of the test.
type Open func(testing.TB) store.Store

// Run tests every method of a store, alone and concurrently. Each test has a store of its own.
func Run(t *testing.T, open Open) {
	for name, tests := range map[string]storeTests{
		"Commit": commitTests(), "Conflict": conflictTests(), "List": listTests(), "Outbox": outboxTests(),
		"Mailbox": mailboxTests(), "Audit": auditTests(), "Prune": pruneTests(), "Kept": keptTests(), "Odd": unusualTests(),
		"Lives": livesTests(),
	} {
		t.Run(name, func(t *testing.T) {
			for name, test := range tests {
				t.Run(name, func(t *testing.T) { test(t, open(t)) })
			}
		})
	}
	t.Run("Race", func(t *testing.T) {
		for name, test := range raceTests() {
			t.Run(name, func(t *testing.T) {
				s := open(t)
				test(t, s, s)
			})
		}
	})
}

// RunShared tests two stores that open returns for one fresh database. Each must see what the other has committed.
func RunShared(t *testing.T, open func(testing.TB) (a, b store.Store)) {
	for name, test := range raceTests() {
		t.Run(name, func(t *testing.T) {
			a, b := open(t)
			test(t, a, b)
		})
	}
	for name, test := range sharedTests() {
		t.Run(name, func(t *testing.T) {
			a, b := open(t)
			test(t, a, b)
		})
	}
}

// storeTests maps names to tests of one store.
type storeTests = map[string]func(*testing.T, store.Store)

// pairTests maps names to tests of two stores on one database, which may be the same store.
type pairTests = map[string]func(t *testing.T, a, b store.Store)

// commit commits a step, which must be accepted.
func commit(t testing.TB, s store.Store, step *store.Step) {
	t.Helper()
	if err := s.Commit(t.Context(), step); err != nil {
		t.Fatalf("commit of rev %d of pool %s: %v", step.Row.Rev, step.PoolID, err)
	}
}

// load loads a pool, with its tasks sorted by id.
func load(t testing.TB, s store.Store, pool string) store.Snapshot {
	t.Helper()
	snap, err := s.Load(t.Context(), pool)
	if err != nil {
		t.Fatalf("load pool %s: %v", pool, err)
	}
	sortByTask(snap.Tasks)
	return snap
}

// records returns records of tasks, sorted by id.
func records(t testing.TB, s store.Store, pool string, ids ...string) []ledger.Record {
	t.Helper()
	found, err := s.Records(t.Context(), pool, ids)
	if err != nil {
		t.Fatalf("records of pool %s: %v", pool, err)
	}
	sortByTask(found)
	return found
}

func sortByTask(records []ledger.Record) {
	slices.SortFunc(records, func(a, b ledger.Record) int { return cmp.Compare(a.TaskID, b.TaskID) })
}

// equal fails the test unless two values are equal. Nil and empty values count as equal.
func equal(t testing.TB, what string, got, want any) {
	t.Helper()
	if diff := difference(want, got); diff != "" {
		t.Fatalf("%s (-want +got):\n%s", what, diff)
	}
}

// difference returns how two values differ, or "".
func difference(a, b any) string {
	if reflect.DeepEqual(a, b) { // faster than gocmp
		return ""
	}
	return gocmp.Diff(a, b, cmpopts.EquateEmpty())
}

// must returns a function that returns v, or fails the test if err is not nil.
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// list returns a page of tasks and the cursor of the next one.
func list(t testing.TB, s store.Store, pool string, q park.TaskQuery) ([]ledger.Record, string) {
	t.Helper()
	found, next, err := s.List(t.Context(), pool, q)
	if err != nil {
		t.Fatalf("list tasks of pool %s: %v", pool, err)
	}
	return found, next
}

// messages reads a mailbox, without a limit if the query has none.
func messages(t testing.TB, s store.Store, q park.MailboxQuery) []park.Message {
	t.Helper()
	if q.Limit == 0 {
		q.Limit = noLimit
	}
	found, err := s.Messages(t.Context(), q)
	if err != nil {
		t.Fatalf("read mailbox %s/%s: %v", q.Tenant, q.Key, err)
	}
	return found
}

// events reads the log, without a limit if the query has none.
func events(t testing.TB, s store.Store, q park.AuditQuery) []park.Event {
	t.Helper()
	if q.Limit == 0 {
		q.Limit = noLimit
	}
	found, err := s.Events(t.Context(), q)
	if err != nil {
		t.Fatalf("read events: %v", err)
	}
	return found
}

// outbox reads the entries that are due.
func outbox(t testing.TB, s store.Store, dest string, now park.Time, limit int) []store.OutboxEntry {
	t.Helper()
	found, err := s.Outbox(t.Context(), dest, now, limit)
	if err != nil {
		t.Fatalf("read outbox for %s: %v", dest, err)
	}
	return found
}

// noLimit is a limit that no test reaches.
const noLimit = 1 << 20

// wantConflict fails the test unless err is a conflict, and returns it.
func wantConflict(t testing.TB, err error) *store.Conflict {
	t.Helper()
	c, ok := errors.AsType[*store.Conflict](err)
	if !ok {
		t.Fatalf("got error %v, want a conflict", err)
	}
	return c
}

// wantInvalid fails the test unless err says that the request was invalid.
func wantInvalid(t testing.TB, what string, err error) {
	t.Helper()
	if park.CodeOf(err) != park.InvalidRequest {
		t.Fatalf("%s: got error %v, want an invalid request", what, err)
	}
}

// asLoaded returns a record as Load returns it.
func asLoaded(r ledger.Record) ledger.Record {
	r.Payload, r.Command, r.WorkDir, r.Result = nil, nil, "", nil
	return r
}

// asInConflict returns the fields of a record that every conflict must contain.
func asInConflict(r ledger.Record) ledger.Record {
	if !r.Status.Ended() {
		return asLoaded(r)
	}
	return ledger.Record{
		Spec:  ledger.Spec{TaskID: r.TaskID, Tenant: r.Tenant, MailboxKey: r.MailboxKey},
		State: ledger.State{Status: r.Status},
	}
}

// Package storetest holds the one suite that every backend passes. It says by example what package store
// says in words; no test asks which backend it has before it.
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

// Open returns a fresh, empty store. It closes it at the end of the test.
type Open func(testing.TB) store.Store

// Run tests every method of a store, alone and together, each test on a store of its own.
func Run(t *testing.T, open Open) {
	for name, tests := range map[string]group{
		"Commit": commitTests(), "Conflict": conflictTests(), "List": listTests(), "Outbox": outboxTests(),
		"Mailbox": mailboxTests(), "Audit": auditTests(), "Prune": pruneTests(), "Kept": keptTests(), "Odd": oddTests(),
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

// RunShared tests two stores that open returns on one fresh database: what one has committed the other sees.
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

// group is tests by name, each of one store.
type group = map[string]func(*testing.T, store.Store)

// pair is tests by name, each of two stores on one database, which may be one and the same.
type pair = map[string]func(t *testing.T, a, b store.Store)

func commit(t testing.TB, s store.Store, step *store.Step) {
	t.Helper()
	if err := s.Commit(t.Context(), step); err != nil {
		t.Fatalf("commit of rev %d of pool %s: %v", step.Row.Rev, step.PoolID, err)
	}
}

func load(t testing.TB, s store.Store, pool string) store.Snapshot {
	t.Helper()
	snap, err := s.Load(t.Context(), pool)
	if err != nil {
		t.Fatalf("load pool %s: %v", pool, err)
	}
	byTask(snap.Tasks)
	return snap
}

func records(t testing.TB, s store.Store, pool string, ids ...string) []ledger.Record {
	t.Helper()
	found, err := s.Records(t.Context(), pool, ids)
	if err != nil {
		t.Fatalf("records of pool %s: %v", pool, err)
	}
	byTask(found)
	return found
}

func byTask(records []ledger.Record) {
	slices.SortFunc(records, func(a, b ledger.Record) int { return cmp.Compare(a.TaskID, b.TaskID) })
}

// same fails the test where two values differ; nothing and emptiness are the same.
func same(t testing.TB, what string, got, want any) {
	t.Helper()
	if diff := difference(want, got); diff != "" {
		t.Fatalf("%s (-want +got):\n%s", what, diff)
	}
}

func difference(a, b any) string {
	if reflect.DeepEqual(a, b) { // which is quicker
		return ""
	}
	return gocmp.Diff(a, b, cmpopts.EquateEmpty())
}

// got returns a function that gives back v, or fails the test where err is not nil.
func got[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func list(t testing.TB, s store.Store, pool string, q park.TaskQuery) ([]ledger.Record, string) {
	t.Helper()
	found, next, err := s.List(t.Context(), pool, q)
	if err != nil {
		t.Fatalf("list tasks of pool %s: %v", pool, err)
	}
	return found, next
}

func messages(t testing.TB, s store.Store, q park.MailboxQuery) []park.Message {
	t.Helper()
	if q.Limit == 0 {
		q.Limit = all
	}
	found, err := s.Messages(t.Context(), q)
	if err != nil {
		t.Fatalf("read mailbox %s/%s: %v", q.Tenant, q.Key, err)
	}
	return found
}

func events(t testing.TB, s store.Store, q park.AuditQuery) []park.Event {
	t.Helper()
	if q.Limit == 0 {
		q.Limit = all
	}
	found, err := s.Events(t.Context(), q)
	if err != nil {
		t.Fatalf("read events: %v", err)
	}
	return found
}

func outbox(t testing.TB, s store.Store, dest string, now park.Time, limit int) []store.OutboxEntry {
	t.Helper()
	found, err := s.Outbox(t.Context(), dest, now, limit)
	if err != nil {
		t.Fatalf("read outbox for %s: %v", dest, err)
	}
	return found
}

// all is a limit that no test reaches.
const all = 1 << 20

func wantConflict(t testing.TB, err error) *store.Conflict {
	t.Helper()
	c, ok := errors.AsType[*store.Conflict](err)
	if !ok {
		t.Fatalf("got error %v, want a conflict", err)
	}
	return c
}

func wantInvalid(t testing.TB, what string, err error) {
	t.Helper()
	if park.CodeOf(err) != park.InvalidRequest {
		t.Fatalf("%s: got error %v, want an invalid request", what, err)
	}
}

// light returns a record as Load gives it.
func light(r ledger.Record) ledger.Record {
	r.Payload, r.Command, r.WorkDir, r.Result = nil, nil, "", nil
	return r
}

// told returns what a conflict surely says of a task.
func told(r ledger.Record) ledger.Record {
	if !r.Status.Ended() {
		return light(r)
	}
	return ledger.Record{
		Spec:  ledger.Spec{TaskID: r.TaskID, Tenant: r.Tenant, MailboxKey: r.MailboxKey},
		State: ledger.State{Status: r.Status},
	}
}

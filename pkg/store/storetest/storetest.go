// Package storetest holds the one suite that every backend passes. It says by example what package store
// says in words; no test asks which backend it has before it.
package storetest

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// Open returns a fresh, empty store. It closes it at the end of the test.
type Open func(testing.TB) store.Store

// Run tests every method of a store, alone and together, each test on a store of its own.
func Run(t *testing.T, open Open) {
	for name, group := range map[string]map[string]func(*testing.T, store.Store){
		"Commit": commitTests(), "Read": readTests(), "Outbox": outboxTests(),
		"Mailbox": mailboxTests(), "Audit": auditTests(), "Prune": pruneTests(), "Race": raceTests(),
	} {
		t.Run(name, func(t *testing.T) {
			for name, test := range group {
				t.Run(name, func(t *testing.T) { test(t, open(t)) })
			}
		})
	}
}

func ctx(t testing.TB) context.Context { return t.Context() }

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

func records(t testing.TB, s store.Store, pool string, ids ...string) []park.Record {
	t.Helper()
	found, err := s.Records(t.Context(), pool, ids)
	if err != nil {
		t.Fatalf("records of pool %s: %v", pool, err)
	}
	byTask(found)
	return found
}

func byTask(records []park.Record) {
	slices.SortFunc(records, func(a, b park.Record) int { return cmp.Compare(a.TaskID, b.TaskID) })
}

// same fails the test where two values differ; nothing and emptiness are the same.
func same(t testing.TB, what string, got, want any) {
	t.Helper()
	if diff := gocmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("%s (-want +got):\n%s", what, diff)
	}
}

// must returns v, or fails the test.
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

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
func light(r park.Record) park.Record {
	r.Payload, r.Command, r.WorkDir, r.Result = nil, nil, "", nil
	return r
}

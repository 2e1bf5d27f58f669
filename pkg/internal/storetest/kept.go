package storetest

import (
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

func keptTests() group {
	return group{
		"rows, tasks and messages as they are": testKept,
		"a trimmed message leaves what it was": testKeptTrimmed,
		"what is removed leaves a mark":        testMarks,
		"a cursor of another kind":             testBadKeptCursor,
	}
}

// evidence returns a store as evidence.
func evidence(t testing.TB, s store.Store) store.Evidence {
	t.Helper()
	e, ok := s.(store.Evidence)
	if !ok {
		t.Fatal("the store does not show what it keeps")
	}
	return e
}

// keptIn reads pages of at most two.
func keptIn[T any](t testing.TB, read func(after string, limit int) ([]T, string, error)) (all []T) {
	t.Helper()
	for after := ""; ; {
		page, next, err := read(after, 2)
		if err != nil || len(page) > 2 {
			t.Fatalf("%d items: %v", len(page), err)
		}
		all = append(all, page...)
		if after = next; after == "" {
			return all
		}
	}
}

func keptTasks(t testing.TB, s store.Store, pool string) []park.KeptTask {
	return keptIn(t, func(after string, limit int) ([]park.KeptTask, string, error) {
		return evidence(t, s).KeptTasks(t.Context(), pool, after, limit)
	})
}

func keptMessages(t testing.TB, s store.Store, pool string) []park.KeptMessage {
	return keptIn(t, func(after string, limit int) ([]park.KeptMessage, string, error) {
		return evidence(t, s).KeptMessages(t.Context(), pool, after, limit)
	})
}

func testKept(t *testing.T, s store.Store) {
	row, err := evidence(t, s).Row(t.Context(), "gpu")
	same(t, "row of no pool", row, ledger.Pool{})
	if err != nil {
		t.Fatal(err)
	}
	feeds := aged(t, s, 7)
	for pool, f := range feeds {
		row, err := evidence(t, s).Row(t.Context(), pool)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "row", row, f.Row)
		var want []park.KeptTask
		for _, id := range f.listed(park.TaskQuery{}) {
			want = append(want, f.Tasks[id].Evidence())
		}
		same(t, "tasks", keptTasks(t, s, pool), want)
	}
	var want []park.KeptMessage
	for i := range 5 {
		m := letter("mail", i)
		deliver(t, s, m, letter("other", i))
		k := park.KeptMessage{
			TaskID: m.TaskID, Tenant: m.Tenant, MailboxKey: m.Key, Status: m.Status, Attempt: m.Attempt, Reason: m.Reason,
			CreatedAt: m.CreatedAt, Said: ledger.OutcomeDigest(m.Message, m.Payload),
		}
		want = append(want, k)
	}
	same(t, "messages", keptMessages(t, s, "mail"), want)
}

func testKeptTrimmed(t *testing.T, s store.Store) {
	deliver(t, s, letter("gpu", 0), letter("gpu", 1), letter("gpu", 2))
	found := messages(t, s, alice())
	if err := s.Trim(t.Context(), "acme", "alice", found[1].ID); err != nil {
		t.Fatal(err)
	}
	kept := keptMessages(t, s, "gpu")
	same(t, "messages", len(kept), len(found))
	for i, m := range found {
		k := kept[i]
		same(t, "trimmed", k.Trimmed, i < 2)
		same(t, "message", []any{k.TaskID, k.Tenant, k.MailboxKey, k.Status, k.Attempt, k.CreatedAt}, []any{m.TaskID, m.Tenant, m.Key, m.Status, m.Attempt, m.CreatedAt})
	}
}

func marks(t testing.TB, s store.Store, pool string) store.Marks {
	t.Helper()
	m, err := evidence(t, s).Marks(t.Context(), pool)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func testMarks(t *testing.T, s store.Store) {
	feeds := aged(t, s, 8)
	for pool := range feeds {
		same(t, "marks before anything was removed", marks(t, s, pool), store.Marks{})
	}
	var upTo park.Time
	late := park.At(Epoch().Add(3*time.Hour + time.Minute))
	for _, before := range []park.Time{hours(2), late, hours(1), hours(5)} {
		pruned(t, s.PruneEvents, before, 3)
		if upTo.Before(before.Time) {
			upTo = before
		}
		for pool, f := range feeds {
			log := store.Marks{}.Log
			for _, e := range f.Log {
				if e.At.Before(upTo.Time) {
					log.Rev, log.Before = e.Rev, park.FromMicro(e.At.Micro()+1)
				}
			}
			same(t, "the mark of the log", marks(t, s, pool).Log, log)
		}
	}
	pruned(t, s.PruneMessages, hours(-1), 3)
	pruned(t, s.PruneTasks, hours(-1), 3)
	m := marks(t, s, "gpu")
	same(t, "the marks where nothing was old", []park.Mark{m.Messages, m.Tasks}, []park.Mark{{}, {}})
	pruned(t, s.PruneMessages, hours(9), 3)
	pruned(t, s.PruneTasks, hours(4), 3)
	pruned(t, s.PruneTasks, hours(3), 3)
	m = marks(t, s, "gpu")
	same(t, "the marks of messages and tasks", []park.Mark{m.Messages, m.Tasks}, []park.Mark{{Before: hours(9)}, {Before: hours(4)}})
}

func testBadKeptCursor(t *testing.T, s store.Store) {
	populated(t, s)
	for _, cursor := range badCursors() {
		_, _, err := evidence(t, s).KeptTasks(t.Context(), "gpu", cursor, 1)
		wantInvalid(t, "cursor of tasks "+cursor, err)
		_, _, err = evidence(t, s).KeptMessages(t.Context(), "gpu", cursor, 1)
		wantInvalid(t, "cursor of messages "+cursor, err)
		if err != nil && !strings.Contains(err.Error(), "cursor") {
			t.Errorf("cursor of messages %s: the error does not say what is wrong: %v", cursor, err)
		}
	}
	if kept, next, err := evidence(t, s).KeptMessages(t.Context(), "gpu", strconv.FormatInt(math.MaxInt64, 10), 1); len(kept) > 0 || next != "" || err != nil {
		t.Errorf("behind the last message there are %v, next %q: %v", kept, next, err)
	}
}

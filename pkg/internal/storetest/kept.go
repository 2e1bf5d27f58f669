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

func keptTests() storeTests {
	return storeTests{
		"rows, tasks and messages":              testKept,
		"a trimmed message remains as evidence": testKeptTrimmed,
		"removed items leave a mark":            testMarks,
		"an invalid cursor":                     testBadKeptCursor,
	}
}

// asEvidence returns a store as [store.Evidence].
func asEvidence(t testing.TB, s store.Store) store.Evidence {
	t.Helper()
	e, ok := s.(store.Evidence)
	if !ok {
		t.Fatal("the store does not show what it keeps")
	}
	return e
}

// readAll reads all items, in pages of at most two.
func readAll[T any](t testing.TB, read func(after string, limit int) ([]T, string, error)) (all []T) {
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
	return readAll(t, func(after string, limit int) ([]park.KeptTask, string, error) {
		return asEvidence(t, s).KeptTasks(t.Context(), pool, after, limit)
	})
}

func keptMessages(t testing.TB, s store.Store, pool string) []park.KeptMessage {
	return readAll(t, func(after string, limit int) ([]park.KeptMessage, string, error) {
		return asEvidence(t, s).KeptMessages(t.Context(), pool, after, limit)
	})
}

func testKept(t *testing.T, s store.Store) {
	row, err := asEvidence(t, s).Row(t.Context(), "gpu")
	equal(t, "row of no pool", row, ledger.Pool{})
	if err != nil {
		t.Fatal(err)
	}
	models := commitAged(t, s, 7)
	for pool, model := range models {
		row, err := asEvidence(t, s).Row(t.Context(), pool)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "row", row, model.Row)
		var want []park.KeptTask
		for _, id := range model.wantList(park.TaskQuery{}) {
			want = append(want, model.Tasks[id].Evidence())
		}
		equal(t, "tasks", keptTasks(t, s, pool), want)
	}
	var want []park.KeptMessage
	for i := range 5 {
		m := newMessage("mail", i)
		deliver(t, s, m, newMessage("other", i))
		k := park.KeptMessage{
			TaskID: m.TaskID, Tenant: m.Tenant, MailboxKey: m.Key, Status: m.Status, Attempt: m.Attempt, Reason: m.Reason,
			CreatedAt: m.CreatedAt, Said: ledger.OutcomeDigest(m.Message, m.Payload),
		}
		want = append(want, k)
	}
	equal(t, "messages", keptMessages(t, s, "mail"), want)
}

func testKeptTrimmed(t *testing.T, s store.Store) {
	deliver(t, s, newMessage("gpu", 0), newMessage("gpu", 1), newMessage("gpu", 2))
	found := messages(t, s, aliceBox())
	if err := s.Trim(t.Context(), "acme", "alice", found[1].ID); err != nil {
		t.Fatal(err)
	}
	kept := keptMessages(t, s, "gpu")
	equal(t, "messages", len(kept), len(found))
	for i, m := range found {
		k := kept[i]
		equal(t, "trimmed", k.Trimmed, i < 2)
		equal(t, "message", []any{k.TaskID, k.Tenant, k.MailboxKey, k.Status, k.Attempt, k.CreatedAt}, []any{m.TaskID, m.Tenant, m.Key, m.Status, m.Attempt, m.CreatedAt})
	}
}

// marks returns the marks of what was removed from a pool.
func marks(t testing.TB, s store.Store, pool string) store.Marks {
	t.Helper()
	m, err := asEvidence(t, s).Marks(t.Context(), pool)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func testMarks(t *testing.T, s store.Store) {
	models := commitAged(t, s, 8)
	for pool := range models {
		equal(t, "marks before anything was removed", marks(t, s, pool), store.Marks{})
	}
	var upTo park.Time
	late := park.At(Epoch().Add(3*time.Hour + time.Minute))
	for _, before := range []park.Time{atHour(2), late, atHour(1), atHour(5)} {
		pruneAll(t, s.PruneEvents, before, 3)
		if upTo.Before(before.Time) {
			upTo = before
		}
		for pool, model := range models {
			log := store.Marks{}.Log
			for _, e := range model.Log {
				if e.At.Before(upTo.Time) {
					log.Rev, log.Before = e.Rev, park.FromMicro(e.At.Micro()+1)
				}
			}
			equal(t, "the mark of the log", marks(t, s, pool).Log, log)
		}
	}
	pruneAll(t, s.PruneMessages, atHour(-1), 3)
	pruneAll(t, s.PruneTasks, atHour(-1), 3)
	m := marks(t, s, "gpu")
	equal(t, "the marks where nothing was old", []park.Mark{m.Messages, m.Tasks}, []park.Mark{{}, {}})
	pruneAll(t, s.PruneMessages, atHour(9), 3)
	pruneAll(t, s.PruneTasks, atHour(4), 3)
	pruneAll(t, s.PruneTasks, atHour(3), 3)
	m = marks(t, s, "gpu")
	equal(t, "the marks of messages and tasks", []park.Mark{m.Messages, m.Tasks}, []park.Mark{{Before: atHour(9)}, {Before: atHour(4)}})
}

func testBadKeptCursor(t *testing.T, s store.Store) {
	populate(t, s)
	for _, cursor := range badCursors() {
		_, _, err := asEvidence(t, s).KeptTasks(t.Context(), "gpu", cursor, 1)
		wantInvalid(t, "cursor of tasks "+cursor, err)
		_, _, err = asEvidence(t, s).KeptMessages(t.Context(), "gpu", cursor, 1)
		wantInvalid(t, "cursor of messages "+cursor, err)
		if err != nil && !strings.Contains(err.Error(), "cursor") {
			t.Errorf("cursor of messages %s: the error does not say what is wrong: %v", cursor, err)
		}
	}
	if kept, next, err := asEvidence(t, s).KeptMessages(t.Context(), "gpu", strconv.FormatInt(math.MaxInt64, 10), 1); len(kept) > 0 || next != "" || err != nil {
		t.Errorf("behind the last message there are %v, next %q: %v", kept, next, err)
	}
}

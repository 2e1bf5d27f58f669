package engine_test

import (
	"context"
	"fmt"
	"reflect"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/memory"
)

// evidenceFake is a store whose marks a test sets, and that fails in one way at a time.
type evidenceFake struct {
	*memory.Store
	marks   store.Marks
	failing atomic.Value // a string
}

func (k *evidenceFake) failsOn(what string) error {
	if k.failing.Load() == what {
		return errGone
	}
	return nil
}

func (k *evidenceFake) Row(ctx context.Context, pool string) (ledger.Pool, error) {
	if err := k.failsOn("row"); err != nil {
		return ledger.Pool{}, err
	}
	if k.failing.Load() == "no row" {
		return ledger.Pool{}, nil
	}
	return k.Store.Row(ctx, pool)
}

func (k *evidenceFake) Marks(context.Context, string) (store.Marks, error) {
	return k.marks, k.failsOn("marks")
}

func (k *evidenceFake) Outbox(ctx context.Context, dest string, now park.Time, limit int) ([]store.OutboxEntry, error) {
	if err := k.failsOn("outbox"); err != nil {
		return nil, err
	}
	return k.Store.Outbox(ctx, dest, now, limit)
}

func (k *evidenceFake) Events(ctx context.Context, q park.AuditQuery) ([]park.Event, error) {
	if err := k.failsOn("events"); err != nil {
		return nil, err
	}
	return k.Store.Events(ctx, q)
}

func (k *evidenceFake) KeptTasks(ctx context.Context, pool, after string, limit int) ([]park.KeptTask, string, error) {
	if err := k.failsOn("tasks"); err != nil {
		return nil, "", err
	}
	return k.Store.KeptTasks(ctx, pool, after, limit)
}

func (k *evidenceFake) KeptMessages(ctx context.Context, pool, after string, limit int) ([]park.KeptMessage, string, error) {
	if err := k.failsOn("messages"); err != nil {
		return nil, "", err
	}
	return k.Store.KeptMessages(ctx, pool, after, limit)
}

func (k *evidenceFake) Append(ctx context.Context, e []park.Event) error {
	if err := k.failsOn("delivery"); err != nil {
		return err
	}
	return k.Store.Append(ctx, e)
}

func (k *evidenceFake) Deliver(ctx context.Context, m []park.Message) error {
	if err := k.failsOn("delivery"); err != nil {
		return err
	}
	return k.Store.Deliver(ctx, m)
}

// openEvidence opens an engine with given backends for the queue, the mailboxes and the log.
func openEvidence(t *testing.T, stores map[park.Backend]store.Store, queue, mail, audit park.Backend) *harness {
	p := poolConfig("cpu", 3, sleepExecutor())
	p.QueueBackend, p.MailboxBackend = queue, mail
	return openEngine(t, engine.Config{Pools: []engine.Pool{p}, Audit: audit, Stores: stores, Retention: time.Hour})
}

func (b *harness) evidence() park.Evidence {
	b.Helper()
	got, err := b.Evidence(b.Context(), "cpu")
	if err != nil {
		b.Fatal(err)
	}
	return got
}

func evidenceMark(rev int64, at time.Time) park.Mark { return park.Mark{Rev: rev, Before: park.At(at)} }

// TestEvidence: what a pool's stores hold of it, where all is in one store and where each has its own.
func TestEvidence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		marks := store.Marks{Log: evidenceMark(0, began.Add(1)), Tasks: evidenceMark(0, began.Add(2*time.Second)), Messages: evidenceMark(0, began.Add(3*time.Second))}
		one := &evidenceFake{Store: memory.New(), marks: marks}
		b := openEvidence(t, map[park.Backend]store.Store{park.InMemory: one}, park.InMemory, park.InMemory, park.InMemory)
		time.Sleep(time.Second)
		b.submit("cpu", withID("a", sleepFor(10_000)))
		want := park.Evidence{
			PoolID: "cpu", Rev: 1, LastAt: park.At(time.Now()), MaxUnits: 3, MaxQueueDepth: 100_000, State: park.Active, UsedUnits: 1,
			QueueBackend: park.InMemory, MailboxBackend: park.InMemory, AuditBackend: park.InMemory,
			Log: marks.Log, Tasks: marks.Tasks, Messages: marks.Messages, Retention: park.Duration(time.Hour),
		}
		if got := b.evidence(); got != want {
			t.Errorf("one store: %+v\nwant %+v", got, want)
		}
		one.failing.Store("no row")
		want.Rev, want.LastAt, want.UsedUnits = 0, park.Time{}, 0
		if got := b.evidence(); got != want {
			t.Errorf("a pool that was never there: %+v\nwant %+v", got, want)
		}
		b.closeNow()
	})
}

// TestEvidenceOfSeveralStores: what does not outlive the daemon has nothing of what is older, and what is on its way is told.
func TestEvidenceOfSeveralStores(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		queue, began := memory.New(), time.Now()
		b := openEvidence(t, map[park.Backend]store.Store{park.File: queue}, park.File, park.File, park.File)
		b.submit("cpu", withID("before", sleepFor(10)))
		b.awaitTask("cpu", "before")
		b.closeNow()
		last, err := queue.Row(t.Context(), "cpu")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		gone := &evidenceFake{Store: memory.New()}
		kept := &evidenceFake{Store: queue}
		b = openEvidence(t, map[park.Backend]store.Store{park.File: kept, park.InMemory: gone}, park.File, park.InMemory, park.InMemory)
		at := park.FromMicro(last.LastAt.Micro() + 1)
		got := b.evidence()
		if want := (park.Mark{Rev: last.Rev, Before: at, Memory: true}); !got.EventsApart || got.Log != want {
			t.Errorf("the log begins after %+v, not %+v", got.Log, want)
		}
		if want := (park.Mark{Before: at, Memory: true}); !got.MessagesApart || got.Messages != want {
			t.Errorf("messages begin after %+v, not %+v", got.Messages, want)
		}
		// What was pruned since says more than that.
		gone.marks = store.Marks{Log: evidenceMark(last.Rev+1, time.Now()), Messages: evidenceMark(0, at.Time)}
		if got := b.evidence(); got.Log != gone.marks.Log || got.Messages != gone.marks.Messages {
			t.Errorf("after pruning: %+v, %+v", got.Log, got.Messages)
		}
		gone.marks = store.Marks{Log: evidenceMark(last.Rev, time.Now()), Messages: evidenceMark(0, at.Add(-time.Microsecond))}
		if got := b.evidence(); !got.Log.Memory || !got.Messages.Memory {
			t.Errorf("just not: %+v, %+v", got.Log, got.Messages)
		}
		if !got.EventsOwed.IsZero() || !got.MessagesOwed.IsZero() {
			t.Errorf("owes events since %s and messages since %s", got.EventsOwed, got.MessagesOwed)
		}
		gone.failing.Store("delivery")
		b.submit("cpu", withID("a", sleepFor(1000)))
		since := park.At(time.Now())
		b.awaitTask("cpu", "a")
		time.Sleep(time.Hour) // so that they are put off
		got = b.evidence()
		if got.EventsOwed != since || got.MessagesOwed != park.At(since.Add(time.Second)) {
			t.Errorf("owes events since %s and messages since %s, not %s", got.EventsOwed, got.MessagesOwed, since)
		}
		gone.failing.Store("")
		b.closeNow()
		// What outlives the daemon has what it has, although it is apart.
		marks := store.Marks{Log: evidenceMark(0, began), Messages: evidenceMark(0, began)}
		b = openEvidence(t, map[park.Backend]store.Store{park.File: kept, park.Postgres: &evidenceFake{Store: memory.New(), marks: marks}}, park.File, park.Postgres, park.Postgres)
		if got := b.evidence(); !got.EventsApart || got.Log != marks.Log || got.Messages != marks.Messages {
			t.Errorf("apart, and kept: %+v, %+v", got.Log, got.Messages)
		}
		b.closeNow()
	})
}

// noEvidence is a store that does not implement store.Evidence.
type noEvidence struct{ store.Store }

// TestEvidenceCannotBeRead: where a store fails it is said so, and nothing is told that may be wrong.
func TestEvidenceCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		queue, mail, log := &evidenceFake{Store: memory.New()}, &evidenceFake{Store: memory.New()}, &evidenceFake{Store: memory.New()}
		b := openEvidence(t, map[park.Backend]store.Store{park.InMemory: queue, park.File: mail, park.Postgres: log}, park.InMemory, park.File, park.Postgres)
		defer b.closeNow()
		ctx := t.Context()
		all := func(pool, cursor string) map[string]error {
			q := park.KeptQuery{Cursor: cursor}
			_, err1 := b.Evidence(ctx, pool)
			events, err2 := b.KeptEvents(ctx, pool, q)
			tasks, err3 := b.KeptTasks(ctx, pool, q)
			messages, err4 := b.KeptMessages(ctx, pool, q)
			if err2 != nil && events.Items != nil || err3 != nil && tasks.Items != nil || err4 != nil && messages.Items != nil {
				t.Error("a page comes with an error")
			}
			return map[string]error{"evidence": err1, "events": err2, "tasks": err3, "messages": err4}
		}
		for what, err := range all("cpu", "") {
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
		for what, err := range all("nowhere", "") {
			if park.CodeOf(err) != park.PoolNotFound {
				t.Errorf("%s of no pool: %v", what, err)
			}
		}
		if err := all("cpu", "what")["events"]; park.CodeOf(err) != park.InvalidRequest {
			t.Errorf("after no event: %v", err)
		}
		for what, of := range map[*evidenceFake]map[string]string{
			queue: {"row": "evidence", "outbox": "evidence", "marks": "evidence", "tasks": "tasks"},
			mail:  {"marks": "evidence", "messages": "messages"},
			log:   {"marks": "evidence", "events": "events"},
		} {
			for fails, hurts := range of {
				what.failing.Store(fails)
				if err := all("cpu", "")[hurts]; park.CodeOf(err) != park.StorageUnavailable {
					t.Errorf("%s with %s out of reach: %v", hurts, fails, err)
				}
				what.failing.Store("")
			}
		}
		for place, stores := range map[string]map[park.Backend]store.Store{
			"queue": {park.InMemory: noEvidence{memory.New()}, park.File: mail},
			"mail":  {park.InMemory: memory.New(), park.File: noEvidence{memory.New()}},
		} {
			b := openEvidence(t, stores, park.InMemory, park.File, park.InMemory)
			if _, err := b.Evidence(ctx, "cpu"); park.CodeOf(err) != park.InvalidRequest {
				t.Errorf("a %s that shows nothing: %v", place, err)
			}
			_, err1 := b.KeptTasks(ctx, "cpu", park.KeptQuery{})
			_, err2 := b.KeptMessages(ctx, "cpu", park.KeptQuery{})
			if place == "queue" && park.CodeOf(err1) != park.InvalidRequest || place == "mail" && park.CodeOf(err2) != park.InvalidRequest {
				t.Errorf("a %s that shows nothing: %v, %v", place, err1, err2)
			}
			b.closeNow()
		}
	})
}

// readAllKept reads all pages of kept items, a few items at a time.
func readAllKept[T any](t *testing.T, read func(ctx context.Context, pool string, q park.KeptQuery) (park.KeptPage[T], error)) (all []T) {
	t.Helper()
	q := park.KeptQuery{Limit: 2}
	for range 10 {
		page, err := read(t.Context(), "cpu", q)
		if err != nil || len(page.Items) > 2 {
			t.Fatalf("a page of %d: %v", len(page.Items), err)
		}
		all = append(all, page.Items...)
		if q.Cursor = page.Next; q.Cursor == "" {
			return all
		}
	}
	t.Fatal("there is no last page")
	return nil
}

// TestKeptPages: page by page all comes once.
func TestKeptPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openEngine(t, engine.Config{Pools: []engine.Pool{poolConfig("cpu", 3, sleepExecutor()), poolConfig("io", 3, sleepExecutor())}})
		defer b.closeNow()
		for i := range 5 {
			b.submit("cpu", withID(fmt.Sprint(i), sleepFor(10)))
			b.awaitTask("cpu", fmt.Sprint(i))
		}
		b.submit("io", withID("other", sleepFor(10)))
		b.awaitTask("io", "other")
		events := b.events(park.AuditQuery{PoolID: "cpu", Changes: true})
		if got := readAllKept(t, b.KeptEvents); !reflect.DeepEqual(got, events) || len(got) < 15 {
			t.Errorf("%d events are kept, and not %d", len(got), len(events))
		}
		late, err := b.KeptEvents(t.Context(), "cpu", park.KeptQuery{Since: events[len(events)-1].At})
		if err != nil || len(late.Items) == 0 || len(late.Items) == len(events) || late.Next != "" {
			t.Errorf("since the last: %d events, next %q, %v", len(late.Items), late.Next, err)
		}
		other := b.events(park.AuditQuery{PoolID: "io"})
		if page, err := b.KeptEvents(t.Context(), "cpu", park.KeptQuery{Cursor: other[0].EventID}); park.CodeOf(err) != park.InvalidRequest {
			t.Errorf("after an event of another pool: %d events, %v", len(page.Items), err)
		}
		if got := readAllKept(t, b.KeptTasks); len(got) != 5 {
			t.Errorf("kept tasks: %+v", got)
		}
		if got := readAllKept(t, b.KeptMessages); len(got) != 5 {
			t.Errorf("kept messages: %+v", got)
		}
	})
}

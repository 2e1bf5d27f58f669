package storetest

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// What lies in the stores in blocks: Postgres has 64 events or messages in one, SQLite 128 events in a span and 16 rows in an
// insertion, memory 256 items in a chunk. Wide streams have steps and pages about each of these, and of several blocks.

// wideOf is of how many streams one is wide.
const wideOf = 3

func blockSizes() []int { return []int{64, 128, 16, 256, 512} }

// aboutBlock draws a number that fills blocks, or is one more or less.
func aboutBlock(rt *rapid.T) int {
	return rapid.SampledFrom(blockSizes()).Draw(rt, "blocks") + rapid.IntRange(-1, 1).Draw(rt, "about the block")
}

// features are what streams are to be made of. One that never occurs tests nothing.
func features() []string {
	return []string{
		"wide stream", "wide submissions", "wide ends", "wide page", "full page", "events in a page", "messages in a page", "tasks in a page",
		"parcels", "parcels settled in part", "wide parcels", "parcel of an event", "pruned in a wide stream",
		"kept", "kept messages", "mark of the log", "mark of the tasks", "mark of the messages",
		"trimmed", "conflict", "empty step", "odd tenant",
	}
}

// census counts features over all streams of a test.
type census map[string]int

// fewStreams are too few for each feature to occur.
const fewStreams = 400

func (c census) check(t *testing.T, streams int) {
	t.Helper()
	t.Logf("%d streams: %v", streams, map[string]int(c))
	if t.Failed() || streams < fewStreams {
		return
	}
	for _, f := range features() {
		if c[f] == 0 {
			t.Errorf("no stream had this: %s", f)
		}
	}
}

// wideStep commits a step of about as many events as fill blocks: of submissions, or of runs with messages and parcels.
func (m *machine) wideStep(rt *rapid.T) {
	f, i := m.draw(rt)
	n := aboutBlock(rt)
	if rapid.IntRange(0, 3).Draw(rt, "ends") > 0 && len(f.Queued) > 0 {
		m.seen["wide ends"]++
		m.endMany(rt, f, min(n, len(f.Queued)))
	} else {
		m.seen["wide submissions"]++
		m.submitMany(rt, f, n)
	}
	m.send(rt, f, i)
}

// submitMany makes n events.
func (m *machine) submitMany(rt *rapid.T, f *Feed, n int) {
	all, shift := tenants(), rapid.IntRange(0, 7).Draw(rt, "tenants from")
	alone := rapid.Bool().Draw(rt, "one tenant")
	if n%2 == 1 {
		f.Event(park.ActUpdate, nil, `{}`)
	}
	for k := range n / 2 {
		f.Submit(func(r *ledger.Record) {
			if r.Tenant = all[shift%len(all)]; !alone {
				r.Tenant = all[(k+shift)%len(all)]
			}
			r.MailboxKey = keys()[k%3]
		})
	}
}

// endMany ends n tasks, each with a message where it has a mailbox, and some with parcels.
func (m *machine) endMany(rt *rapid.T, f *Feed, n int) {
	every := rapid.IntRange(1, 5).Draw(rt, "a parcel for every")
	for k, id := range append([]string(nil), f.Queued[:n]...) {
		r := f.End(f.Start(id).TaskID, park.Completed, `{"ok":true}`)
		if k%every == 0 {
			m.post(f, r, k%2 == 0)
		}
	}
}

// post owes the end of a task to another place, as a message or as an event.
func (m *machine) post(f *Feed, r *ledger.Record, event bool) {
	m.posted++
	if event {
		m.seen["parcel of an event"]++
		e := f.step.Events[len(f.step.Events)-1]
		m.owe(f, store.OutboxEntry{Dest: "audit/postgres", Attempts: m.posted, Event: &e})
		return
	}
	msg := f.Message(r)
	m.owe(f, store.OutboxEntry{Dest: "notify/gpu", Attempts: m.posted, Message: &msg})
}

func (m *machine) owe(f *Feed, p store.OutboxEntry) {
	f.Post(p)
	m.owed = append(m.owed, p.Dest)
}

// empty commits a step in which nothing happens.
func (m *machine) empty(rt *rapid.T) {
	m.seen["empty step"]++
	f, i := m.draw(rt)
	m.send(rt, f, i)
}

// evidence reads all that is kept of a pool as evidence, by pages.
func (m *machine) evidence(rt *rapid.T) {
	f, _ := m.draw(rt)
	limit := m.limit(rt)
	m.seen["kept"]++
	ask(rt, m, "row kept", func(_ int, s store.Store) (ledger.Pool, error) {
		return evidenceOf(rt, s).Row(rt.Context(), f.pool)
	})
	marks := ask(rt, m, "marks", func(_ int, s store.Store) (store.Marks, error) {
		return evidenceOf(rt, s).Marks(rt.Context(), f.pool)
	})
	for what, mark := range map[string]park.Mark{"log": marks[0].Log, "tasks": marks[0].Tasks, "messages": marks[0].Messages} {
		if mark != (park.Mark{}) {
			m.seen["mark of the "+what]++
		}
	}
	ask(rt, m, "tasks kept", func(_ int, s store.Store) ([]park.KeptTask, error) {
		return allPages(func(after string) ([]park.KeptTask, string, error) {
			return evidenceOf(rt, s).KeptTasks(rt.Context(), f.pool, after, limit)
		})
	})
	messages := ask(rt, m, "messages kept", func(_ int, s store.Store) ([]park.KeptMessage, error) {
		kept, err := allPages(func(after string) ([]park.KeptMessage, string, error) {
			return evidenceOf(rt, s).KeptMessages(rt.Context(), f.pool, after, limit)
		})
		for k := range kept {
			if kept[k].Trimmed {
				kept[k].Reason = "" // a store may keep it
			}
		}
		return kept, err
	})
	m.seen["kept messages"] += len(messages[0])
	ask(rt, m, "last rev", func(_ int, s store.Store) ([2]int64, error) {
		rev, at, err := s.LastRev(rt.Context(), f.pool)
		return [2]int64{rev, at.Micro()}, err
	})
}

func evidenceOf(rt *rapid.T, s store.Store) store.Evidence {
	e, ok := s.(store.Evidence)
	if !ok {
		rt.Fatal("the store does not show what it keeps")
	}
	return e
}

func allPages[T any](read func(after string) ([]T, string, error)) (all []T, err error) {
	for after := ""; ; {
		page, next, err := read(after)
		all = append(all, page...)
		if after = next; err != nil || after == "" {
			return all, err
		}
	}
}

// page notes what a page of n items of a kind was.
func (m *machine) page(what string, n, limit int) {
	if n > 0 {
		m.seen[what+" in a page"]++
	}
	if n == limit && n > 6 {
		m.seen["full page"]++
	}
}

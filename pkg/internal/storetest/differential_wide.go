package storetest

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// Stores keep rows in blocks: Postgres 64 events or messages, SQLite 128 events in a span and 16 rows in an insert,
// memory 256 items in a chunk. Wide streams have steps and pages of about these sizes, and of several blocks.

// wideOneIn is how many streams there are for each wide one.
const wideOneIn = 3

func blockSizes() []int { return []int{64, 128, 16, 256, 512} }

// nearBlockSize draws the size of one or more blocks, or one more or less.
func nearBlockSize(rt *rapid.T) int {
	return rapid.SampledFrom(blockSizes()).Draw(rt, "blocks") + rapid.IntRange(-1, 1).Draw(rt, "about the block")
}

// features returns what streams must contain. The test fails if one of them never occurs.
func features() []string {
	return []string{
		"wide stream", "wide submissions", "wide ends", "wide page", "full page", "events in a page", "messages in a page", "tasks in a page",
		"entries", "entries settled in part", "wide entries", "entry of an event", "pruned in a wide stream",
		"kept", "kept messages", "mark of the log", "mark of the tasks", "mark of the messages",
		"trimmed", "conflict", "empty step", "odd tenant",
	}
}

// coverage counts the features in all streams of a test.
type coverage map[string]int

// minStreams is the number of streams from which each feature must occur.
const minStreams = 400

// checkAll fails the test if a feature occurred in none of many streams.
func (c coverage) checkAll(t *testing.T, streams int) {
	t.Helper()
	t.Logf("%d streams: %v", streams, map[string]int(c))
	if t.Failed() || streams < minStreams {
		return
	}
	for _, f := range features() {
		if c[f] == 0 {
			t.Errorf("no stream had this: %s", f)
		}
	}
}

// wideStep commits a step with about as many events as fill blocks, from submissions or from ended tasks.
func (m *machine) wideStep(rt *rapid.T) {
	model, i := m.drawModel(rt)
	n := nearBlockSize(rt)
	if rapid.IntRange(0, 3).Draw(rt, "ends") > 0 && len(model.Queued) > 0 {
		m.covered["wide ends"]++
		m.endMany(rt, model, min(n, len(model.Queued)))
	} else {
		m.covered["wide submissions"]++
		m.submitMany(rt, model, n)
	}
	m.commitStep(rt, model, i)
}

// submitMany adds n events.
func (m *machine) submitMany(rt *rapid.T, model *Model, n int) {
	all, shift := tenants(), rapid.IntRange(0, 7).Draw(rt, "tenants from")
	alone := rapid.Bool().Draw(rt, "one tenant")
	if n%2 == 1 {
		model.Event(park.ActUpdate, nil, `{}`)
	}
	for k := range n / 2 {
		model.Submit(func(r *ledger.Record) {
			if r.Tenant = all[shift%len(all)]; !alone {
				r.Tenant = all[(k+shift)%len(all)]
			}
			r.MailboxKey = keys()[k%3]
		})
	}
}

// endMany ends n tasks. Each with a mailbox leaves a message, and some leave entries.
func (m *machine) endMany(rt *rapid.T, model *Model, n int) {
	every := rapid.IntRange(1, 5).Draw(rt, "a entry for every")
	for k, id := range append([]string(nil), model.Queued[:n]...) {
		r := model.End(model.Start(id).TaskID, park.Completed, `{"ok":true}`)
		if k%every == 0 {
			m.addEndParcel(model, r, k%2 == 0)
		}
	}
}

// addEndParcel adds an outbox entry with the end of a task, as a message or as an event.
func (m *machine) addEndParcel(model *Model, r *ledger.Record, event bool) {
	m.parcelCount++
	if event {
		m.covered["entry of an event"]++
		e := model.step.Events[len(model.step.Events)-1]
		m.addParcel(model, store.OutboxEntry{Dest: "audit/postgres", Attempts: m.parcelCount, Event: &e})
		return
	}
	msg := model.Message(r)
	m.addParcel(model, store.OutboxEntry{Dest: "notify/gpu", Attempts: m.parcelCount, Message: &msg})
}

// addParcel adds an outbox entry to the open step.
func (m *machine) addParcel(model *Model, p store.OutboxEntry) {
	model.AddOutboxEntry(p)
	m.parcelDests = append(m.parcelDests, p.Dest)
}

// empty commits a step without changes.
func (m *machine) empty(rt *rapid.T) {
	m.covered["empty step"]++
	model, i := m.drawModel(rt)
	m.commitStep(rt, model, i)
}

// evidence reads all that the stores keep of a pool as evidence, page by page.
func (m *machine) evidence(rt *rapid.T) {
	model, _ := m.drawModel(rt)
	limit := m.drawLimit(rt)
	m.covered["kept"]++
	compare(rt, m, "row kept", func(_ int, s store.Store) (ledger.Pool, error) {
		return evidenceOf(rt, s).Row(rt.Context(), model.pool)
	})
	marks := compare(rt, m, "marks", func(_ int, s store.Store) (store.Marks, error) {
		return evidenceOf(rt, s).Marks(rt.Context(), model.pool)
	})
	for what, mark := range map[string]park.Mark{"log": marks[0].Log, "tasks": marks[0].Tasks, "messages": marks[0].Messages} {
		if mark != (park.Mark{}) {
			m.covered["mark of the "+what]++
		}
	}
	compare(rt, m, "tasks kept", func(_ int, s store.Store) ([]park.KeptTask, error) {
		return readAllPages(func(after string) ([]park.KeptTask, string, error) {
			return evidenceOf(rt, s).KeptTasks(rt.Context(), model.pool, after, limit)
		})
	})
	messages := compare(rt, m, "messages kept", func(_ int, s store.Store) ([]park.KeptMessage, error) {
		kept, err := readAllPages(func(after string) ([]park.KeptMessage, string, error) {
			return evidenceOf(rt, s).KeptMessages(rt.Context(), model.pool, after, limit)
		})
		for k := range kept {
			if kept[k].Trimmed {
				kept[k].Reason = "" // a store may keep it
			}
		}
		return kept, err
	})
	m.covered["kept messages"] += len(messages[0])
	compare(rt, m, "last rev", func(_ int, s store.Store) ([2]int64, error) {
		rev, at, err := s.LastRev(rt.Context(), model.pool)
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

func readAllPages[T any](read func(after string) ([]T, string, error)) (all []T, err error) {
	for after := ""; ; {
		page, next, err := read(after)
		all = append(all, page...)
		if after = next; err != nil || after == "" {
			return all, err
		}
	}
}

// countPage counts the features of a page of n items.
func (m *machine) countPage(what string, n, limit int) {
	if n > 0 {
		m.covered[what+" in a page"]++
	}
	if n == limit && n > 6 {
		m.covered["full page"]++
	}
}

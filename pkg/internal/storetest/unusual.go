package storetest

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

func unusualTests() storeTests {
	return storeTests{
		"text of any kind":               testText,
		"names that are easily confused": testAlike,
		"numbers at their bounds":        testBounds,
		"distant times":                  testFarTimes,
		"a payload of 1 MiB":             testBigPayload,
		"payloads byte by byte":          testPayloadBytes,
	}
}

// unusualTexts returns texts that a faulty store might change, confuse or refuse. No two are equal.
func unusualTexts() []string {
	return []string{
		"é", "e\u0301", // look the same
		"straße", "STRASSE", "a", "A", "a ", " a", "a\t", "a\n", "a\r\n",
		"\u0001\u001f\u007f", "\u200b", "\ufeff", "\ufffd", "\U0010ffff", "👩‍👩‍👧‍👦", "שלום", "日本語",
		"'", "''", `"`, "`", `\`, `\'`, "%", "_", "a%", "a_", "?", "$1", ":name", "@x", "{}", `{"a":1}`, "[]", "null", "NULL", "0", "00", "-0", "1e3", "true",
		"'; DROP TABLE pl_queue_jobs; --", "../../etc/passwd", "a/b", "a:b", "a,b", "\\N", "\\x00", "%00", "&amp;", "<script>",
		strings.Repeat("k", 256), strings.Repeat("k", 255) + "l", strings.Repeat("ü", 128), strings.Repeat("\U0010ffff", 64),
	}
}

func testText(t *testing.T, s store.Store) {
	row := ledger.Pool{Rev: 1, State: park.Active, LastStep: "'; --"}
	step := &store.Step{PoolID: "gpu", ID: row.LastStep, Row: row}
	for i, x := range unusualTexts() {
		step.Inserts = append(step.Inserts, ledger.Record{
			Spec: ledger.Spec{
				PoolID: "gpu", TaskID: x, Tenant: x, MailboxKey: x, WorkDir: x, Command: []string{x, "", x}, Payload: quote(x),
			},
			State: ledger.State{Status: park.Failed, Node: x, Lease: x, Reason: x, Message: x, Result: quote(x)},
		})
		step.Events = append(step.Events, park.Event{
			EventID: park.EventID("gpu", 1, i), Rev: 1, Ord: i, Action: park.ActFail, PoolID: "gpu", TaskID: x, Tenant: x, Node: x, Detail: quote(x),
		})
		step.Messages = append(step.Messages, park.Message{
			TaskID: x, PoolID: "gpu", Status: park.Failed, Reason: x, Message: x, Payload: quote(x), Tenant: x, Key: x,
		})
		step.Outbox = append(step.Outbox, store.OutboxEntry{Dest: x, Message: &step.Messages[i]}, store.OutboxEntry{Dest: x, Event: &step.Events[i]})
	}
	commit(t, s, step)
	for i, x := range unusualTexts() {
		equal(t, "task", records(t, s, "gpu", x), step.Inserts[i:i+1])
		found, _ := list(t, s, "gpu", park.TaskQuery{Tenant: x, Limit: 10})
		equal(t, "listed", ids(found), []string{x})
		equal(t, "messages", withoutIDs(messages(t, s, park.MailboxQuery{Tenant: x, Key: x})), step.Messages[i:i+1])
		equal(t, "by task", events(t, s, park.AuditQuery{TaskID: x}), step.Events[i:i+1])
		equal(t, "by tenant", events(t, s, park.AuditQuery{Tenant: x}), step.Events[i:i+1])
		entries := outbox(t, s, x, park.Time{}, 10)
		equal(t, "entries", len(entries), 2)
		equal(t, "message", *entries[0].Message, step.Messages[i])
		equal(t, "event", *entries[1].Event, step.Events[i])
	}
	equal(t, "row", load(t, s, "gpu").Row, row)
}

// quote returns a text as JSON.
func quote(x string) json.RawMessage {
	b, _ := json.Marshal(x)
	return b
}

// testAlike has a mailbox for every pair of some names, whose concatenations are ambiguous.
func testAlike(t *testing.T, s store.Store) {
	names := []string{"a", "b", "ab", "a/b", "a:b", "", "A", "a ", "é", "e\u0301"}
	n := 0
	for _, tenant := range names {
		for _, key := range names {
			m := newMessage("gpu", n)
			m.Tenant, m.Key = tenant, key
			deliver(t, s, m)
			n++
		}
	}
	n = 0
	for _, tenant := range names {
		for _, key := range names {
			found := messages(t, s, park.MailboxQuery{Tenant: tenant, Key: key})
			if len(found) != 1 || found[0].TaskID != newMessage("gpu", n).TaskID {
				t.Fatalf("mailbox %q/%q has %+v", tenant, key, found)
			}
			n++
		}
	}
}

func testBounds(t *testing.T, s store.Store) {
	row := ledger.Pool{
		Rev: 1, MaxUnits: math.MaxInt64, MaxQueueDepth: park.MaxQueueDepth, State: park.Active, Used: math.MaxInt64,
		Queued: math.MaxInt32, ConfiguredUnits: math.MaxInt64, ConfiguredDepth: math.MaxInt32, LastStep: "step",
	}
	var recs []ledger.Record
	for i, n := range []int64{math.MaxInt64, math.MinInt64, -1, 1} {
		recs = append(recs, ledger.Record{
			Spec: ledger.Spec{
				PoolID: "gpu", TaskID: string(rune('a' + i)), Units: n, Timeout: time.Duration(n), Digest: uint64(n),
				Priority: park.Priorities()[i], Retry: park.Retry{MaxAttempts: math.MaxInt32, Backoff: park.Duration(n)},
			},
			State: ledger.State{Status: park.Running, Rank: n, Attempt: math.MaxInt32, Failures: math.MaxInt32, LeaseTTL: time.Duration(n)},
		})
	}
	e := park.Event{EventID: park.EventID("gpu", 1, math.MaxInt32), Rev: 1, Ord: math.MaxInt32, Action: park.ActStart, PoolID: "gpu", Units: math.MaxInt64, Attempt: math.MaxInt32}
	commit(t, s, &store.Step{PoolID: "gpu", ID: "step", Row: row, Inserts: recs, Events: []park.Event{e}})
	equal(t, "snapshot", load(t, s, "gpu"), store.Snapshot{Row: row, Tasks: recs})
	equal(t, "records", records(t, s, "gpu", "a", "b", "c", "d"), recs)
	equal(t, "events", events(t, s, park.AuditQuery{}), []park.Event{e})
}

func testFarTimes(t *testing.T, s store.Store) {
	first := park.At(time.Date(1970, 1, 1, 0, 0, 0, 1000, time.UTC))
	last := park.At(time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC))
	row := ledger.Pool{Rev: 1, State: park.Active, LastAt: last, LastStep: "step"}
	recs := []ledger.Record{
		{Spec: ledger.Spec{PoolID: "gpu", TaskID: "a", SubmittedAt: first, Deadline: last}, State: ledger.State{Status: park.Queued, NotBefore: last}},
		{Spec: ledger.Spec{PoolID: "gpu", TaskID: "b", SubmittedAt: last}, State: ledger.State{Status: park.Failed, StartedAt: first, EndedAt: last}},
	}
	commit(t, s, &store.Step{PoolID: "gpu", ID: "step", Row: row, Inserts: recs})
	equal(t, "records", records(t, s, "gpu", "a", "b"), recs)
	equal(t, "row", load(t, s, "gpu").Row, row)

	at := []park.Time{first, last, first, park.At(Epoch())}
	for i, us := range at {
		m := newMessage("gpu", i)
		m.CreatedAt = us
		deliver(t, s, m)
		appendEvents(t, s, park.Event{PoolID: "gpu", Rev: 1, Ord: i, At: us, Action: park.ActSubmit})
	}
	count := func(q park.AuditQuery) int {
		n := len(events(t, s, q))
		if q.Until.IsZero() {
			box := aliceBox()
			box.Since = q.Since
			equal(t, "messages", len(messages(t, s, box)), n)
		}
		return n
	}
	equal(t, "all", count(park.AuditQuery{Since: first}), 4)
	equal(t, "since the epoch", count(park.AuditQuery{Since: park.At(Epoch())}), 2)
	equal(t, "since the last", count(park.AuditQuery{Since: last}), 1)
	equal(t, "until the last", count(park.AuditQuery{Until: last}), 3)
	equal(t, "until the first", count(park.AuditQuery{Until: first}), 0)
	epoch := park.Time{Time: time.Unix(0, 0).UTC()}
	equal(t, "until 1970", count(park.AuditQuery{Until: epoch}), 0)
	equal(t, "until 1970, of a pool", count(park.AuditQuery{Until: epoch, PoolID: "gpu"}), 0)
	equal(t, "until before it", count(park.AuditQuery{Until: park.At(epoch.Add(-time.Hour))}), 0)
	equal(t, "since 1970", count(park.AuditQuery{Since: epoch}), 4)
	equal(t, "pruned", pruneAll(t, s.PruneEvents, last, 10), 3)
	equal(t, "pruned", pruneAll(t, s.PruneMessages, last, 10), 3)
	equal(t, "left", count(park.AuditQuery{}), 1)
}

func testBigPayload(t *testing.T, s store.Store) {
	big := quote(strings.Repeat("0123456789abcdef", 1<<16))
	model := NewModel("gpu")
	model.Submit(func(r *ledger.Record) { r.Payload = big })
	commit(t, s, model.Next())
	model.End(model.Start("gpu-1").TaskID, park.Completed, string(big))
	m := model.Message(model.Tasks["gpu-1"])
	model.AddOutboxEntry(store.OutboxEntry{Dest: "d", Message: &m})
	model.Event(park.ActUpdate, nil, string(big))
	commit(t, s, model.Next())
	equal(t, "record", records(t, s, "gpu", "gpu-1"), []ledger.Record{*model.Tasks["gpu-1"]})
	equal(t, "message", withoutIDs(messages(t, s, aliceBox())), []park.Message{m})
	equal(t, "entry", *outbox(t, s, "d", model.Now(), 1)[0].Message, m)
	equal(t, "events", events(t, s, park.AuditQuery{PoolID: "gpu"}), model.Log)
}

// testPayloadBytes sees that a store does not rewrite JSON: neither spaces, nor numbers, nor the order of members.
func testPayloadBytes(t *testing.T, s store.Store) {
	for i, x := range []string{
		`null`, `0`, `""`, `{}`, `[]`, ` { "b" : 1 , "a" : 2, "b" : 3 } `, `1.0`, `1e400`, `12345678901234567890`, `"\u0041\u0000"`, `-0`, "\"\u2028\"",
	} {
		model := NewModel("pool-" + string(rune('a'+i)))
		model.Submit(func(r *ledger.Record) { r.Payload = json.RawMessage(x) })
		m := model.Message(model.End(model.Submit(nil).TaskID, park.Completed, x))
		model.AddOutboxEntry(store.OutboxEntry{Dest: model.pool, Message: &m})
		commit(t, s, model.Next())
		id := model.pool + "-1"
		equal(t, "payload", string(records(t, s, model.pool, id)[0].Payload), x)
		found := messages(t, s, aliceBox())
		equal(t, "message", string(found[len(found)-1].Payload), x)
		equal(t, "entry", string(outbox(t, s, model.pool, model.Now(), 1)[0].Message.Payload), x)
	}
}

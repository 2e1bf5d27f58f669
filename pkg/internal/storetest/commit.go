package storetest

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

func commitTests() storeTests {
	return storeTests{
		"an unknown pool is empty":                       testUnknown,
		"a step is complete":                             testStep,
		"a step with events only":                        testEventsOnly,
		"a task from step to step":                       testLife,
		"every field is kept":                            testEveryField,
		"each field alone is kept":                       testFieldsApart,
		"a zero value stays zero":                        testNoField,
		"a task that ends in its first step":             testShortLife,
		"a step sent again changes nothing":              testAgain,
		"a step with an existing id is refused":          testExistingID,
		"a step with an id twice is refused":             testIDTwice,
		"an update of an unknown task is refused":        testUnknownTask,
		"a step needs an id":                             testNoID,
		"records by id, of one pool, each once":          testRecords,
		"sizes of submissions":                           testSizes,
		"a context that has ended":                       testCancelled,
		"a step with thousands of tasks":                 testThousands,
		"pools are separate":                             testApart,
		"arguments may be reused":                        testGivenStays,
		"a closed store does not panic":                  testClosed,
		"a load returns limits, state and configuration": testRow,
	}
}

func testUnknown(t *testing.T, s store.Store) {
	equal(t, "load", load(t, s, "nowhere"), store.Snapshot{})
	equal(t, "records", records(t, s, "nowhere", "a", "b"), []ledger.Record(nil))
	found, next := list(t, s, "nowhere", park.TaskQuery{Limit: 10})
	equal(t, "list", found, []ledger.Record(nil))
	equal(t, "cursor", next, "")
	equal(t, "outbox", outbox(t, s, "nowhere", park.At(Epoch()), 10), []store.OutboxEntry(nil))
	equal(t, "messages", messages(t, s, park.MailboxQuery{Tenant: "acme", Key: "alice"}), []park.Message(nil))
	equal(t, "events", events(t, s, park.AuditQuery{PoolID: "nowhere"}), []park.Event(nil))
	equal(t, "last event", must(s.LastEvent(t.Context()))(t), "")
}

// testStep commits a step with changes of every kind, and reads them back.
func testStep(t *testing.T, s store.Store) {
	model := NewModel("gpu")
	model.Submit(nil)
	model.Start(model.Submit(nil).TaskID)
	done := model.End(model.Start(model.Submit(nil).TaskID).TaskID, park.Completed, `{"ok":true}`)
	m := model.Message(done)
	model.AddOutboxEntry(store.OutboxEntry{Dest: "notify/gpu", Message: &m})
	step := model.Next()
	commit(t, s, step)

	equal(t, "snapshot", load(t, s, "gpu"), store.Snapshot{Row: model.Row, Tasks: model.Live()})
	want := []ledger.Record{*model.Tasks["gpu-1"], *model.Tasks["gpu-2"], *model.Tasks["gpu-3"]}
	equal(t, "records", records(t, s, "gpu", "gpu-1", "gpu-2", "gpu-3"), want)
	equal(t, "events", events(t, s, park.AuditQuery{}), step.Events)
	equal(t, "messages", withoutIDs(messages(t, s, park.MailboxQuery{Tenant: "acme", Key: "alice"})), []park.Message{m})
	entries := outbox(t, s, "notify/gpu", model.Now(), 10)
	if len(entries) != 1 || entries[0].ID == 0 {
		t.Fatalf("got entries %+v, want one with an id", entries)
	}
	equal(t, "entry", *entries[0].Message, m)
	equal(t, "last event", must(s.LastEvent(t.Context()))(t), step.Events[len(step.Events)-1].EventID)
}

func testEventsOnly(t *testing.T, s store.Store) {
	model := NewModel("gpu")
	model.Event(park.ActUpdate, nil, `{"state":{"from":"active","to":"paused"}}`)
	model.Row.State = park.Paused
	step := model.Next()
	commit(t, s, step)
	equal(t, "snapshot", load(t, s, "gpu"), store.Snapshot{Row: model.Row})
	equal(t, "events", events(t, s, park.AuditQuery{}), step.Events)
}

func testLife(t *testing.T, s store.Store) {
	model := NewModel("gpu")
	check := func(what string) {
		t.Helper()
		model.Advance(time.Second)
		commit(t, s, model.Next())
		equal(t, "snapshot after "+what, load(t, s, "gpu"), store.Snapshot{Row: model.Row, Tasks: model.Live()})
		for id, r := range model.Tasks {
			equal(t, "task "+id+" after "+what, records(t, s, "gpu", id), []ledger.Record{*r})
		}
	}
	model.Submit(nil)
	model.Submit(func(r *ledger.Record) { r.Units = 7 })
	check("two submissions")
	model.Start("gpu-1")
	model.Start("gpu-2")
	check("two starts")
	model.End("gpu-1", park.Failed, "")
	model.Requeue("gpu-2")
	check("an end and a requeue")
	model.Start("gpu-2")
	model.Submit(nil)
	check("a start and a submission")
	model.End("gpu-2", park.Completed, `[1,2,3]`)
	model.End("gpu-3", park.Expired, "")
	check("the ends")
}

// fullRecord returns a record with a value in every field.
func fullRecord(t testing.TB, pool, id string, s park.Status) ledger.Record {
	at := func(h int) park.Time {
		return park.At(Epoch().Add(time.Duration(h)*time.Hour + 123456*time.Microsecond))
	}
	r := ledger.Record{
		Spec: ledger.Spec{
			PoolID: pool, TaskID: id, Tenant: "acme", MailboxKey: "alice", Priority: park.Critical, Units: 8,
			Deadline: at(9), Timeout: 90*time.Minute + 1, Retry: park.Retry{MaxAttempts: 3, Backoff: park.Duration(time.Second + 1)},
			Payload: []byte(`{"a": [1, 2.50, "\u00e4 é"]}`), Command: []string{"sh", "-c", "echo \"$1\"", ""}, WorkDir: "/srv/work",
			SubmittedAt: at(0), Digest: 1<<64 - 1,
		},
		State: ledger.State{
			Status: s, Rank: -5, Attempt: 2, Failures: 1, NotBefore: at(1), Cancelled: true, Node: "node-1", Lease: "gpu.2.abc.x",
			LeaseTTL: 30*time.Second + 1, StartedAt: at(2), EndedAt: at(3), Reason: "exit_nonzero", Message: "exit status 3",
			Result: []byte(`{ "b" : null }`),
		},
	}
	requireAllSet(t, reflect.ValueOf(r))
	return r
}

// requireAllSet fails the test if a field is zero, since a test would not notice if a store lost it.
func requireAllSet(t testing.TB, v reflect.Value) {
	t.Helper()
	for i := range v.NumField() {
		f, name := v.Field(i), v.Type().Field(i).Name
		if f.IsZero() {
			t.Fatalf("%s.%s is not set, so this does not test it", v.Type(), name)
		}
		if f.Kind() == reflect.Struct && f.Type() != reflect.TypeFor[park.Time]() {
			requireAllSet(t, f)
		}
	}
}

func testEveryField(t *testing.T, s store.Store) {
	at := park.At(Epoch())
	row := ledger.Pool{
		Rev: 1, MaxUnits: 24, MaxQueueDepth: 1000, State: park.Draining, Used: 16, Queued: 1, LastAt: at,
		ConfiguredUnits: 23, ConfiguredDepth: 999, LastStep: "step-1",
	}
	requireAllSet(t, reflect.ValueOf(row))
	e := park.Event{
		EventID: park.EventID("gpu", 1, 7), At: at, Rev: 1, Ord: 7, Action: park.ActStart, TaskID: "x", PoolID: "gpu",
		Tenant: "acme", Units: 8, Attempt: 2, Node: "node-1", Detail: []byte(`{ "reason": "é" }`),
	}
	requireAllSet(t, reflect.ValueOf(e))
	m := park.Message{
		ID: "given by the store", TaskID: "x", PoolID: "gpu", Status: park.Failed, Reason: "timeout", Message: "after 3s",
		Payload: []byte(`{ "b" : null }`), Attempt: 2, CreatedAt: at, Tenant: "acme", Key: "alice",
	}
	requireAllSet(t, reflect.ValueOf(m))
	m.ID = ""
	recs := []ledger.Record{
		fullRecord(t, "gpu", "q", park.Queued), fullRecord(t, "gpu", "r", park.Running), fullRecord(t, "gpu", "x", park.Failed),
	}
	commit(t, s, &store.Step{
		PoolID: "gpu", ID: "step-1", Row: row, Inserts: recs, Events: []park.Event{e}, Messages: []park.Message{m},
		Outbox: []store.OutboxEntry{{Dest: "d", Attempts: 4, Since: at, Message: &m}, {Dest: "d", Since: at, Event: &e}},
	})
	equal(t, "records", records(t, s, "gpu", "q", "r", "x"), recs)
	equal(t, "snapshot", load(t, s, "gpu"), store.Snapshot{Row: row, Tasks: []ledger.Record{asLoaded(recs[0]), asLoaded(recs[1])}})
	equal(t, "events", events(t, s, park.AuditQuery{}), []park.Event{e})
	equal(t, "messages", withoutIDs(messages(t, s, park.MailboxQuery{Tenant: "acme", Key: "alice"})), []park.Message{m})
	entries := outbox(t, s, "d", at, 10)
	equal(t, "entries", entries, []store.OutboxEntry{
		{ID: entries[0].ID, Dest: "d", Attempts: 4, Since: at, Message: &m}, {ID: entries[1].ID, Dest: "d", Since: at, Event: &e},
	})

	// An update writes every field of the state, and changes no field of the specification.
	other := fullRecord(t, "gpu", "other", park.Running).State
	other.Rank, other.Node, other.Result, other.EndedAt = 12, "node-2", []byte(`2`), park.Time{}
	row.Rev, row.LastStep = 2, "step-2"
	commit(t, s, &store.Step{PoolID: "gpu", ID: "step-2", Row: row, Updates: []store.Update{{TaskID: "q", State: other}, {TaskID: "r", State: ledger.State{Status: park.Queued}}}})
	recs[0].State, recs[1].State = other, ledger.State{Status: park.Queued}
	equal(t, "records", records(t, s, "gpu", "q", "r", "x"), recs)
}

// testFieldsApart sets one field of a task at a time, since a store may write tasks with few fields in another way.
func testFieldsApart(t *testing.T, s store.Store) {
	all := fullRecord(t, "gpu", "all", park.Running)
	row := ledger.Pool{State: park.Active}
	step := func(inserts []ledger.Record, updates []store.Update) {
		row.Rev++
		row.LastStep = fmt.Sprint("step-", row.Rev)
		commit(t, s, &store.Step{PoolID: "gpu", ID: row.LastStep, Row: row, Inserts: inserts, Updates: updates})
	}
	var recs []ledger.Record
	var updates []store.Update
	plain := func(what string) *ledger.Record {
		recs = append(recs, ledger.Record{Spec: ledger.Spec{PoolID: "gpu", TaskID: what}, State: ledger.State{Status: park.Queued}})
		return &recs[len(recs)-1]
	}
	for i := range reflect.TypeFor[ledger.Spec]().NumField() {
		if name := reflect.TypeFor[ledger.Spec]().Field(i).Name; name != "PoolID" && name != "TaskID" {
			reflect.ValueOf(&plain("with-" + name).Spec).Elem().Field(i).Set(reflect.ValueOf(all.Spec).Field(i))
		}
	}
	for i := range reflect.TypeFor[ledger.State]().NumField() {
		name := reflect.TypeFor[ledger.State]().Field(i).Name
		reflect.ValueOf(&plain("with-" + name).State).Elem().Field(i).Set(reflect.ValueOf(all.State).Field(i))
		u := store.Update{TaskID: plain("gets-" + name).TaskID, State: ledger.State{Status: park.Queued}}
		reflect.ValueOf(&u.State).Elem().Field(i).Set(reflect.ValueOf(all.State).Field(i))
		updates = append(updates, u)
	}
	step(recs, nil)
	kept := func() {
		t.Helper()
		for i := range recs {
			equal(t, recs[i].TaskID, records(t, s, "gpu", recs[i].TaskID), recs[i:i+1])
		}
	}
	kept()
	step(nil, updates)
	for _, u := range updates {
		for i := range recs {
			if recs[i].TaskID == u.TaskID {
				recs[i].State = u.State
			}
		}
	}
	kept()
	for i := range updates {
		updates[i].State = ledger.State{Status: park.Queued}
	}
	step(nil, updates) // and is gone again
	for i := range recs {
		if strings.HasPrefix(recs[i].TaskID, "gets-") {
			recs[i].State = ledger.State{Status: park.Queued}
		}
	}
	kept()
}

func testNoField(t *testing.T, s store.Store) {
	row := ledger.Pool{Rev: 1, State: park.Active, LastStep: "step-1"}
	r := ledger.Record{Spec: ledger.Spec{PoolID: "gpu", TaskID: "q"}, State: ledger.State{Status: park.Queued}}
	e := park.Event{EventID: "gpu:1:0", Rev: 1, PoolID: "gpu", Action: park.ActUpdate}
	m := park.Message{PoolID: "gpu", TaskID: "q", Status: park.Dropped}
	commit(t, s, &store.Step{
		PoolID: "gpu", ID: "step-1", Row: row, Inserts: []ledger.Record{r}, Events: []park.Event{e}, Messages: []park.Message{m},
		Outbox: []store.OutboxEntry{{Dest: "d"}},
	})
	equal(t, "records", records(t, s, "gpu", "q"), []ledger.Record{r})
	equal(t, "snapshot", load(t, s, "gpu"), store.Snapshot{Row: row, Tasks: []ledger.Record{r}})
	equal(t, "events", events(t, s, park.AuditQuery{}), []park.Event{e})
	equal(t, "messages", withoutIDs(messages(t, s, park.MailboxQuery{})), []park.Message{m})
	entries := outbox(t, s, "d", park.Time{}, 10)
	equal(t, "entries", entries, []store.OutboxEntry{{ID: entries[0].ID, Dest: "d"}})
}

func testShortLife(t *testing.T, s store.Store) {
	model := NewModel("gpu")
	model.End(model.Start(model.Submit(nil).TaskID).TaskID, park.Completed, `{}`)
	commit(t, s, model.Next())
	equal(t, "snapshot", load(t, s, "gpu"), store.Snapshot{Row: model.Row})
	equal(t, "records", records(t, s, "gpu", "gpu-1"), []ledger.Record{*model.Tasks["gpu-1"]})
}

func testAgain(t *testing.T, s store.Store) {
	model := NewModel("gpu")
	model.Submit(nil)
	commit(t, s, model.Next())
	m := model.Message(model.End("gpu-1", park.Dropped, ""))
	model.Submit(nil)
	model.AddOutboxEntry(store.OutboxEntry{Dest: "d", Message: &m})
	step := model.Next()
	for range 3 {
		commit(t, s, step)
		wantState(t, s, model)
		if n := len(outbox(t, s, "d", model.Now(), 10)); n != 1 {
			t.Fatalf("got %d entries, want 1", n)
		}
	}
}

// wantState fails the test unless the store contains what the steps of the model have left.
func wantState(t testing.TB, s store.Store, model *Model) {
	t.Helper()
	equal(t, "snapshot of "+model.pool, load(t, s, model.pool), store.Snapshot{Row: model.Row, Tasks: model.Live()})
	found, _ := list(t, s, model.pool, park.TaskQuery{Limit: noLimit})
	if len(found) != len(model.Tasks) {
		t.Fatalf("got %d tasks of %s, want %d", len(found), model.pool, len(model.Tasks))
	}
	equal(t, "events of "+model.pool, events(t, s, park.AuditQuery{PoolID: model.pool}), model.Log)
	n := 0
	for _, m := range messages(t, s, park.MailboxQuery{Tenant: "acme", Key: "alice"}) {
		if m.PoolID == model.pool {
			n++
		}
	}
	if n != len(model.Ended) {
		t.Fatalf("got %d messages of %s, want %d", n, model.pool, len(model.Ended))
	}
}

// wantRefused fails the test unless the store refuses a step, is not changed by it, and accepts the next valid step.
func wantRefused(t *testing.T, s store.Store, model *Model, bad *store.Step) {
	t.Helper()
	if bad.Row.Rev != model.Row.Rev+1 {
		t.Fatal("the step must be invalid for another reason than its rev")
	}
	err := s.Commit(t.Context(), bad)
	if err == nil {
		t.Fatal("the step was taken")
	}
	if park.CodeOf(err) != park.Internal {
		t.Fatalf("got error %v, which blames the caller", err)
	}
	wantState(t, s, model)
	innocent := bad.Inserts[0].TaskID
	equal(t, "records of the refused step", records(t, s, model.pool, innocent), []ledger.Record(nil))
	equal(t, "entries of the refused step", outbox(t, s, "d", atHour(1), 10), []store.OutboxEntry(nil))
	model.Submit(func(r *ledger.Record) { r.TaskID = innocent })
	commit(t, s, model.Next())
	wantState(t, s, model)
}

// validStep returns a step that could follow, with a task, an event, a message and an outbox entry. A test makes it invalid.
func validStep(model *Model) *store.Step {
	row := model.Row
	row.Rev++
	row.LastStep = fmt.Sprintf("%s/%d/bad", model.pool, row.Rev)
	r := ledger.Record{Spec: ledger.Spec{PoolID: model.pool, TaskID: fmt.Sprintf("innocent-%d", row.Rev), Tenant: "acme"}, State: ledger.State{Status: park.Queued}}
	return &store.Step{
		PoolID: model.pool, ID: row.LastStep, Row: row, Inserts: []ledger.Record{r},
		Events:   []park.Event{{PoolID: model.pool, Rev: row.Rev, Action: park.ActSubmit, TaskID: r.TaskID}},
		Messages: []park.Message{{PoolID: model.pool, TaskID: r.TaskID, Tenant: "acme", Key: "alice", Status: park.Dropped}},
		Outbox:   []store.OutboxEntry{{Dest: "d"}},
	}
}

func testExistingID(t *testing.T, s store.Store) {
	model := NewModel("gpu")
	model.Submit(nil)
	model.End(model.Submit(nil).TaskID, park.Dropped, "")
	commit(t, s, model.Next())
	for _, id := range []string{"gpu-1", "gpu-2"} {
		bad := validStep(model)
		bad.Inserts = append(bad.Inserts, ledger.Record{Spec: ledger.Spec{PoolID: "gpu", TaskID: id}, State: ledger.State{Status: park.Queued}})
		if err := s.Commit(t.Context(), bad); !errors.Is(err, store.ErrTaskExists) {
			t.Errorf("the step is refused with %v, not ErrTaken", err)
		}
		wantRefused(t, s, model, bad)
	}
}

func testIDTwice(t *testing.T, s store.Store) {
	model := NewModel("gpu")
	model.Submit(nil)
	commit(t, s, model.Next())
	bad := validStep(model)
	bad.Inserts = append(bad.Inserts, bad.Inserts[0])
	wantRefused(t, s, model, bad)
}

func testUnknownTask(t *testing.T, s store.Store) {
	model, other := NewModel("gpu"), NewModel("cpu")
	model.Submit(nil)
	commit(t, s, model.Next())
	other.Submit(nil)
	commit(t, s, other.Next())
	for _, id := range []string{"nobody", "cpu-1"} {
		bad := validStep(model)
		bad.Updates = []store.Update{
			{TaskID: "gpu-1", State: ledger.State{Status: park.Running}}, {TaskID: id, State: ledger.State{Status: park.Running}},
		}
		wantRefused(t, s, model, bad)
	}
	wantState(t, s, other)
}

func testNoID(t *testing.T, s store.Store) {
	model := NewModel("gpu")
	model.Submit(nil)
	commit(t, s, model.Next())
	bad := validStep(model)
	bad.ID, bad.Row.LastStep = "", ""
	wantRefused(t, s, model, bad)
}

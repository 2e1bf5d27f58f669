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

func commitTests() group {
	return group{
		"an unknown pool is empty":                 testUnknown,
		"a step is whole":                          testStep,
		"a step of nothing but events":             testBareStep,
		"a task's life, step by step":              testLife,
		"every field is kept":                      testEveryField,
		"every field alone is kept":                testFieldsApart,
		"what is not set stays so":                 testNoField,
		"a task that ends in its first step":       testShortLife,
		"a step sent again changes nothing":        testAgain,
		"an id that is taken refuses the step":     testTaken,
		"an id twice in a step refuses it":         testTwice,
		"an update of no task refuses the step":    testNobody,
		"a step needs an id":                       testNameless,
		"records: by id, of one pool, each once":   testRecords,
		"sizes: of what was submitted":             testSizes,
		"a context that has ended":                 testCancelled,
		"a step of thousands":                      testThousands,
		"pools are apart":                          testApart,
		"what was given may be given again":        testGivenStays,
		"a store that is closed refuses politely":  testClosed,
		"a load sees limits, state and configured": testRow,
	}
}

func testUnknown(t *testing.T, s store.Store) {
	same(t, "load", load(t, s, "nowhere"), store.Snapshot{})
	same(t, "records", records(t, s, "nowhere", "a", "b"), []ledger.Record(nil))
	found, next := list(t, s, "nowhere", park.TaskQuery{Limit: 10})
	same(t, "list", found, []ledger.Record(nil))
	same(t, "cursor", next, "")
	same(t, "outbox", outbox(t, s, "nowhere", park.At(Epoch()), 10), []store.OutboxEntry(nil))
	same(t, "messages", messages(t, s, park.MailboxQuery{Tenant: "acme", Key: "alice"}), []park.Message(nil))
	same(t, "events", events(t, s, park.AuditQuery{PoolID: "nowhere"}), []park.Event(nil))
	same(t, "last event", got(s.LastEvent(t.Context()))(t), "")
}

// testStep commits a step that has something of everything, and finds it.
func testStep(t *testing.T, s store.Store) {
	f := NewFeed("gpu")
	f.Submit(nil)
	f.Start(f.Submit(nil).TaskID)
	done := f.End(f.Start(f.Submit(nil).TaskID).TaskID, park.Completed, `{"ok":true}`)
	m := f.Message(done)
	f.Post(store.OutboxEntry{Dest: "notify/gpu", Message: &m})
	step := f.Next()
	commit(t, s, step)

	same(t, "snapshot", load(t, s, "gpu"), store.Snapshot{Row: f.Row, Tasks: f.Live()})
	want := []ledger.Record{*f.Tasks["gpu-1"], *f.Tasks["gpu-2"], *f.Tasks["gpu-3"]}
	same(t, "records", records(t, s, "gpu", "gpu-1", "gpu-2", "gpu-3"), want)
	same(t, "events", events(t, s, park.AuditQuery{}), step.Events)
	same(t, "messages", withoutIDs(messages(t, s, park.MailboxQuery{Tenant: "acme", Key: "alice"})), []park.Message{m})
	parcels := outbox(t, s, "notify/gpu", f.Now(), 10)
	if len(parcels) != 1 || parcels[0].ID == 0 {
		t.Fatalf("got parcels %+v, want one with an id", parcels)
	}
	same(t, "parcel", *parcels[0].Message, m)
	same(t, "last event", got(s.LastEvent(t.Context()))(t), step.Events[len(step.Events)-1].EventID)
}

func testBareStep(t *testing.T, s store.Store) {
	f := NewFeed("gpu")
	f.Event(park.ActUpdate, nil, `{"state":{"from":"active","to":"paused"}}`)
	f.Row.State = park.Paused
	step := f.Next()
	commit(t, s, step)
	same(t, "snapshot", load(t, s, "gpu"), store.Snapshot{Row: f.Row})
	same(t, "events", events(t, s, park.AuditQuery{}), step.Events)
}

func testLife(t *testing.T, s store.Store) {
	f := NewFeed("gpu")
	check := func(what string) {
		t.Helper()
		f.Pass(time.Second)
		commit(t, s, f.Next())
		same(t, "snapshot after "+what, load(t, s, "gpu"), store.Snapshot{Row: f.Row, Tasks: f.Live()})
		for id, r := range f.Tasks {
			same(t, "task "+id+" after "+what, records(t, s, "gpu", id), []ledger.Record{*r})
		}
	}
	f.Submit(nil)
	f.Submit(func(r *ledger.Record) { r.Units = 7 })
	check("two submissions")
	f.Start("gpu-1")
	f.Start("gpu-2")
	check("two starts")
	f.End("gpu-1", park.Failed, "")
	f.Requeue("gpu-2")
	check("an end and a requeue")
	f.Start("gpu-2")
	f.Submit(nil)
	check("a start and a submission")
	f.End("gpu-2", park.Completed, `[1,2,3]`)
	f.End("gpu-3", park.Expired, "")
	check("the ends")
}

// whole returns a record that has something in every field.
func whole(t testing.TB, pool, id string, s park.Status) ledger.Record {
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
	noZero(t, reflect.ValueOf(r))
	return r
}

// noZero fails the test where a field is not set: then it would not be tested.
func noZero(t testing.TB, v reflect.Value) {
	t.Helper()
	for i := range v.NumField() {
		f, name := v.Field(i), v.Type().Field(i).Name
		if f.IsZero() {
			t.Fatalf("%s.%s is not set, so this does not test it", v.Type(), name)
		}
		if f.Kind() == reflect.Struct && f.Type() != reflect.TypeFor[park.Time]() {
			noZero(t, f)
		}
	}
}

func testEveryField(t *testing.T, s store.Store) {
	at := park.At(Epoch())
	row := ledger.Pool{
		Rev: 1, MaxUnits: 24, MaxQueueDepth: 1000, State: park.Draining, Used: 16, Queued: 1, LastAt: at,
		ConfiguredUnits: 23, ConfiguredDepth: 999, LastStep: "step-1",
	}
	noZero(t, reflect.ValueOf(row))
	e := park.Event{
		EventID: park.EventID("gpu", 1, 7), At: at, Rev: 1, Ord: 7, Action: park.ActStart, TaskID: "x", PoolID: "gpu",
		Tenant: "acme", Units: 8, Attempt: 2, Node: "node-1", Detail: []byte(`{ "reason": "é" }`),
	}
	noZero(t, reflect.ValueOf(e))
	m := park.Message{
		ID: "given by the store", TaskID: "x", PoolID: "gpu", Status: park.Failed, Reason: "timeout", Message: "after 3s",
		Payload: []byte(`{ "b" : null }`), Attempt: 2, CreatedAt: at, Tenant: "acme", Key: "alice",
	}
	noZero(t, reflect.ValueOf(m))
	m.ID = ""
	recs := []ledger.Record{
		whole(t, "gpu", "q", park.Queued), whole(t, "gpu", "r", park.Running), whole(t, "gpu", "x", park.Failed),
	}
	commit(t, s, &store.Step{
		PoolID: "gpu", ID: "step-1", Row: row, Inserts: recs, Events: []park.Event{e}, Messages: []park.Message{m},
		Outbox: []store.OutboxEntry{{Dest: "d", Attempts: 4, Since: at, Message: &m}, {Dest: "d", Since: at, Event: &e}},
	})
	same(t, "records", records(t, s, "gpu", "q", "r", "x"), recs)
	same(t, "snapshot", load(t, s, "gpu"), store.Snapshot{Row: row, Tasks: []ledger.Record{light(recs[0]), light(recs[1])}})
	same(t, "events", events(t, s, park.AuditQuery{}), []park.Event{e})
	same(t, "messages", withoutIDs(messages(t, s, park.MailboxQuery{Tenant: "acme", Key: "alice"})), []park.Message{m})
	parcels := outbox(t, s, "d", at, 10)
	same(t, "parcels", parcels, []store.OutboxEntry{
		{ID: parcels[0].ID, Dest: "d", Attempts: 4, Since: at, Message: &m}, {ID: parcels[1].ID, Dest: "d", Since: at, Event: &e},
	})

	// An update writes every field of the state, too, and leaves the others alone.
	other := whole(t, "gpu", "other", park.Running).State
	other.Rank, other.Node, other.Result, other.EndedAt = 12, "node-2", []byte(`2`), park.Time{}
	row.Rev, row.LastStep = 2, "step-2"
	commit(t, s, &store.Step{PoolID: "gpu", ID: "step-2", Row: row, Updates: []store.Update{{TaskID: "q", State: other}, {TaskID: "r", State: ledger.State{Status: park.Queued}}}})
	recs[0].State, recs[1].State = other, ledger.State{Status: park.Queued}
	same(t, "records", records(t, s, "gpu", "q", "r", "x"), recs)
}

// testFieldsApart sets one field of a task at a time: a store may write plain tasks in another way than the others.
func testFieldsApart(t *testing.T, s store.Store) {
	all := whole(t, "gpu", "all", park.Running)
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
			same(t, recs[i].TaskID, records(t, s, "gpu", recs[i].TaskID), recs[i:i+1])
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
	same(t, "records", records(t, s, "gpu", "q"), []ledger.Record{r})
	same(t, "snapshot", load(t, s, "gpu"), store.Snapshot{Row: row, Tasks: []ledger.Record{r}})
	same(t, "events", events(t, s, park.AuditQuery{}), []park.Event{e})
	same(t, "messages", withoutIDs(messages(t, s, park.MailboxQuery{})), []park.Message{m})
	parcels := outbox(t, s, "d", park.Time{}, 10)
	same(t, "parcels", parcels, []store.OutboxEntry{{ID: parcels[0].ID, Dest: "d"}})
}

func testShortLife(t *testing.T, s store.Store) {
	f := NewFeed("gpu")
	f.End(f.Start(f.Submit(nil).TaskID).TaskID, park.Completed, `{}`)
	commit(t, s, f.Next())
	same(t, "snapshot", load(t, s, "gpu"), store.Snapshot{Row: f.Row})
	same(t, "records", records(t, s, "gpu", "gpu-1"), []ledger.Record{*f.Tasks["gpu-1"]})
}

func testAgain(t *testing.T, s store.Store) {
	f := NewFeed("gpu")
	f.Submit(nil)
	commit(t, s, f.Next())
	m := f.Message(f.End("gpu-1", park.Dropped, ""))
	f.Submit(nil)
	f.Post(store.OutboxEntry{Dest: "d", Message: &m})
	step := f.Next()
	for range 3 {
		commit(t, s, step)
		wantState(t, s, f)
		if n := len(outbox(t, s, "d", f.Now(), 10)); n != 1 {
			t.Fatalf("got %d parcels, want 1", n)
		}
	}
}

// wantState fails the test where the store does not hold what the feed's steps have left.
func wantState(t testing.TB, s store.Store, f *Feed) {
	t.Helper()
	same(t, "snapshot of "+f.pool, load(t, s, f.pool), store.Snapshot{Row: f.Row, Tasks: f.Live()})
	found, _ := list(t, s, f.pool, park.TaskQuery{Limit: all})
	if len(found) != len(f.Tasks) {
		t.Fatalf("got %d tasks of %s, want %d", len(found), f.pool, len(f.Tasks))
	}
	same(t, "events of "+f.pool, events(t, s, park.AuditQuery{PoolID: f.pool}), f.Log)
	n := 0
	for _, m := range messages(t, s, park.MailboxQuery{Tenant: "acme", Key: "alice"}) {
		if m.PoolID == f.pool {
			n++
		}
	}
	if n != len(f.Ended) {
		t.Fatalf("got %d messages of %s, want %d", n, f.pool, len(f.Ended))
	}
}

// wantRefused fails the test unless the store refuses a step and stays as it is, and takes the next good one.
func wantRefused(t *testing.T, s store.Store, f *Feed, bad *store.Step) {
	t.Helper()
	if bad.Row.Rev != f.Row.Rev+1 {
		t.Fatal("the step should be wrong for another reason than its rev")
	}
	err := s.Commit(t.Context(), bad)
	if err == nil {
		t.Fatal("the step was taken")
	}
	if park.CodeOf(err) != park.Internal {
		t.Fatalf("got error %v, which says that the caller is to blame", err)
	}
	wantState(t, s, f)
	innocent := bad.Inserts[0].TaskID
	same(t, "records of the refused step", records(t, s, f.pool, innocent), []ledger.Record(nil))
	same(t, "parcels of the refused step", outbox(t, s, "d", hours(1), 10), []store.OutboxEntry(nil))
	f.Submit(func(r *ledger.Record) { r.TaskID = innocent })
	commit(t, s, f.Next())
	wantState(t, s, f)
}

// spoiled returns a step as f's next one would be, with a task, an event, a message and a parcel, for a test to spoil.
func spoiled(f *Feed) *store.Step {
	row := f.Row
	row.Rev++
	row.LastStep = fmt.Sprintf("%s/%d/bad", f.pool, row.Rev)
	r := ledger.Record{Spec: ledger.Spec{PoolID: f.pool, TaskID: fmt.Sprintf("innocent-%d", row.Rev), Tenant: "acme"}, State: ledger.State{Status: park.Queued}}
	return &store.Step{
		PoolID: f.pool, ID: row.LastStep, Row: row, Inserts: []ledger.Record{r},
		Events:   []park.Event{{PoolID: f.pool, Rev: row.Rev, Action: park.ActSubmit, TaskID: r.TaskID}},
		Messages: []park.Message{{PoolID: f.pool, TaskID: r.TaskID, Tenant: "acme", Key: "alice", Status: park.Dropped}},
		Outbox:   []store.OutboxEntry{{Dest: "d"}},
	}
}

func testTaken(t *testing.T, s store.Store) {
	f := NewFeed("gpu")
	f.Submit(nil)
	f.End(f.Submit(nil).TaskID, park.Dropped, "")
	commit(t, s, f.Next())
	for _, id := range []string{"gpu-1", "gpu-2"} {
		bad := spoiled(f)
		bad.Inserts = append(bad.Inserts, ledger.Record{Spec: ledger.Spec{PoolID: "gpu", TaskID: id}, State: ledger.State{Status: park.Queued}})
		if err := s.Commit(t.Context(), bad); !errors.Is(err, store.ErrTaskExists) {
			t.Errorf("the step is refused with %v, not ErrTaken", err)
		}
		wantRefused(t, s, f, bad)
	}
}

func testTwice(t *testing.T, s store.Store) {
	f := NewFeed("gpu")
	f.Submit(nil)
	commit(t, s, f.Next())
	bad := spoiled(f)
	bad.Inserts = append(bad.Inserts, bad.Inserts[0])
	wantRefused(t, s, f, bad)
}

func testNobody(t *testing.T, s store.Store) {
	f, other := NewFeed("gpu"), NewFeed("cpu")
	f.Submit(nil)
	commit(t, s, f.Next())
	other.Submit(nil)
	commit(t, s, other.Next())
	for _, id := range []string{"nobody", "cpu-1"} {
		bad := spoiled(f)
		bad.Updates = []store.Update{
			{TaskID: "gpu-1", State: ledger.State{Status: park.Running}}, {TaskID: id, State: ledger.State{Status: park.Running}},
		}
		wantRefused(t, s, f, bad)
	}
	wantState(t, s, other)
}

func testNameless(t *testing.T, s store.Store) {
	f := NewFeed("gpu")
	f.Submit(nil)
	commit(t, s, f.Next())
	bad := spoiled(f)
	bad.ID, bad.Row.LastStep = "", ""
	wantRefused(t, s, f, bad)
}

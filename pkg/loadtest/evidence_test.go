package loadtest

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// evidence is all that a judge sees of a run. It is also a service that returns it.
type evidence struct {
	park.Service // nil: the judge calls no other method

	o      Options
	load   *workload
	since  park.Time
	pool   park.Pool
	rev    int64
	log    []park.Event
	stream []park.Event
	mail   map[mailbox][]park.Message
	rows   []park.Task // newest first
	ledger *ledger
	found  *findings

	restarts int
	// answer changes the answer to a query of the log, page a page of the whole log.
	answer func(q park.AuditQuery, events []park.Event) []park.Event
	one    func(t park.Task) park.Task // a task that is read by its id
}

// record runs a load against a fake pool in fake time and keeps the evidence.
func record(t *testing.T, with func(*fake), o Options) *evidence {
	t.Helper()
	var e *evidence
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		with(f)
		o.Program = "none"
		o, err := o.complete()
		if err != nil {
			t.Fatal(err)
		}
		w, err := o.workload()
		if err != nil {
			t.Fatal(err)
		}
		w.next = withTimeout(w.next)
		f.pool.MaxUnits = w.units
		m := newMeasurement(t.Context(), o, w, &target{service: f, pool: f.pool, run: "lt-"})
		if err := m.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		e = &evidence{
			o: o, load: w, since: m.since, rev: f.rev, log: f.events, mail: f.mail, ledger: m.ledger, found: m.findings,
			stream: slices.DeleteFunc(slices.Clone(f.events), func(e park.Event) bool { return e.Action == park.ActUpdate }),
		}
		e.pool, _ = f.Pool(t.Context(), "load")
		for _, task := range slices.Backward(f.all) {
			e.rows = append(e.rows, task.view())
		}
	})
	return e
}

// withTimeout makes sure that a small load also has a task that reaches its time limit.
func withTimeout(next func(int) job) func(int) job {
	return func(i int) job {
		j := next(i)
		if i == 67 {
			j.units, j.work, j.fail, j.slack, j.limit = 1, endless, false, 0, leastLimit
		}
		return j
	}
}

func (e *evidence) clone() *evidence {
	c := *e
	c.log, c.stream, c.rows, c.mail = slices.Clone(e.log), slices.Clone(e.stream), slices.Clone(e.rows), maps.Clone(e.mail)
	for b, messages := range c.mail {
		c.mail[b] = slices.Clone(messages)
	}
	l := e.ledger
	c.ledger = &ledger{
		run: l.run, entries: slices.Clone(l.entries), mailboxes: l.mailboxes, mailboxNumbers: l.mailboxNumbers, accepted: l.accepted, rejected: l.rejected,
		ended: l.ended, rejections: l.rejections, denied: maps.Clone(l.denied),
	}
	c.found = &findings{count: e.found.count}
	return &c
}

// judge returns the report of the evidence.
func (e *evidence) judge(t *testing.T) *Report {
	t.Helper()
	var r *Report
	synctest.Test(t, func(t *testing.T) {
		before := e.pool
		before.UsedUnits, before.QueueDepth, before.Running = 0, 0, 0
		m := newMeasurement(t.Context(), e.o, e.load, &target{service: e, pool: before, run: "lt-"})
		m.ledger, m.findings, m.since, m.restarts, m.started = e.ledger, e.found, e.since, e.restarts, time.Now()
		m.watcher.ledger = newLedger("none") // what it saw is already in the ledger
		m.gen = &generator{latency: newLatencies()}
		for i := range e.stream {
			m.watcher.handle(&e.stream[i], time.Now())
		}
		var err error
		if r, err = m.judge(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	return r
}

func (e *evidence) Pool(context.Context, string) (park.Pool, error) { return e.pool, nil }

func (e *evidence) Evidence(context.Context, string) (park.Evidence, error) {
	return park.Evidence{PoolID: "load", Rev: e.rev}, nil
}

func (e *evidence) Audit(_ context.Context, q park.AuditQuery) (park.EventPage, error) {
	p := selected(e.log, q)
	if e.answer != nil {
		p.Events = e.answer(q, p.Events)
	}
	return p, nil
}

// selected returns the page of events that a query selects.
func selected(events []park.Event, q park.AuditQuery) (p park.EventPage) {
	from := 0
	if q.Cursor != "" {
		from = 1 + slices.IndexFunc(events, func(e park.Event) bool { return e.EventID == q.Cursor })
	}
	for i := from; i < len(events); i++ {
		e := &events[i]
		if !q.Selects(e.Action) || q.TaskID != "" && q.TaskID != e.TaskID || q.Tenant != "" && q.Tenant != e.Tenant || e.At.Before(q.Since.Time) {
			continue
		}
		if len(p.Events) == q.Limit {
			p.Next = p.Events[len(p.Events)-1].EventID
			break
		}
		p.Events = append(p.Events, *e)
	}
	return p
}

func (e *evidence) Mailbox(_ context.Context, q park.MailboxQuery) (park.MessagePage, error) {
	all := e.mail[mailbox{q.Tenant, q.Key}]
	at := 1 + slices.IndexFunc(all, func(m park.Message) bool { return m.ID == q.After })
	return park.MessagePage{Messages: all[at:min(len(all), at+q.Limit)]}, nil
}

func (e *evidence) Tasks(context.Context, string, park.TaskQuery) (park.TaskPage, error) {
	return park.TaskPage{Tasks: e.rows}, nil
}

func (e *evidence) Task(_ context.Context, _, id string, _ time.Duration) (park.Task, error) {
	i := slices.IndexFunc(e.rows, func(t park.Task) bool { return t.TaskID == id })
	switch {
	case i < 0:
		return park.Task{}, park.Errorf(park.TaskNotFound, "no task %s", id)
	case e.one != nil:
		return e.one(e.rows[i]), nil
	}
	return e.rows[i], nil
}

// The functions below each change one thing of a run, wherever it is recorded.

// changeFirst changes the first matching event, in the log and in the stream.
func (e *evidence) changeFirst(meant func(*park.Event) bool, change func(*park.Event)) {
	for _, events := range [][]park.Event{e.log, e.stream} {
		i := slices.IndexFunc(events, func(e park.Event) bool { return meant(&e) })
		if i < 0 {
			panic("there is no such event")
		}
		change(&events[i])
	}
}

// changeAll changes all matching events.
func (e *evidence) changeAll(meant func(*park.Event) bool, change func(*park.Event)) {
	for _, events := range [][]park.Event{e.log, e.stream} {
		for i := range events {
			if meant(&events[i]) {
				change(&events[i])
			}
		}
	}
}

// removeEvents removes all matching events.
func (e *evidence) removeEvents(meant func(*park.Event) bool) {
	gone := func(e park.Event) bool { return meant(&e) }
	e.log, e.stream = slices.DeleteFunc(e.log, gone), slices.DeleteFunc(e.stream, gone)
}

// findTask returns the number of a task that ended with a status. Among completed tasks it was parked or not, as asked for,
// and if possible it worked for a while: on a busy machine few tasks start at once.
func (e *evidence) findTask(s park.Status, parked bool) int {
	short := -1
	for _, t := range slices.Backward(e.rows) {
		i, own := e.ledger.number(t.TaskID)
		switch {
		case !own || t.Status != s || s == park.Completed && e.ledger.entries[i].is(running) == parked:
		case s != park.Completed || e.ledger.entries[i].work > 3:
			return i
		default:
			short = i
		}
	}
	if short < 0 {
		panic("there is no such task")
	}
	return short
}

func (e *evidence) id(i int) string { return e.ledger.run + strconv.Itoa(i) }

func (e *evidence) rowOf(i int) *park.Task {
	for k := range e.rows {
		if n, own := e.ledger.number(e.rows[k].TaskID); own && n == i {
			return &e.rows[k]
		}
	}
	panic("there is no such task")
}

// message returns the message of task number i.
func (e *evidence) message(i int) *park.Message {
	b := e.ledger.mailboxes[e.ledger.entries[i].mailbox]
	id := e.id(i)
	return &e.mail[b][slices.IndexFunc(e.mail[b], func(m park.Message) bool { return m.TaskID == id })]
}

// removeMessage removes the message of task number i and returns it.
func (e *evidence) removeMessage(i int) park.Message {
	b := e.ledger.mailboxes[e.ledger.entries[i].mailbox]
	m := *e.message(i)
	e.mail[b] = slices.DeleteFunc(e.mail[b], func(o park.Message) bool { return o.ID == m.ID })
	return m
}

// insertMessage inserts a message into a mailbox, in the order of time.
func (e *evidence) insertMessage(b mailbox, m park.Message) {
	m.ID += "x"
	e.mail[b] = append(e.mail[b], m)
	slices.SortStableFunc(e.mail[b], func(a, b park.Message) int { return cmp.Compare(a.CreatedAt.Micro(), b.CreatedAt.Micro()) })
}

func of(id string, actions ...park.Action) func(*park.Event) bool {
	return func(e *park.Event) bool {
		return e.TaskID == id && (len(actions) == 0 || slices.Contains(actions, e.Action))
	}
}

func about(verdicts []string, want string) bool {
	return slices.ContainsFunc(verdicts, func(p string) bool { return strings.Contains(p, want) })
}

package relay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/env"
	"github.com/parkd-dev/parkd/pkg/internal/env/envtest"
	"github.com/parkd-dev/parkd/pkg/internal/health"
	"github.com/parkd-dev/parkd/pkg/internal/portion"
	"github.com/parkd-dev/parkd/pkg/internal/topic"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/memory"
)

// fakeQueue is an outbox that a test fills and reads.
type fakeQueue struct {
	store.Queue
	entries           []store.OutboxEntry
	unread, unsettled error
	reads             []int // the limit of each
	settles           int
	done, later       []int64
	stop              func() // after too many reads
}

func (q *fakeQueue) Outbox(_ context.Context, _ string, _ park.Time, limit int) ([]store.OutboxEntry, error) {
	if q.reads = append(q.reads, limit); len(q.reads) > 10 && q.stop != nil {
		q.stop()
	}
	return q.entries, q.unread
}

func (q *fakeQueue) AckOutbox(_ context.Context, done []int64, later []store.DeferredEntry) error {
	q.settles++
	q.done = append(q.done, done...)
	for _, p := range later {
		q.later = append(q.later, p.ID)
	}
	if q.unsettled == nil {
		q.entries = nil
	}
	return q.unsettled
}

// newSource returns a queue in memory on a simulated machine, and a builder of its log.
func newSource(t *testing.T, q store.Queue) (Source, *envtest.Simulator, *strings.Builder) {
	m, logged := envtest.NewSimulator(t), &strings.Builder{}
	m.Wall = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	return Source{
		Env: env.New(m), Log: slog.New(slog.NewTextHandler(logged, nil)), Hub: &topic.Hub{}, From: park.InMemory, Queue: q,
		Health: health.New([]park.Backend{park.InMemory, park.File}, func(park.Backend, string) {}),
	}, m, logged
}

// toFile returns a relay to the store for files that delivers by a function.
func toFile(s Source, deliver deliverer) *Relay {
	return &Relay{Source: s, dest: "d", to: park.File, deliver: deliver}
}

func ignore(context.Context, string, park.Message) error { return nil }

// TestRelayGoesOn as long as it finds something. Otherwise it waits for a step that leaves more, for a call that ends, or
// for a second. Of several nodes one relays.
func TestRelayGoesOn(t *testing.T) {
	away := errors.New("away")
	outbox := func(_ *fakeQueue, r *Relay) { r.Hub.Wake(topic.Outbox(park.InMemory)) }
	for name, c := range map[string]struct {
		before        func(q *fakeQueue, r *Relay, stop func())
		comes         func(q *fakeQueue, r *Relay) // as the first wait begins
		waits         []bool                       // whether each was for something that had come
		reads, logged int
	}{
		"nothing":    {waits: []bool{false, true}, reads: 2},
		"one":        {before: func(q *fakeQueue, _ *Relay, _ func()) { q.entries = make([]store.OutboxEntry, 1) }, waits: []bool{false, true}, reads: 3},
		"one comes":  {comes: outbox, waits: []bool{true, true}, reads: 2},
		"for others": {comes: func(_ *fakeQueue, r *Relay) { r.Hub.Wake(topic.Outbox(park.File)) }, waits: []bool{false, true}, reads: 2},
		"a store fails": {
			before: func(q *fakeQueue, _ *Relay, _ func()) { q.unread = away }, comes: outbox,
			waits: []bool{false, true}, reads: 2, logged: 2,
		},
		"none is stored": {
			before: func(q *fakeQueue, _ *Relay, _ func()) { q.entries, q.unsettled = make([]store.OutboxEntry, 1), away },
			waits:  []bool{false, true}, reads: 2, logged: 2,
		},
		"a call ends": {
			before: func(_ *fakeQueue, r *Relay, _ func()) { r.calls = newCalls(r.Env, r.Log, "cpu", ignore) },
			comes:  func(_ *fakeQueue, r *Relay) { r.calls.answered <- struct{}{} }, waits: []bool{true, true, true}, reads: 2,
		},
		"not its turn": {before: func(_ *fakeQueue, r *Relay, _ func()) { r.Turn = func() bool { return false } }, waits: []bool{false, true}},
		"its turn":     {before: func(_ *fakeQueue, r *Relay, _ func()) { r.Turn = func() bool { return true } }, waits: []bool{false, true}, reads: 2},
		"the end": {before: func(q *fakeQueue, r *Relay, stop func()) {
			q.entries = make([]store.OutboxEntry, 1)
			r.deliver = func(context.Context, []store.OutboxEntry) error {
				stop()
				return away
			}
		}, waits: []bool{true}, reads: 1},
	} {
		ctx, stop := context.WithCancel(t.Context())
		q := &fakeQueue{stop: stop}
		s, m, logged := newSource(t, q)
		r := toFile(s, func(context.Context, []store.OutboxEntry) error { return nil })
		if c.before != nil {
			c.before(q, r, stop)
		}
		m.OnWait = func() {
			if len(m.Waited) == 0 && c.comes != nil {
				c.comes(q, r)
			}
			if len(m.Waited) == 1 {
				stop()
			}
		}
		r.Run(ctx)
		var waits []bool
		for i, w := range m.Waited {
			waits = append(waits, w.Ready)
			if want := []time.Duration{tick, tick, env.Forever}[min(i, 2)]; w.For != want {
				t.Errorf("%s: wait %d is for %s", name, i, w.For)
			}
		}
		if n := strings.Count(logged.String(), "not relayed"); !slices.Equal(waits, c.waits) || len(q.reads) != c.reads || n != c.logged || r.Hub.Joined() {
			t.Errorf("%s: waits %v, %d reads, logged %d times", name, waits, len(q.reads), n)
		}
		if down := !s.Health.Up(park.InMemory) || !s.Health.Up(park.File); down != (q.unread != nil) {
			t.Errorf("%s: a store is down %t", name, down)
		}
	}
}

// TestNextBatchIsJudgedByTheLast, not by all that came before.
func TestNextBatchIsJudgedByTheLast(t *testing.T) {
	s, _, _ := newSource(t, &fakeQueue{})
	r := toFile(s, nil)
	r.part = portion.Of(park.DefaultMaxResult)
	r.found([]store.OutboxEntry{{Message: &park.Message{Payload: make([]byte, portion.MaxBytes)}}})
	large := r.part.Next()
	if r.found(make([]store.OutboxEntry, 1)); large != 1 || r.part.Next() != 4*large {
		t.Errorf("after a large entry %d are read next, and after a small one %d", large, r.part.Next())
	}
}

// TestRelayCarries a batch whose size depends on what came before, and notes the health of both stores.
func TestRelayCarries(t *testing.T) {
	away := errors.New("away")
	first := portion.Of(park.DefaultMaxResult)
	entries := []store.OutboxEntry{{ID: 1, Message: &park.Message{Payload: make([]byte, 1<<20)}}, {ID: 2, Message: &park.Message{Payload: make([]byte, 3<<20)}}}
	for name, c := range map[string]struct {
		entries        []store.OutboxEntry
		unread, undone error
		moved          int
		up             [2]bool // where the entries are, and where they go
		next           int
	}{
		"nothing":   {nil, nil, nil, 0, [2]bool{true, false}, first.Next()},
		"two":       {entries, nil, nil, 2, [2]bool{true, true}, 3},
		"unread":    {entries, away, nil, 0, [2]bool{false, false}, first.Next()},
		"not taken": {entries, nil, away, 0, [2]bool{true, false}, 3},
	} {
		q := &fakeQueue{entries: c.entries, unread: c.unread}
		s, _, _ := newSource(t, q)
		s.Health.Failed(park.File, health.Delivery)
		r := toFile(s, func(context.Context, []store.OutboxEntry) error { return c.undone })
		moved, err := r.carry(t.Context())
		if moved != c.moved || !errors.Is(err, cmp.Or(c.unread, c.undone)) {
			t.Errorf("%s: %d moved, %v", name, moved, err)
		}
		if got := [2]bool{s.Health.Up(park.InMemory), s.Health.Up(park.File)}; got != c.up || r.part.Next() != c.next {
			t.Errorf("%s: up are %v; the next read is of %d", name, got, r.part.Next())
		}
		if slices.Equal(q.done, []int64{1, 2}) != (c.moved > 0) || len(q.later) != 0 || (r.owed.Load() == nil) != (c.unread != nil) {
			t.Errorf("%s: settled %v and %v", name, q.done, q.later)
		}
		if c.moved > 0 {
			if _, err = r.carry(t.Context()); err != nil || q.reads[1] != 3 {
				t.Errorf("%s: then it reads %v", name, q.reads)
			}
		}
	}
}

// TestFailuresAtTheEnd say nothing of a store.
func TestFailuresAtTheEnd(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, q := range []*fakeQueue{{unread: ctx.Err()}, {entries: make([]store.OutboxEntry, 1)}} {
		s, _, _ := newSource(t, q)
		r := toFile(s, func(ctx context.Context, _ []store.OutboxEntry) error { return ctx.Err() })
		if _, err := r.carry(ctx); !errors.Is(err, context.Canceled) || !s.Health.Up(park.InMemory) || !s.Health.Up(park.File) {
			t.Errorf("%v; up are %t and %t", err, s.Health.Up(park.InMemory), s.Health.Up(park.File))
		}
	}
}

// TestBacklog: the last look at the outbox counts.
func TestBacklog(t *testing.T) {
	s, _, _ := newSource(t, &fakeQueue{})
	r := toFile(s, nil)
	if n, since := r.Owed(); n != 0 || !since.IsZero() || r.Dest() != "d" {
		t.Errorf("before the first look %d entries wait for %s since %s", n, r.Dest(), since)
	}
	for _, entries := range [][]store.OutboxEntry{
		{{Since: park.At(time.Unix(40, 0))}, {Since: park.At(time.Unix(50, 0))}}, {{Since: park.At(time.Unix(160, 0))}}, nil,
	} {
		want := park.Time{}
		if len(entries) > 0 {
			want = entries[0].Since
		}
		r.found(entries)
		if n, since := r.Owed(); n != len(entries) || since != want {
			t.Errorf("%d entries wait since %s, not %d since %s", n, since, len(entries), want)
		}
	}
}

// TestDeliveries come to their store and wake those who wait for them. an outbox entry without contents is settled.
func TestDeliveries(t *testing.T) {
	to := memory.New()
	mail := &fakeQueue{entries: []store.OutboxEntry{
		{ID: 1, Message: &park.Message{Tenant: "t", Key: "box", PoolID: "cpu", TaskID: "a", Status: park.Completed}}, {ID: 2},
	}}
	s, _, _ := newSource(t, mail)
	mailbox, _ := s.Hub.Join(topic.Mailbox("t", "box"))
	log, _ := s.Hub.Join(topic.Audit())
	r := ToMailbox(s, park.File, to)
	moved, err := r.carry(t.Context())
	page, err2 := to.Messages(t.Context(), park.MailboxQuery{Tenant: "t", Key: "box", Limit: 10})
	if err != nil || err2 != nil || moved != 2 || !slices.Equal(mail.done, []int64{1, 2}) || mail.later != nil || len(page) != 1 ||
		!env.Ready(mailbox) || env.Ready(log) || r.Dest() != "mailbox/file" {
		t.Errorf("%s: done %v, %d messages, %v %v", r.Dest(), mail.done, len(page), err, err2)
	}
	events := &fakeQueue{entries: []store.OutboxEntry{{ID: 3}, {ID: 4, Event: &park.Event{
		EventID: "cpu:1:0", PoolID: "cpu", Action: park.ActUpdate, At: park.At(time.Unix(1, 0)), Rev: 1,
	}}}}
	s.Queue = events
	r = ToAudit(s, park.File, to)
	moved, err = r.carry(t.Context())
	stored, err2 := to.Events(t.Context(), park.AuditQuery{Limit: 10})
	if err != nil || err2 != nil || moved != 2 || !slices.Equal(events.done, []int64{3, 4}) || events.later != nil || len(stored) != 1 ||
		!env.Ready(log) || r.Dest() != "audit/file" {
		t.Errorf("%s: done %v, %d events, %v %v", r.Dest(), events.done, len(stored), err, err2)
	}
}

// TestFailedDeliveriesWakeNobody.
func TestFailedDeliveriesWakeNobody(t *testing.T) {
	q := &fakeQueue{entries: []store.OutboxEntry{{ID: 1, Message: &park.Message{Tenant: "t", Key: "box"}, Event: &park.Event{}}}}
	s, _, _ := newSource(t, q)
	mailbox, _ := s.Hub.Join(topic.Mailbox("t", "box"))
	log, _ := s.Hub.Join(topic.Audit())
	for _, r := range []*Relay{ToMailbox(s, park.File, brokenStore{}), ToAudit(s, park.File, brokenStore{})} {
		if _, err := r.carry(t.Context()); !errors.Is(err, errBroken) || q.settles != 0 || env.Ready(mailbox) || env.Ready(log) || s.Health.Up(park.File) {
			t.Errorf("%s: %v, settled %d times, up %t", r.Dest(), err, q.settles, s.Health.Up(park.File))
		}
	}
}

var errBroken = errors.New("broken")

// brokenStore takes nothing.
type brokenStore struct{ store.Store }

func (brokenStore) Deliver(context.Context, []park.Message) error { return errBroken }
func (brokenStore) Append(context.Context, []park.Event) error    { return errBroken }

// TestNotificationsAreSettled: those that are done with, are put off, or are in the way.
func TestNotificationsAreSettled(t *testing.T) {
	away := errors.New("away")
	is := func(id int64, key string) store.OutboxEntry {
		return store.OutboxEntry{ID: id, Message: &park.Message{Tenant: "t", Key: key}}
	}
	for name, c := range map[string]struct {
		entries     []store.OutboxEntry
		full        bool
		unsettled   error
		done, later []int64
		moved       int
	}{
		"nothing":           {},
		"begun":             {entries: []store.OutboxEntry{is(1, "new")}},
		"done":              {entries: []store.OutboxEntry{{ID: 1}, is(2, "over")}, done: []int64{1, 2}, moved: 2},
		"done and put off":  {entries: []store.OutboxEntry{{ID: 1}, is(3, "rests")}, done: []int64{1}, later: []int64{3}, moved: 2},
		"done and in way":   {entries: []store.OutboxEntry{{ID: 1}, is(4, "on its way")}, full: true, done: []int64{1}, later: []int64{4}, moved: 2},
		"in the way, after": {entries: []store.OutboxEntry{is(3, "rests"), is(4, "on its way")}, full: true, later: []int64{4, 3}, moved: 2},
		"not in the way":    {entries: []store.OutboxEntry{is(4, "on its way")}},
		"cannot be stored":  {entries: []store.OutboxEntry{is(2, "over")}, unsettled: away, done: []int64{2}},
	} {
		q := &fakeQueue{entries: c.entries, unsettled: c.unsettled}
		s, _, _ := newSource(t, q)
		r := ToNotifier(s, "cpu", ignore)
		r.calls.entries[2] = &call{mailbox: mailbox{"t", "over"}, over: true}
		r.calls.entries[4] = &call{mailbox: mailbox{"t", "on its way"}}
		r.calls.receivers[mailbox{"t", "rests"}] = &receiver{failures: 1, until: park.At(time.Unix(1<<40, 0))}
		if c.full {
			r.part = portionOf(len(c.entries))
		}
		moved, err := r.carry(t.Context())
		if moved != c.moved || !errors.Is(err, c.unsettled) || !slices.Equal(q.done, c.done) || !slices.Equal(q.later, c.later) {
			t.Errorf("%s: %d moved, %v; done %v, later %v", name, moved, err, q.done, q.later)
		}
		want := 0
		if c.moved > 0 || c.unsettled != nil {
			want = 1
		}
		if q.settles != want {
			t.Errorf("%s: settled %d times", name, q.settles)
		}
		if _, kept := r.calls.entries[2]; kept == (name == "done") {
			t.Errorf("%s: the call is remembered %t", name, kept)
		}
	}
}

// portionOf returns a portion whose next read is of n rows.
func portionOf(n int) portion.Portion {
	p := portion.Of(portion.MaxBytes)
	p.Read(n, portion.MaxBytes)
	if p.Next() != n {
		panic(fmt.Sprintf("the next read is of %d rows, not of %d", p.Next(), n))
	}
	return p
}

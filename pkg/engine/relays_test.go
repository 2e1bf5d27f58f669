package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// tray is an outbox under the hand of a test.
type tray struct {
	store.Store
	parcels           []store.Parcel
	unread, unsettled error
	reads, settles    int
	done, later       []int64
	stop              func() // after too many reads
}

func (s *tray) Outbox(context.Context, string, park.Time, int) ([]store.Parcel, error) {
	if s.reads++; s.reads > 10 && s.stop != nil {
		s.stop()
	}
	return s.parcels, s.unread
}

func (s *tray) Settle(_ context.Context, done []int64, later []store.Postponed) error {
	s.settles++
	s.done = append(s.done, done...)
	for _, p := range later {
		s.later = append(s.later, p.ID)
	}
	if s.unsettled == nil {
		s.parcels = nil
	}
	return s.unsettled
}

// TestRelaysGoOn as long as they find something, and wait otherwise: for a step that owes more, for a call that ends, or
// for a while. Among other nodes one alone carries.
func TestRelaysGoOn(t *testing.T) {
	away := errors.New("away")
	for name, c := range map[string]struct {
		before      func(s *tray, r *relay)
		comes       func(s *tray, r *relay) // as the first wait begins
		waits       []bool                  // whether each was for something that had come
		reads, told int
	}{
		"nothing":        {waits: []bool{false, true}, reads: 2},
		"one":            {before: func(s *tray, _ *relay) { s.parcels = make([]store.Parcel, 1) }, waits: []bool{false, true}, reads: 3},
		"one comes":      {comes: func(_ *tray, r *relay) { r.eng.hub.wake(outboxTopic(park.InMemory)) }, waits: []bool{true, true}, reads: 2},
		"for others":     {comes: func(_ *tray, r *relay) { r.eng.hub.wake(outboxTopic(park.File)) }, waits: []bool{false, true}, reads: 2},
		"a store fails":  {before: func(s *tray, _ *relay) { s.unread = away }, comes: func(_ *tray, r *relay) { r.eng.hub.wake(outboxTopic(park.InMemory)) }, waits: []bool{false, true}, reads: 2, told: 2},
		"none is stored": {before: func(s *tray, _ *relay) { s.parcels, s.unsettled = make([]store.Parcel, 1), away }, waits: []bool{false, true}, reads: 2, told: 2},
		"a call ends": {
			before: func(_ *tray, r *relay) { r.hooks = newWebhooks(r.eng.pools["cpu"]) },
			comes:  func(_ *tray, r *relay) { r.hooks.answered <- struct{}{} }, waits: []bool{true, true, true}, reads: 2,
		},
		"not the first": {before: func(_ *tray, r *relay) { r.eng.nodes = nodesWith("a") }, waits: []bool{false, true}},
		"the first":     {before: func(_ *tray, r *relay) { r.eng.nodes = nodesWith("z") }, waits: []bool{false, true}, reads: 2},
		"the end": {before: func(s *tray, r *relay) {
			s.parcels = make([]store.Parcel, 1)
			r.deliver = func(context.Context, []store.Parcel) ([]int64, []store.Postponed, error) {
				r.eng.stop()
				return nil, nil, away
			}
		}, waits: []bool{true}, reads: 1},
	} {
		p := poolWith(t, park.PoolRow{State: park.Active})
		e := p.eng
		said := &strings.Builder{}
		e.log = slog.New(slog.NewTextHandler(said, nil))
		s := &tray{stop: e.stop}
		e.stores, e.pools = map[park.Backend]store.Store{park.InMemory: s}, map[string]*pool{"cpu": p}
		e.health = map[park.Backend]*health{park.InMemory: {}, park.File: {}}
		r := &relay{eng: e, from: park.InMemory, to: park.File, owed: e.relayed(park.InMemory, "d"), deliver: func(_ context.Context, all []store.Parcel) ([]int64, []store.Postponed, error) {
			return ids(all), nil, nil
		}}
		if c.before != nil {
			c.before(s, r)
		}
		w := e.world.(*strict)
		w.onWait = func() {
			if len(w.waited) == 0 && c.comes != nil {
				c.comes(s, r)
			}
			if len(w.waited) == 1 {
				e.stop()
			}
		}
		r.loop()
		var waits []bool
		for i, one := range w.waited {
			waits = append(waits, one.ready)
			if want := []time.Duration{relayTick, relayTick, forever}[min(i, 2)]; one.d != want {
				t.Errorf("%s: wait %d is for %s", name, i, one.d)
			}
		}
		if n := strings.Count(said.String(), "not relayed"); !slices.Equal(waits, c.waits) || s.reads != c.reads || n != c.told || e.hub.awaited() {
			t.Errorf("%s: waits %v, %d reads, told %d times", name, waits, s.reads, n)
		}
		if down := e.health[park.InMemory].down.Load() || e.health[park.File].down.Load(); down != (s.unread != nil) {
			t.Errorf("%s: a store is down %t", name, down)
		}
	}
}

// nodesWith returns the node me of a store, of which another lives.
func nodesWith(other string) map[park.Backend]*node {
	n := &node{live: map[string]store.Pulse{"me": {}, other: {}}}
	me := "me"
	n.id.Store(&me)
	return map[park.Backend]*node{park.InMemory: n}
}

// TestNotificationsAreSettled: those that are done with, are put off, or stand in the way.
func TestNotificationsAreSettled(t *testing.T) {
	away := errors.New("away")
	is := func(id int64, key string) store.Parcel {
		return store.Parcel{ID: id, Message: &park.Message{Tenant: "t", Key: key}}
	}
	for name, c := range map[string]struct {
		parcels     []store.Parcel
		full        bool
		unsettled   error
		done, later []int64
		moved       int
	}{
		"nothing":           {},
		"begun":             {parcels: []store.Parcel{is(1, "new")}},
		"done":              {parcels: []store.Parcel{{ID: 1}, is(2, "over")}, done: []int64{1, 2}, moved: 2},
		"done and put off":  {parcels: []store.Parcel{{ID: 1}, is(3, "rests")}, done: []int64{1}, later: []int64{3}, moved: 2},
		"done and in way":   {parcels: []store.Parcel{{ID: 1}, is(4, "under way")}, full: true, done: []int64{1}, later: []int64{4}, moved: 2},
		"in the way, after": {parcels: []store.Parcel{is(3, "rests"), is(4, "under way")}, full: true, later: []int64{4, 3}, moved: 2},
		"not in the way":    {parcels: []store.Parcel{is(4, "under way")}},
		"cannot be stored":  {parcels: []store.Parcel{is(2, "over")}, unsettled: away, done: []int64{2}},
	} {
		p := poolWith(t, park.PoolRow{State: park.Active})
		e := p.eng
		e.world = &crewWorld{byHand: &byHand{}, strict: &strict{T: t}}
		p.Notifier = deafPost{}
		h := newWebhooks(p)
		h.under[2] = &call{box: box{"t", "over"}, over: true}
		h.under[4] = &call{box: box{"t", "under way"}}
		h.boxes[box{"t", "rests"}] = &receiver{failures: 1, until: park.At(time.Unix(1<<40, 0))}
		s := &tray{parcels: c.parcels, unsettled: c.unsettled}
		e.stores = map[park.Backend]store.Store{park.InMemory: s}
		r := &relay{eng: e, from: park.InMemory, hooks: h, owed: e.relayed(park.InMemory, "d")}
		r.part.next = 10
		if c.full {
			r.part.next = len(c.parcels)
		}
		moved, err := r.carry(t.Context())
		if moved != c.moved || !errors.Is(err, c.unsettled) || !slices.Equal(s.done, c.done) || !slices.Equal(s.later, c.later) {
			t.Errorf("%s: %d moved, %v; done %v, later %v", name, moved, err, s.done, s.later)
		}
		if want := btoi(c.moved > 0 || c.unsettled != nil); s.settles != want {
			t.Errorf("%s: settled %d times", name, s.settles)
		}
		if _, kept := h.under[2]; kept == (name == "done") {
			t.Errorf("%s: the call is remembered %t", name, kept)
		}
	}
}

type deafPost struct{}

func (deafPost) Notify(context.Context, string, park.Message) error { return nil }

// TestRelaysAreStarted: one for each store and place, and one for each pool that notifies.
func TestRelaysAreStarted(t *testing.T) {
	both := []park.Backend{park.InMemory, park.File}
	for _, c := range []struct {
		queues, mails []park.Backend // of the pools a and b
		audit         park.Backend
		notify        bool
		want          string
	}{
		{[]park.Backend{park.InMemory, park.InMemory}, []park.Backend{park.InMemory, park.InMemory}, park.InMemory, false, ""},
		{[]park.Backend{park.InMemory, park.InMemory}, []park.Backend{park.File, park.File}, park.InMemory, false, "in_memory>mailbox/file"},
		{[]park.Backend{park.InMemory, park.InMemory}, both, park.File, false, "in_memory>audit/file in_memory>mailbox/file"},
		{both, []park.Backend{park.File, park.File}, park.Postgres, false, "in_memory>mailbox/file in_memory>audit/postgres file>audit/postgres"},
		{both, both, park.File, true, "in_memory>audit/file in_memory>notify/a file>notify/b"},
	} {
		p := poolWith(t, park.PoolRow{State: park.Active})
		e := p.eng
		w := &byHand{}
		e.world = &crewWorld{byHand: w, strict: &strict{T: t}}
		e.work.eng, e.cfg.Audit, e.pools = e, c.audit, map[string]*pool{}
		for i, id := range []string{"a", "b"} {
			one := &pool{Pool: Pool{PoolSpec: park.PoolSpec{ID: id, QueueBackend: c.queues[i], MailboxBackend: c.mails[i]}}, eng: e}
			one.localMail, one.localAudit = c.queues[i] == c.mails[i], c.queues[i] == c.audit
			if c.notify {
				one.Notifier = deafPost{}
			}
			e.pools[id], e.order = one, append(e.order, id)
		}
		e.startRelays()
		var got []string
		for _, o := range e.owing {
			got = append(got, fmt.Sprintf("%s>%s", o.from, o.dest))
		}
		if text := strings.Join(got, " "); text != c.want || len(w.begun) != len(got) {
			t.Errorf("%+v: %q, %d begun", c, text, len(w.begun))
		}
	}
}

package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// byHand is a world whose clocks a test sets, and whose goroutines begin when it says so; chance is always the same.
type byHand struct {
	handClock
	begun  []func()
	chance uint64
}

func (w *byHand) Go(f func()) { w.begun = append(w.begun, f) }

func (w *byHand) Read(b []byte) { binary.LittleEndian.PutUint64(b, w.chance) }

// finish lets what was begun run, in its order.
func (w *byHand) finish() {
	for len(w.begun) > 0 {
		f := w.begun[0]
		w.begun = w.begun[1:]
		f()
	}
}

// post is a notifier that fails for those mailboxes that have a reason to.
type post struct {
	why   map[string]error
	heard []string
}

func (n *post) Notify(_ context.Context, _ string, m park.Message) error {
	n.heard = append(n.heard, m.TaskID)
	return n.why[m.Key]
}

// receivers is a pool's notifications under the hand of a test.
type receivers struct {
	*testing.T
	*webhooks
	world  *byHand
	post   *post
	said   *strings.Builder
	nextID int64
}

func newReceivers(t *testing.T) *receivers {
	r := &receivers{T: t, world: &byHand{}, post: &post{why: map[string]error{}}, said: &strings.Builder{}}
	r.world.pass(1000 * day)
	r.world.wall = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	e := &Engine{world: r.world, clock: &clock{world: r.world}, log: slog.New(slog.NewTextHandler(r.said, nil))}
	r.webhooks = newWebhooks(&pool{Pool: Pool{PoolSpec: park.PoolSpec{ID: "cpu"}, Notifier: r.post}, eng: e})
	return r
}

func (r *receivers) now() park.Time { return r.pool.eng.env.Wall() }

// parcels makes one for each of the mailboxes, as they are now.
func (r *receivers) parcels(boxes ...string) (all []store.Parcel) {
	for _, key := range boxes {
		r.nextID++
		all = append(all, store.Parcel{ID: r.nextID, Attempts: 2, Since: r.now(), Message: &park.Message{TaskID: key, Key: key}})
	}
	return all
}

// sorted sorts and says how many are done, put off and aside, and begun.
func (r *receivers) sorted(parcels []store.Parcel, full bool) (s sorted, counts [4]int) {
	r.Helper()
	before := len(r.world.begun)
	s = r.sort(r.Context(), parcels, full, r.now())
	return s, [4]int{len(s.done), len(s.later), len(s.aside), len(r.world.begun) - before}
}

func (r *receivers) want(what string, got, want [4]int) {
	r.Helper()
	if got != want {
		r.Errorf("%s: done, put off, aside and begun are %v, want %v", what, got, want)
	}
}

func repeat(key string, n int) []string { return slices.Repeat([]string{key}, n) }

// TestRoomForNotifications: one mailbox has so many calls at once, all together so many, and those that fail half of these.
func TestRoomForNotifications(t *testing.T) {
	r := newReceivers(t)
	_, got := r.sorted(r.parcels(repeat("a", callsPerBox+1)...), false)
	r.want("one mailbox", got, [4]int{0, 0, 0, callsPerBox})
	var boxes []string
	for i := range callsAtOnce {
		boxes = append(boxes, string(rune('A'+i)))
	}
	s, got := r.sorted(r.parcels(boxes...), true)
	r.want("many", got, [4]int{0, 0, callsPerBox, callsAtOnce - callsPerBox})
	if a := s.aside[0]; a.Attempts != 2 || a.Until != park.At(r.now().Add(relayTick)) {
		t.Errorf("aside until %v, %d attempts", a.Until, a.Attempts)
	}
	r.world.finish()
	if r.busy != 0 || r.failing != 0 || r.trying != 0 {
		t.Errorf("after all: %d busy, %d failing, %d of them tried", r.busy, r.failing, r.trying)
	}
	for _, b := range boxes {
		r.post.why[b] = errors.New("no")
	}
	_, got = r.sorted(r.parcels(boxes...), false)
	r.want("that will fail", got, [4]int{0, 0, 0, callsAtOnce})
	r.world.finish()
	if r.failing != callsAtOnce || r.busy != 0 {
		t.Errorf("%d fail, %d busy", r.failing, r.busy)
	}
	if n := strings.Count(r.said.String(), "WARN"); n != toldApart {
		t.Errorf("the log tells of %d", n)
	}
	r.world.pass(lastRetry)
	_, got = r.sorted(r.parcels(append(boxes, "a", "a")...), false)
	r.want("that have failed", got, [4]int{0, 0, 0, callsAtOnce/2 + 2})
	if r.trying != callsAtOnce/2 {
		t.Errorf("%d of those that fail are tried", r.trying)
	}
	_, got = r.sorted(r.parcels(boxes[0]), false)
	r.want("one that is tried", got, [4]int{})
	clear(r.post.why)
	r.world.finish()
	if r.failing != callsAtOnce/2 || r.trying != 0 || r.busy != 0 {
		t.Errorf("after all: %d busy, %d failing, %d of them tried", r.busy, r.failing, r.trying)
	}
	if n := strings.Count(r.said.String(), "INFO"); n != callsAtOnce/2 {
		t.Errorf("the log tells of %d that have recovered", n)
	}
}

// TestFailedNotificationsComeLater: each waits by how often it was tried, and none is tried before its mailbox is.
func TestFailedNotificationsComeLater(t *testing.T) {
	r := newReceivers(t)
	r.post.why["a"] = errors.New("no")
	first := r.parcels("a", "a")
	first[1].Attempts = 0
	_, got := r.sorted(first, true)
	r.want("the first", got, [4]int{0, 0, 0, 2})
	_, got = r.sorted(first, true)
	r.want("on their way", got, [4]int{0, 0, 2, 0})
	_, got = r.sorted(first, false)
	r.want("on their way, and all that there are", got, [4]int{})
	began := r.now()
	r.world.finish()
	if len(r.answered) != 1 {
		t.Error("nobody hears of the end of a call")
	}
	// Chance is as small as can be: the first failure of a mailbox is worth half a second.
	s, got := r.sorted(append(first, r.parcels("a")...), true)
	r.want("failed", got, [4]int{0, 3, 0, 0})
	for i, want := range []store.Postponed{
		{ID: 1, Attempts: 3, Until: park.At(began.Add(2 * time.Second))},
		{ID: 2, Attempts: 1, Until: park.At(began.Add(time.Second / 2))},
		{ID: 3, Attempts: 2, Until: park.At(began.Add(time.Second / 2))},
	} {
		if s.later[i] != want {
			t.Errorf("put off as %+v, want %+v", s.later[i], want)
		}
	}
	r.settled(nil, s.later)
	if len(r.under) != 0 || len(r.boxes) != 1 || r.boxes[box{"", "a"}].failures != 1 {
		t.Errorf("known are %d calls and %d mailboxes", len(r.under), len(r.boxes))
	}
	r.world.pass(time.Second / 2)
	_, got = r.sorted(first[1:], false)
	r.want("once the time has come", got, [4]int{0, 0, 0, 1})
	r.world.finish()
	s, got = r.sorted(first[1:], false)
	r.want("failed again", got, [4]int{0, 1, 0, 0})
	if want := park.At(r.now().Add(time.Second)); s.later[0].Until != want { // the mailbox has failed twice, this one once
		t.Errorf("put off until %v, want %v", s.later[0].Until, want)
	}
	r.settled(nil, s.later)
	r.world.pass(time.Second)
	clear(r.post.why)
	_, got = r.sorted(first, false)
	r.want("one of two, by one that has failed", got, [4]int{0, 0, 0, 1})
	r.world.finish()
	s, got = r.sorted(first, false)
	r.want("the other, once the first was taken", got, [4]int{1, 0, 0, 1})
	r.settled(s.done, nil)
	if len(r.boxes) != 1 || len(r.under) != 1 {
		t.Errorf("known are %d calls and %d mailboxes while one is on its way", len(r.under), len(r.boxes))
	}
	r.world.finish()
	r.settled([]int64{first[1].ID, 99}, nil)
	if len(r.boxes) != 0 || len(r.under) != 0 || r.failing != 0 {
		t.Errorf("in the end %d calls and %d mailboxes are known, and %d fail", len(r.under), len(r.boxes), r.failing)
	}
}

// TestFailedTogetherCountsOnce: of calls to one mailbox that fail at one time the first counts.
func TestFailedTogetherCountsOnce(t *testing.T) {
	r := newReceivers(t)
	r.post.why["a"] = errors.New("no")
	r.sorted(r.parcels(repeat("a", callsPerBox)...), false)
	r.world.finish()
	b := r.boxes[box{"", "a"}]
	if b.failures != 1 || b.busy != 0 || r.failing != 1 || strings.Count(r.said.String(), "WARN") != 1 {
		t.Errorf("%+v, %d fail: %s", *b, r.failing, r.said)
	}
}

// TestNotificationGivenUp: what has failed for long is done with, and its mailbox begins anew.
func TestNotificationGivenUp(t *testing.T) {
	for _, c := range []struct {
		after time.Duration
		given bool
	}{{giveUp, false}, {giveUp + time.Millisecond, true}} {
		r := newReceivers(t)
		r.post.why["a"] = errors.New("no")
		p := r.parcels("a")
		r.world.pass(c.after)
		r.sorted(p, false)
		r.world.finish()
		s, _ := r.sorted(p, false)
		b := r.boxes[box{"", "a"}]
		if given := len(s.done) == 1; given != c.given || strings.Contains(r.said.String(), "given up") != given || (b.failures == 0) != given ||
			b.until.IsZero() != given || (r.failing == 0) != given {
			t.Errorf("after %s: given up %t, %+v, %d fail", c.after, given, *b, r.failing)
		}
	}
}

// TestParcelWithoutMessage is done with, and what comes behind it is not forgotten.
func TestParcelWithoutMessage(t *testing.T) {
	r := newReceivers(t)
	s, got := r.sorted(append([]store.Parcel{{ID: 77}}, r.parcels("a")...), false)
	r.want("both", got, [4]int{1, 0, 0, 1})
	if s.done[0] != 77 {
		t.Errorf("done is %v", s.done)
	}
}

// TestCallThatIsCutShort leaves its parcel to the next engine.
func TestCallThatIsCutShort(t *testing.T) {
	r := newReceivers(t)
	ctx, cancel := context.WithCancel(t.Context())
	r.post.why["a"] = errors.New("no")
	r.sort(ctx, r.parcels("a", "b"), false, r.now())
	cancel()
	r.world.finish()
	if r.busy != 1 || r.failing != 0 || r.under[1].over || !r.under[2].over {
		t.Errorf("%d busy, %d fail, over are %t and %t", r.busy, r.failing, r.under[1].over, r.under[2].over)
	}
}

// TestBackoff doubles, is drawn from its upper half, and ends at the last.
func TestBackoff(t *testing.T) {
	w := &byHand{}
	e := &Engine{world: w}
	for attempts, want := range map[int]time.Duration{0: time.Second, 1: 2 * time.Second, 8: 256 * time.Second, 9: lastRetry, 30: lastRetry, 1000: lastRetry} {
		w.chance = 0
		low := e.backoff(attempts)
		w.chance = uint64(want / 2)
		if high := e.backoff(attempts); low != want/2 || high != want {
			t.Errorf("after %d attempts from %s to %s, want up to %s", attempts, low, high, want)
		}
		if w.chance++; e.backoff(attempts) != want/2 {
			t.Errorf("after %d attempts it is more than %s", attempts, want)
		}
	}
}

// TestReceiversAreForgotten once: several calls to one mailbox that are settled together.
func TestReceiversAreForgotten(t *testing.T) {
	r := newReceivers(t)
	r.sorted(r.parcels("a", "a", "a"), false)
	r.world.finish()
	r.settled([]int64{1, 2, 3}, nil)
	if len(r.under) != 0 || len(r.boxes) != 0 {
		t.Errorf("known are %d calls and %d mailboxes", len(r.under), len(r.boxes))
	}
}

package relay

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/env"
	"github.com/parkd-dev/parkd/pkg/internal/env/envtest"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// fakeNotifier fails for the mailboxes that have an error.
type fakeNotifier struct {
	fails  map[string]error
	called []string
}

func (n *fakeNotifier) Notify(_ context.Context, _ string, m park.Message) error {
	n.called = append(n.called, m.TaskID)
	return n.fails[m.Key]
}

// testCalls are a pool's notifications on a machine that a test controls.
type testCalls struct {
	*testing.T
	*calls
	machine  *envtest.Machine
	notifier *fakeNotifier
	logged   *strings.Builder
	nextID   int64
}

func newTestCalls(t *testing.T) *testCalls {
	r := &testCalls{T: t, machine: &envtest.Machine{}, notifier: &fakeNotifier{fails: map[string]error{}}, logged: &strings.Builder{}}
	r.machine.Pass(24000 * time.Hour)
	r.machine.Wall = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	r.calls = newCalls(env.New(r.machine), slog.New(slog.NewTextHandler(r.logged, nil)), "cpu", r.notifier.Notify)
	return r
}

func (r *testCalls) now() park.Time { return r.env.Wall() }

// newEntries returns a new entry for each of the mailboxes.
func (r *testCalls) newEntries(mailboxes ...string) (all []store.OutboxEntry) {
	for _, key := range mailboxes {
		r.nextID++
		all = append(all, store.OutboxEntry{ID: r.nextID, Attempts: 2, Since: r.now(), Message: &park.Message{TaskID: key, Key: key}})
	}
	return all
}

// sorted sorts entries and returns also how many are done, put off and aside, and how many calls were begun.
func (r *testCalls) sorted(entries []store.OutboxEntry, full bool) (s sorted, counts [4]int) {
	r.Helper()
	before := len(r.machine.Begun)
	s = r.sort(r.Context(), entries, full, r.now())
	return s, [4]int{len(s.done), len(s.later), len(s.aside), len(r.machine.Begun) - before}
}

func (r *testCalls) want(what string, got, want [4]int) {
	r.Helper()
	if got != want {
		r.Errorf("%s: done, put off, aside and begun are %v, want %v", what, got, want)
	}
}

func repeat(key string, n int) []string { return slices.Repeat([]string{key}, n) }

// TestRoomForNotifications: the calls of one mailbox are bounded, all together are, and those to mailboxes that fail get half
// of the room.
func TestRoomForNotifications(t *testing.T) {
	r := newTestCalls(t)
	_, got := r.sorted(r.newEntries(repeat("a", callsPerMailbox+1)...), false)
	r.want("one mailbox", got, [4]int{0, 0, 0, callsPerMailbox})
	var mailboxes []string
	for i := range callsAtOnce {
		mailboxes = append(mailboxes, string(rune('A'+i)))
	}
	s, got := r.sorted(r.newEntries(mailboxes...), true)
	r.want("many", got, [4]int{0, 0, callsPerMailbox, callsAtOnce - callsPerMailbox})
	if a := s.aside[0]; a.Attempts != 2 || a.Until != park.At(r.now().Add(tick)) {
		t.Errorf("aside until %v, %d attempts", a.Until, a.Attempts)
	}
	r.machine.Finish()
	if r.busy != 0 || r.failing != 0 || r.trying != 0 {
		t.Errorf("after all: %d busy, %d failing, %d of them tried", r.busy, r.failing, r.trying)
	}
	for _, b := range mailboxes {
		r.notifier.fails[b] = errors.New("no")
	}
	_, got = r.sorted(r.newEntries(mailboxes...), false)
	r.want("that will fail", got, [4]int{0, 0, 0, callsAtOnce})
	r.machine.Finish()
	if r.failing != callsAtOnce || r.busy != 0 {
		t.Errorf("%d fail, %d busy", r.failing, r.busy)
	}
	if n := strings.Count(r.logged.String(), "WARN"); n != loggedFailures {
		t.Errorf("the log has %d", n)
	}
	r.machine.Pass(LastRetry)
	_, got = r.sorted(r.newEntries(append(mailboxes, "a", "a")...), false)
	r.want("that have failed", got, [4]int{0, 0, 0, callsAtOnce/2 + 2})
	if r.trying != callsAtOnce/2 {
		t.Errorf("%d of those that fail are tried", r.trying)
	}
	_, got = r.sorted(r.newEntries(mailboxes[0]), false)
	r.want("one that is tried", got, [4]int{})
	clear(r.notifier.fails)
	r.machine.Finish()
	if r.failing != callsAtOnce/2 || r.trying != 0 || r.busy != 0 {
		t.Errorf("after all: %d busy, %d failing, %d of them tried", r.busy, r.failing, r.trying)
	}
	if n := strings.Count(r.logged.String(), "INFO"); n != callsAtOnce/2 {
		t.Errorf("the log has %d that have recovered", n)
	}
}

// TestFailedNotificationsComeLater: how long each waits depends on how often it was tried, and none is tried before its
// mailbox is.
func TestFailedNotificationsComeLater(t *testing.T) {
	r := newTestCalls(t)
	r.notifier.fails["a"] = errors.New("no")
	first := r.newEntries("a", "a")
	first[1].Attempts = 0
	_, got := r.sorted(first, true)
	r.want("the first", got, [4]int{0, 0, 0, 2})
	_, got = r.sorted(first, true)
	r.want("on their way", got, [4]int{0, 0, 2, 0})
	_, got = r.sorted(first, false)
	r.want("on their way, and all that there are", got, [4]int{})
	began := r.now()
	r.machine.Finish()
	if len(r.answered) != 1 {
		t.Error("the end of a call is not signalled")
	}
	// With the smallest random number, the first failure of a mailbox is half a second of rest.
	s, got := r.sorted(append(first, r.newEntries("a")...), true)
	r.want("failed", got, [4]int{0, 3, 0, 0})
	for i, want := range []store.DeferredEntry{
		{ID: 1, Attempts: 3, Until: park.At(began.Add(2 * time.Second))},
		{ID: 2, Attempts: 1, Until: park.At(began.Add(time.Second / 2))},
		{ID: 3, Attempts: 2, Until: park.At(began.Add(time.Second / 2))},
	} {
		if s.later[i] != want {
			t.Errorf("put off as %+v, want %+v", s.later[i], want)
		}
	}
	r.settled(nil, s.later)
	if len(r.calls.entries) != 0 || len(r.receivers) != 1 || r.receivers[mailbox{"", "a"}].failures != 1 {
		t.Errorf("known are %d calls and %d mailboxes", len(r.calls.entries), len(r.receivers))
	}
	r.machine.Pass(time.Second / 2)
	_, got = r.sorted(first[1:], false)
	r.want("once the time has come", got, [4]int{0, 0, 0, 1})
	r.machine.Finish()
	s, got = r.sorted(first[1:], false)
	r.want("failed again", got, [4]int{0, 1, 0, 0})
	if want := park.At(r.now().Add(time.Second)); s.later[0].Until != want { // the mailbox has failed twice, this one once
		t.Errorf("put off until %v, want %v", s.later[0].Until, want)
	}
	r.settled(nil, s.later)
	r.machine.Pass(time.Second)
	clear(r.notifier.fails)
	_, got = r.sorted(first, false)
	r.want("one of two, by one that has failed", got, [4]int{0, 0, 0, 1})
	r.machine.Finish()
	s, got = r.sorted(first, false)
	r.want("the other, once the first was taken", got, [4]int{1, 0, 0, 1})
	r.settled(s.done, nil)
	if len(r.receivers) != 1 || len(r.calls.entries) != 1 {
		t.Errorf("known are %d calls and %d mailboxes while one is on its way", len(r.calls.entries), len(r.receivers))
	}
	r.machine.Finish()
	r.settled([]int64{first[1].ID, 99}, nil)
	if len(r.receivers) != 0 || len(r.calls.entries) != 0 || r.failing != 0 {
		t.Errorf("in the end %d calls and %d mailboxes are known, and %d fail", len(r.calls.entries), len(r.receivers), r.failing)
	}
}

// TestFailedTogetherCountsOnce: of calls to one mailbox that fail at the same time the first counts.
func TestFailedTogetherCountsOnce(t *testing.T) {
	r := newTestCalls(t)
	r.notifier.fails["a"] = errors.New("no")
	r.sorted(r.newEntries(repeat("a", callsPerMailbox)...), false)
	r.machine.Finish()
	b := r.receivers[mailbox{"", "a"}]
	if b.failures != 1 || b.busy != 0 || r.failing != 1 || strings.Count(r.logged.String(), "WARN") != 1 {
		t.Errorf("%+v, %d fail: %s", *b, r.failing, r.logged)
	}
}

// TestNotificationGivenUp: a notification that has failed for days is done with, and its mailbox begins without failures.
func TestNotificationGivenUp(t *testing.T) {
	for _, c := range []struct {
		after time.Duration
		given bool
	}{{giveUp, false}, {giveUp + time.Millisecond, true}} {
		r := newTestCalls(t)
		r.notifier.fails["a"] = errors.New("no")
		p := r.newEntries("a")
		r.machine.Pass(c.after)
		r.sorted(p, false)
		r.machine.Finish()
		s, _ := r.sorted(p, false)
		b := r.receivers[mailbox{"", "a"}]
		if given := len(s.done) == 1; given != c.given || strings.Contains(r.logged.String(), "given up") != given || (b.failures == 0) != given ||
			b.until.IsZero() != given || (r.failing == 0) != given {
			t.Errorf("after %s: given up %t, %+v, %d fail", c.after, given, *b, r.failing)
		}
	}
}

// TestEntryWithoutMessage is done with, and the entry behind it is not forgotten.
func TestEntryWithoutMessage(t *testing.T) {
	r := newTestCalls(t)
	s, got := r.sorted(append([]store.OutboxEntry{{ID: 77}}, r.newEntries("a")...), false)
	r.want("both", got, [4]int{1, 0, 0, 1})
	if s.done[0] != 77 {
		t.Errorf("done is %v", s.done)
	}
}

// TestCallThatIsCutShort leaves its entry to the next engine.
func TestCallThatIsCutShort(t *testing.T) {
	r := newTestCalls(t)
	ctx, cancel := context.WithCancel(t.Context())
	r.notifier.fails["a"] = errors.New("no")
	r.sort(ctx, r.newEntries("a", "b"), false, r.now())
	cancel()
	r.machine.Finish()
	if r.busy != 1 || r.failing != 0 || r.calls.entries[1].over || !r.calls.entries[2].over {
		t.Errorf("%d busy, %d fail, over are %t and %t", r.busy, r.failing, r.calls.entries[1].over, r.calls.entries[2].over)
	}
}

// TestBackoff doubles up to the last, and half of it is random.
func TestBackoff(t *testing.T) {
	m := &envtest.Machine{}
	e := env.New(m)
	for attempts, want := range map[int]time.Duration{0: time.Second, 1: 2 * time.Second, 8: 256 * time.Second, 9: LastRetry, 30: LastRetry, 1000: LastRetry} {
		m.Random = 0
		low := backoff(e, attempts)
		m.Random = uint64(want / 2)
		if high := backoff(e, attempts); low != want/2 || high != want {
			t.Errorf("after %d attempts from %s to %s, want up to %s", attempts, low, high, want)
		}
		if m.Random++; backoff(e, attempts) != want/2 {
			t.Errorf("after %d attempts it is more than %s", attempts, want)
		}
	}
}

// TestReceiversAreForgotten, also if several calls to one mailbox are settled together.
func TestReceiversAreForgotten(t *testing.T) {
	r := newTestCalls(t)
	r.sorted(r.newEntries("a", "a", "a"), false)
	r.machine.Finish()
	r.settled([]int64{1, 2, 3}, nil)
	if len(r.calls.entries) != 0 || len(r.receivers) != 0 {
		t.Errorf("known are %d calls and %d mailboxes", len(r.calls.entries), len(r.receivers))
	}
}

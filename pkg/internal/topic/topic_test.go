package topic

import (
	"testing"

	"github.com/parkd-dev/parkd/pkg/internal/env"
)

// TestHub: everyone who waits for a topic is woken once, and nobody is kept who has left.
func TestHub(t *testing.T) {
	var h Hub
	woken := func(c <-chan struct{}, want bool) {
		t.Helper()
		if env.Ready(c) != want {
			t.Errorf("woken: %t", !want)
		}
	}
	a, b := Ended("cpu", "a"), Ended("cpu", "b")
	h.Wake(a)
	first, leaveFirst := h.Join(a)
	second, leaveSecond := h.Join(a)
	other, leaveOther := h.Join(b)
	leaveFirst()
	h.Wake(Mailbox("default", "box"))
	woken(second, false)
	h.Wake(Mailbox("default", "box"), a)
	woken(first, true)
	woken(second, true)
	woken(other, false)
	third, leaveThird := h.Join(a)
	leaveSecond() // of those who were woken: who joined since then stays
	woken(third, false)
	h.Wake(a)
	woken(third, true)
	leaveThird()
	if !h.Joined() {
		t.Error("nobody has joined while somebody waits")
	}
	h.WakeAll()
	woken(other, true)
	if h.Joined() {
		t.Error("somebody is kept who was woken")
	}
	leaveOther()
	h.WakeAll()
	_, leave := h.Join(b)
	leave()
	if h.Joined() {
		t.Error("somebody is kept who has left")
	}
}

// TestTopicsDiffer by kind and by what they name.
func TestTopicsDiffer(t *testing.T) {
	seen := make(map[Topic]bool)
	all := []Topic{
		Audit(), Mailbox("a", "b"), Mailbox("b", "a"), Ended("a", "b"), Ended("b", "a"), Started("a", "b"), Outbox("a"), Outbox("b"),
	}
	for _, at := range all {
		seen[at] = true
	}
	if len(seen) != len(all) {
		t.Errorf("of %d topics %d differ", len(all), len(seen))
	}
}

package loadtest

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/parkd-dev/parkd/pkg/park"
)

func at(rev int64) stepTime { return stepTime{rev: rev, at: rev * 1000} }

func TestLineupOrder(t *testing.T) {
	l := newIdealPool()
	l.park("a", park.Normal, 1, false)
	l.park("b", park.Normal, 1, false)
	l.park("c", park.High, 1, false)
	check := func(id string, p park.Priority, want bool) {
		t.Helper()
		if got := l.isNext(id, p); got != want {
			t.Errorf("isNext(%s) is %t", id, got)
		}
	}
	check("c", park.High, true)
	check("a", park.Normal, false)
	check("new", park.High, false)
	check("new", park.Critical, true)
	l.leave("c")
	check("a", park.Normal, true)
	check("b", park.Normal, false)
	check("new", park.High, true)
	check("new", park.Low, false)
	l.leave("a")
	l.park("x", park.Normal, 1, true)
	l.park("y", park.Normal, 1, true)
	check("b", park.Normal, false)
	check("x", park.Normal, true)
	check("y", park.Normal, true)
	l.leave("y")
	l.leave("x")
	check("b", park.Normal, true)
	l.leave("b")
	check("new", park.Low, true)
}

// TestLineupOwes has a pool that does not start tasks while units come free. Each task should have started in the step
// in which it fitted behind those before it.
func TestLineupOwes(t *testing.T) {
	l := newIdealPool()
	l.park("big", park.Normal, 8, false)
	l.park("small", park.Normal, 1, false)
	l.reserveStarts(at(1), 4) // the small one would fit, but the big one is first
	l.reserveStarts(at(2), 8)
	l.reserveStarts(at(3), 8)
	l.reserveStarts(at(4), 9)
	l.park("next", park.Normal, 2, false)
	l.reserveStarts(at(5), 10)
	since := func(id string, want int64) {
		t.Helper()
		if m, ok := l.leave(id); !ok || m.rev != want {
			t.Errorf("%s is owed since %+v (%t), want rev %d", id, m, ok, want)
		}
	}
	since("big", 2)
	l.reserveStarts(at(6), 2)
	since("small", 4)
	l.reserveStarts(at(7), 1)
	if _, ok := l.leave("next"); ok {
		t.Error("next was never owed anything")
	}
}

func TestLineupForgives(t *testing.T) {
	l := newIdealPool()
	l.park("a", park.Normal, 4, false)
	l.reserveStarts(at(1), 4)
	l.resize(4)
	l.reserveStarts(at(2), 2)
	l.reserveStarts(at(3), 4)
	if m, ok := l.leave("a"); !ok || m.rev != 3 || l.reserved != 0 {
		t.Errorf("owed since %+v, %d units in all", m, l.reserved)
	}
}

// TestLineupAgainstALine compares the lineup with a sorted list over many random changes.
func TestLineupAgainstALine(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	l := newIdealPool()
	type waiting struct {
		id string
		p  park.Priority
	}
	var line []waiting
	next := func() string {
		best := ""
		p := park.Priority(-2)
		for _, w := range line {
			if w.p > p {
				best, p = w.id, w.p
			}
		}
		return best
	}
	for i := range 20_000 {
		switch n := rng.IntN(10); {
		case n < 5 || len(line) == 0:
			w := waiting{strconv.Itoa(i), park.Priority(rng.IntN(4) - 1)}
			line = append(line, w)
			l.park(w.id, w.p, 1+rng.Int64N(5), false)
		case n < 9:
			id := next()
			at := slices.IndexFunc(line, func(w waiting) bool { return w.id == id })
			if !l.isNext(id, line[at].p) {
				t.Fatalf("move %d: %s should be next", i, id)
			}
			l.leave(id)
			line = slices.Delete(line, at, at+1)
		default:
			at := rng.IntN(len(line))
			if id := line[at].id; id != next() && l.isNext(id, line[at].p) {
				t.Fatalf("move %d: %s should not be next", i, id)
			}
			l.leave(line[at].id)
			line = slices.Delete(line, at, at+1)
		}
		l.reserveStarts(at(int64(i)), rng.Int64N(6))
		if len(l.parked) != len(line) || l.reserved < 0 {
			t.Fatalf("move %d: %d parked, want %d; %d owed", i, len(l.parked), len(line), l.reserved)
		}
	}
	for _, c := range l.classes {
		if c.head > 2048 && c.head > len(c.queue) {
			t.Errorf("%d places kept of tasks that have gone", c.head)
		}
	}
}

// TestLineupPassesOver has a pool whose capacity is lowered below the cost of parked tasks, and raised again.
func TestLineupPassesOver(t *testing.T) {
	l := newIdealPool()
	l.park("big", park.Normal, 8, false)
	l.park("small", park.Normal, 1, false)
	l.park("lost", park.Normal, 8, true)
	if l.isNext("small", park.Normal) || !l.isNext("lost", park.Normal) {
		t.Error("the order is not kept")
	}
	l.resize(4)
	l.park("later", park.Normal, 8, true)
	l.reserveStarts(at(1), 4)
	if !l.isNext("small", park.Normal) || l.isNext("big", park.Normal) || l.isNext("lost", park.Normal) {
		t.Error("those that cost more than the pool has are not passed over")
	}
	if m, ok := l.leave("small"); !ok || m.rev != 1 {
		t.Errorf("small is owed since %+v (%t)", m, ok)
	}
	if !l.isNext("new", park.Normal) {
		t.Error("a new task has to wait for those that cannot start")
	}
	l.leave("later")
	l.resize(8)
	if !l.isNext("lost", park.Normal) || l.isNext("big", park.Normal) {
		t.Error("they do not have their places again")
	}
	l.leave("lost")
	l.reserveStarts(at(2), 8)
	if m, ok := l.leave("big"); !ok || m.rev != 2 {
		t.Errorf("big is owed since %+v (%t)", m, ok)
	}
}

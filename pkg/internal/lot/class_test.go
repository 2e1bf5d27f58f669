package lot

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

// TestHead compares the first task of a class with a linear search, while tasks are inserted at both ends, tasks are
// removed anywhere, and the capacity changes.
func TestHead(t *testing.T) {
	for seed := range uint64(40) {
		random := rand.New(rand.NewPCG(seed, 1))
		var all tasks
		var c class
		var waits []*entry
		join := func(rank int64) {
			e := all.allocate()
			e.rank, e.units = rank, 1+random.Int64N(1000)
			c.insert(e)
			waits = append(waits, e)
			c.nextRank = max(c.nextRank, rank+1)
		}
		c.nextRank = random.Int64N(2000) - 1000
		most := int64(1)
		for step := range 4000 {
			switch n := random.IntN(10); {
			case n < 4 || len(waits) == 0:
				join(c.nextRank)
			case n < 5:
				join(c.frontRank())
			case n < 6:
				join(c.nextRank + random.Int64N(3000))
			case n < 9:
				i := random.IntN(len(waits))
				c.remove(waits[i])
				waits = slices.Delete(waits, i, i+1)
			default:
				most = random.Int64N(1000)
				if random.IntN(3) == 0 {
					most /= 100
				}
			}
			if step%1500 == 1499 {
				for _, e := range waits {
					c.remove(e)
				}
				waits = waits[:0]
			}
			var want *entry
			for _, e := range waits {
				if e.units <= most && (want == nil || e.rank < want.rank) {
					want = e
				}
			}
			if got := c.first(&all, most); got != want {
				t.Fatalf("seed %d, step %d: the first of at most %d units is %v, want %v", seed, step, most, got, want)
			}
			if step%64 == 0 {
				checkOrder(t, &c, waits)
			}
		}
	}
}

// checkOrder checks that a class counts its tasks, and knows their order and how many are ahead of each.
func checkOrder(t *testing.T, c *class, waits []*entry) {
	t.Helper()
	waits = slices.Clone(waits)
	slices.SortFunc(waits, func(a, b *entry) int { return cmp.Compare(a.rank, b.rank) })
	i := 0
	for _, r := range c.waiting.All {
		if i >= len(waits) || *r != waits[i].ref {
			t.Fatalf("task %d is in place %d of %d", *r, i, len(waits))
		}
		if n := c.waiting.Before(waits[i].rank); n != int64(i) {
			t.Fatalf("%d are ahead of the task in place %d", n, i)
		}
		i++
	}
	if i != len(waits) || c.waiting.Len() != i {
		t.Fatalf("there are %d of %d, and it counts %d", i, len(waits), c.waiting.Len())
	}
	if i == 0 {
		return
	}
	if front, last := c.frontRank(), waits[i-1].rank; front != waits[0].rank-1 || c.nextRank <= last || c.waiting.Before(last+1) != int64(i) {
		t.Fatalf("ranks are from %d to %d, but the front is %d, the next %d, and %d are ahead of that", waits[0].rank, last, front, c.nextRank, c.waiting.Before(last+1))
	}
}

// BenchmarkTooLarge measures the life of a task behind n that cost more than the pool has. Its time must not grow with n.
func BenchmarkTooLarge(b *testing.B) {
	for _, n := range []int{0, 1000, 1_000_000} {
		b.Run("large="+strconv.Itoa(n), func(b *testing.B) {
			l, now := lotWithTooLarge(n)
			done := park.Outcome{Status: park.Completed}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				id := "small-" + strconv.Itoa(i)
				l.Apply(now, []Op{Submit{Spec: &ledger.Spec{TaskID: id, Units: 1}}}, nil)
				// Requeued at the front, it starts again before all that are too large.
				l.Apply(now, []Op{Requeue{TaskID: id, Attempt: 1}}, nil)
				if _, r := l.Apply(now, []Op{Finish{TaskID: id, Attempt: 2, Outcome: done}}, nil); r[0].Stale {
					b.Fatal("the task did not start again")
				}
			}
		})
	}
}

// lotWithTooLarge returns a pool of 1 unit in which n tasks of 2 units are parked.
func lotWithTooLarge(n int) (*Lot, Instant) {
	now := Instant{}
	l := New(Config{Pool: "p", Row: ledger.Pool{MaxUnits: 2, MaxQueueDepth: n, State: park.Active}}, now)
	l.HoldStarts(true)
	for i := range n {
		l.Apply(now, []Op{Submit{Spec: &ledger.Spec{TaskID: "large-" + strconv.Itoa(i), Units: 2}}}, nil)
	}
	one := int64(1)
	l.Apply(now, []Op{Configure{Patch: park.PoolPatch{MaxUnits: &one}}}, nil)
	l.HoldStarts(false)
	return l, now
}

// TestTooLargeAreNotLookedAtAgain starts tasks behind very many that cost more than the pool has. If these were
// examined for each start, the test would not finish.
func TestTooLargeAreNotLookedAtAgain(t *testing.T) {
	const large, small = 300_000, 30_000
	l, now := lotWithTooLarge(large)
	for i := range small {
		id := "small-" + strconv.Itoa(i)
		_, r := l.Apply(now, []Op{Submit{Spec: &ledger.Spec{TaskID: id, Units: 1}}}, nil)
		if r[0].Status != park.Running {
			t.Fatalf("task %s is %s", id, r[0].Status)
		}
		l.Apply(now, []Op{Requeue{TaskID: id, Attempt: 1}}, nil)
		l.Apply(now, []Op{Finish{TaskID: id, Attempt: 2, Outcome: park.Outcome{Status: park.Completed}}}, nil)
	}
	if n, most := l.TooLarge(); n != large || most != 2 {
		t.Errorf("%d tasks of up to %d units are too large, want %d of 2", n, most, large)
	}
	if err := l.CheckAll(); err != nil {
		t.Error(err)
	}
}

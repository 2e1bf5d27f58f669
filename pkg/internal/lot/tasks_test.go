package lot

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

// TestTasksAgainstMap adds and removes tasks at random and compares with a map. No two tasks may have one slot.
func TestTasksAgainstMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all, want, ids := newTasks(0), map[string]ref{}, 0
		t.Repeat(map[string]func(*rapid.T){
			"enter many": func(t *rapid.T) {
				for range rapid.IntRange(1, 2*blockSize).Draw(t, "n") {
					e := all.allocate()
					if ref := e.ref; *e != (entry{ref: ref}) {
						t.Fatalf("the place holds %+v", *e)
					}
					e.id, e.phase, e.timer = fmt.Sprint("task-", ids), waiting, 7
					ids++
					all.addToIndex(e)
					want[e.id] = e.ref
				}
			},
			"release some": func(t *rapid.T) {
				left := rapid.IntRange(0, len(want)).Draw(t, "left")
				for i := 0; i < ids && len(want) > left; i++ {
					if e := all.find(fmt.Sprint("task-", i)); e != nil {
						delete(want, e.id)
						all.removeFromIndex(e)
						all.release(e)
					}
				}
			},
			"": func(t *rapid.T) {
				n := 0
				for e := range all.all {
					if want[e.id] != e.ref {
						t.Fatalf("%s is at %d, not at %d", e.id, e.ref, want[e.id])
					}
					n++
				}
				if n != len(want) {
					t.Fatalf("there are %d, not %d", n, len(want))
				}
				for id, ref := range want {
					if e := all.find(id); e == nil || e.id != id || e.ref != ref {
						t.Fatalf("%s is not found", id)
					}
				}
			},
		})
	})
}

// TestIndexAgainstSlice adds numbers with few hashes, whose home slots are adjacent and at the end of the table, and
// removes them in random order.
func TestIndexAgainstSlice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := newIndex(0)
		var want []slot
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				hash := rapid.SampledFrom([]uint32{0, 1, 2, 61, 62, 63, 127, 1 << 31}).Draw(t, "hash")
				want = append(want, slot{hash, ref(len(want) + 1)})
				for n := ref(1); slices.ContainsFunc(want[:len(want)-1], func(s slot) bool { return s.ref == want[len(want)-1].ref }); n++ {
					want[len(want)-1].ref = n
				}
				x.add(hash, want[len(want)-1].ref)
			},
			"remove": func(t *rapid.T) {
				if len(want) == 0 {
					t.Skip("there is none")
				}
				i := rapid.IntRange(0, len(want)-1).Draw(t, "i")
				x.remove(want[i].hash, want[i].ref)
				want = slices.Delete(want, i, i+1)
			},
			"": func(t *rapid.T) {
				n := 0
				for _, s := range x.slots {
					if s.ref != 0 {
						n++
					}
				}
				if n != len(want) || x.count != n {
					t.Fatalf("there are %d and it counts %d, not %d", n, x.count, len(want))
				}
				for _, s := range want {
					i := x.home(s.hash)
					for x.slots[i] != s {
						if x.slots[i].ref == 0 {
							t.Fatalf("%v is not found", s)
						}
						i = x.following(i)
					}
				}
			},
		})
	})
}

// TestIndexShrinks checks that the table shrinks after many numbers are removed, and keeps its minimum.
func TestIndexShrinks(t *testing.T) {
	x := newIndex(10_000)
	if n := len(x.slots); n != 1<<14 {
		t.Errorf("%d slots for 10000", n)
	}
	for r := ref(1); r <= 10_000; r++ {
		x.add(uint32(r)*2_654_435_761, r)
	}
	if n := len(x.slots); n != 1<<14 {
		t.Errorf("%d slots with 10000", n)
	}
	for r := ref(1); r <= 10_000; r++ {
		x.remove(uint32(r)*2_654_435_761, r)
		if n := len(x.slots); n > max(16*x.count, minSlots) || 4*x.count > 3*n || n < minSlots {
			t.Fatalf("%d slots for the last %d", n, x.count)
		}
	}
}

// TestStepIsTheCallersAfterRollback checks that the lot does not write into a step that was rolled back: a store that
// failed may still be reading it.
func TestStepIsTheCallersAfterRollback(t *testing.T) {
	now := Instant{Wall: park.FromMicro(1)}
	l := New(Config{Pool: "p", Node: "n", Row: ledger.Pool{MaxUnits: 1, MaxQueueDepth: 9, State: park.Active}}, now)
	submit := func(id string) *Step {
		s, _ := l.Apply(now, []Op{Submit{Spec: &ledger.Spec{PoolID: "p", TaskID: id, Units: 1}}}, nil)
		return s
	}
	used := submit("used")
	l.Finalize()
	failed := submit("failed")
	if failed != used {
		t.Error("a step that has been settled is not used again")
	}
	l.Rollback()
	submit("next")
	if len(failed.Inserts) != 1 || failed.Inserts[0].TaskID != "failed" || len(failed.Events) != 2 || failed.Events[1].TaskID != "failed" {
		t.Errorf("the step that was taken back is now %+v", failed)
	}
}

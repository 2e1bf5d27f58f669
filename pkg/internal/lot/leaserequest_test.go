package lot_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

// restoredLot returns a leased lot with this many units, as it is on a node that has just started. It has parked tasks
// a, b, c and so on with the given costs and does not know their sizes.
func restoredLot(units int64, costs ...int64) (*lot.Lot, lot.Instant) {
	now := lot.Instant{Wall: park.At(time.Unix(1_800_000_000, 0)), Mono: time.Hour}
	c := lot.Config{Pool: "p", Node: "n", Leased: true}
	for i, cost := range costs {
		c.Tasks = append(c.Tasks, ledger.Record{
			Spec:  ledger.Spec{PoolID: "p", TaskID: string(rune('a' + i)), Units: cost, SubmittedAt: now.Wall},
			State: ledger.State{Status: park.Queued, Rank: int64(i)},
		})
	}
	c.Row = ledger.Pool{Rev: 1, MaxUnits: units, MaxQueueDepth: 10, State: park.Active, Queued: len(costs)}
	return lot.New(c, now), now
}

// leasedIDs returns the tasks that are started for requests.
func leasedIDs(l *lot.Lot, now lot.Instant, d ...lot.LeaseRequest) (ids []string) {
	step, _ := l.Apply(now, nil, d)
	for _, s := range step.Started {
		ids = append(ids, fmt.Sprint(s.Request, s.TaskID))
	}
	return ids
}

// TestTasksOfUnknownSizeAreLeasedAlone checks that a task of unknown size gets a lease response of its own, since
// nobody knows whether another task fits beside it.
func TestTasksOfUnknownSizeAreLeasedAlone(t *testing.T) {
	l, now := restoredLot(8, 1, 1, 1, 1, 1, 1, 1)
	for _, id := range []string{"b", "c", "e", "g"} {
		l.SetSize(id, 100)
	}
	one := []lot.LeaseRequest{{Max: 5, MaxBytes: 2000}}
	two := []lot.LeaseRequest{one[0], one[0]}
	for _, step := range []struct {
		requests []lot.LeaseRequest
		want     []string // each with the index of its request
	}{{one, []string{"0a"}}, {one, []string{"0b", "0c"}}, {two, []string{"0d", "1e"}}, {one, []string{"0f"}}, {one, []string{"0g"}}} {
		if got := leasedIDs(l, now, slices.Clone(step.requests)...); !slices.Equal(got, step.want) {
			t.Fatalf("leased %v, want %v", got, step.want)
		}
	}
}

// TestUnsized checks that the sizes asked for are those of the tasks that fit into the free units.
func TestUnsized(t *testing.T) {
	l, now := restoredLot(8, 9, 2, 2, 3, 2)
	l.SetSize("c", 100)
	if next, ids := l.UnknownSizes(10); next != 3 || !slices.Equal(ids, []string{"b", "d"}) {
		t.Errorf("of the next %d the sizes of %v are not known", next, ids)
	}
	if next, ids := l.UnknownSizes(2); next != 2 || !slices.Equal(ids, []string{"b"}) {
		t.Errorf("of the next %d the sizes of %v are not known", next, ids)
	}
	if next, ids := l.UnknownSizes(1); next != 1 || !slices.Equal(ids, []string{"b"}) {
		t.Errorf("of the next %d the sizes of %v are not known", next, ids)
	}
	paused := park.Paused
	l.Apply(now, []lot.Op{lot.Configure{Patch: park.PoolPatch{State: &paused}}}, nil)
	if next, ids := l.UnknownSizes(10); next != 0 || len(ids) != 0 {
		t.Errorf("of a paused pool the next %d are asked for: %v", next, ids)
	}
}

// TestUnsizedToTheLastUnit checks that a task is included if it takes the pool's last unit or all of its units, and
// that every priority is included.
func TestUnsizedToTheLastUnit(t *testing.T) {
	for _, costs := range [][]int64{{8}, {3, 5}, {3, 5, 1}} {
		l, _ := restoredLot(8, costs...)
		if next, ids := l.UnknownSizes(10); next != min(len(costs), 2) || len(ids) != next {
			t.Errorf("of tasks of %v units the next %d are asked for: %v", costs, next, ids)
		}
	}
	l := newLot(true, ledger.Pool{MaxUnits: 8}, ledger.Record{Spec: ledger.Spec{TaskID: "a", Units: 1, Priority: park.Low}, State: ledger.State{Status: park.Queued}})
	if next, ids := l.UnknownSizes(10); next != 1 || !slices.Equal(ids, []string{"a"}) {
		t.Errorf("of a low priority the next %d are asked for: %v", next, ids)
	}
}

// TestUnsizedPassesOverAThousand checks that tasks which cost more than the pool has are skipped, and how many at
// most.
func TestUnsizedPassesOverAThousand(t *testing.T) {
	for _, tooLarge := range []int{1000, 1001} {
		costs := make([]int64, tooLarge+1)
		for i := range tooLarge {
			costs[i] = 9
		}
		costs[tooLarge] = 8
		l, _ := restoredLot(8, costs...)
		if next, _ := l.UnknownSizes(10); next != 1001-tooLarge {
			t.Errorf("behind %d tasks that are too large the next %d are asked for", tooLarge, next)
		}
	}
}

// TestDemandIsFilled checks that a request takes submissions up to the last byte of its limit.
func TestDemandIsFilled(t *testing.T) {
	for _, spare := range []int{0, -1} {
		l, now := restoredLot(8, 1, 1)
		l.SetSize("a", 488) // beside a submission a lease takes 512 bytes
		l.SetSize("b", 488)
		if got := leasedIDs(l, now, lot.LeaseRequest{Max: 2, MaxBytes: 2000 + spare}); len(got) != 2+spare {
			t.Errorf("with %d bytes to spare %v were leased", spare, got)
		}
	}
}

package lot_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/lot"
	"github.com/parkd-dev/parkd/pkg/park"
)

// restored returns a leased lot of so many units as a node has it that has just been started: of parked tasks of the given
// costs, a, b, c and so on, it does not know what they weigh.
func restored(units int64, costs ...int64) (*lot.Lot, lot.Instant) {
	now := lot.Instant{Wall: park.At(time.Unix(1_800_000_000, 0)), Mono: time.Hour}
	c := lot.Config{Pool: "p", Node: "n", Leased: true}
	for i, cost := range costs {
		c.Tasks = append(c.Tasks, park.Record{
			Spec:  park.Spec{PoolID: "p", TaskID: string(rune('a' + i)), Units: cost, SubmittedAt: now.Wall},
			State: park.State{Status: park.Queued, Rank: int64(i)},
		})
	}
	c.Row = park.PoolRow{Rev: 1, MaxUnits: units, MaxQueueDepth: 10, State: park.Active, Queued: len(costs)}
	return lot.New(c, now), now
}

// leased returns what is started for demands.
func leased(l *lot.Lot, now lot.Instant, d ...lot.Demand) (ids []string) {
	step, _ := l.Apply(now, nil, d)
	for _, s := range step.Started {
		ids = append(ids, fmt.Sprint(s.Demand, s.TaskID))
	}
	return ids
}

// TestTasksOfUnknownSizeAreLeasedAlone: of a task whose size is not known nobody can say that another has room beside it.
func TestTasksOfUnknownSizeAreLeasedAlone(t *testing.T) {
	l, now := restored(8, 1, 1, 1, 1, 1, 1, 1)
	for _, id := range []string{"b", "c", "e", "g"} {
		l.Size(id, 100)
	}
	one := []lot.Demand{{Max: 5, MaxBytes: 2000}}
	two := []lot.Demand{one[0], one[0]}
	for _, step := range []struct {
		demand []lot.Demand
		want   []string // each with the number of its demand
	}{{one, []string{"0a"}}, {one, []string{"0b", "0c"}}, {two, []string{"0d", "1e"}}, {one, []string{"0f"}}, {one, []string{"0g"}}} {
		if got := leased(l, now, slices.Clone(step.demand)...); !slices.Equal(got, step.want) {
			t.Fatalf("leased %v, want %v", got, step.want)
		}
	}
}

// TestUnsized asks for the tasks whose sizes are worth a look: those that there are units for.
func TestUnsized(t *testing.T) {
	l, now := restored(8, 9, 2, 2, 3, 2)
	l.Size("c", 100)
	if next, ids := l.Unsized(10); next != 3 || !slices.Equal(ids, []string{"b", "d"}) {
		t.Errorf("of the next %d the sizes of %v are not known", next, ids)
	}
	if next, ids := l.Unsized(2); next != 2 || !slices.Equal(ids, []string{"b"}) {
		t.Errorf("of the next %d the sizes of %v are not known", next, ids)
	}
	if next, ids := l.Unsized(1); next != 1 || !slices.Equal(ids, []string{"b"}) {
		t.Errorf("of the next %d the sizes of %v are not known", next, ids)
	}
	paused := park.Paused
	l.Apply(now, []lot.Op{lot.Configure{Patch: park.PoolPatch{State: &paused}}}, nil)
	if next, ids := l.Unsized(10); next != 0 || len(ids) != 0 {
		t.Errorf("of a paused pool the next %d are asked for: %v", next, ids)
	}
}

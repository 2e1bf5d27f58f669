package lot_test

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

var morning = lot.Instant{Wall: park.At(time.Unix(1_800_000_000, 0)), Mono: time.Hour}

func afterMorning(d time.Duration) lot.Instant {
	return lot.Instant{Wall: park.At(morning.Wall.Add(d)), Mono: morning.Mono + d}
}

func newLot(leased bool, row ledger.Pool, tasks ...ledger.Record) *lot.Lot {
	row.State = park.Active
	return lot.New(lot.Config{Pool: "p", Node: "n", Leased: leased, Row: row, Tasks: tasks}, morning)
}

func submit(id string, units int64, p park.Priority) lot.Submit {
	return lot.Submit{Spec: &ledger.Spec{PoolID: "p", TaskID: id, Tenant: "t", Units: units, Priority: p, Digest: uint64(id[0])}}
}

// TestOldest checks that of the tasks that are next in their classes the one that waits longest is returned.
func TestOldest(t *testing.T) {
	l := newLot(false, ledger.Pool{MaxUnits: 1, MaxQueueDepth: 9})
	if at := l.OldestSubmission(); !at.IsZero() {
		t.Errorf("nobody waits, but the oldest since %s", at)
	}
	for i, s := range []lot.Submit{submit("a", 1, park.Normal), submit("b", 1, park.Normal), submit("c", 1, park.Low), submit("d", 1, park.High)} {
		l.Apply(afterMorning(time.Duration(i)*time.Second), []lot.Op{s}, nil)
	}
	for _, want := range []struct {
		gone string
		at   time.Duration
	}{{"", time.Second}, {"b", 2 * time.Second}, {"c", 3 * time.Second}} {
		l.Apply(afterMorning(time.Minute), []lot.Op{lot.Cancel{TaskID: want.gone}}, nil)
		if at := l.OldestSubmission(); !at.Equal(afterMorning(want.at).Wall.Time) {
			t.Errorf("without %q the oldest waits since %s, want %s", want.gone, at, afterMorning(want.at).Wall)
		}
	}
}

// TestTooLarge checks that a task that costs exactly the capacity is not too large, and that running tasks are not
// counted.
func TestTooLarge(t *testing.T) {
	l := newLot(false, ledger.Pool{MaxUnits: 9, MaxQueueDepth: 9})
	l.Apply(morning, []lot.Op{submit("a", 9, park.Normal), submit("b", 4, park.Normal), submit("c", 5, park.Normal), submit("d", 7, park.Low)}, nil)
	for _, c := range []struct {
		units int64
		tasks int
		most  int64
	}{{9, 0, 0}, {7, 0, 0}, {5, 1, 7}, {4, 2, 7}, {0, 3, 7}} {
		l.Apply(morning, []lot.Op{lot.Configure{Patch: park.PoolPatch{MaxUnits: &c.units}}}, nil)
		if n, most := l.TooLarge(); n != c.tasks || most != c.most {
			t.Errorf("with %d units %d are too large, up to %d; want %d, %d", c.units, n, most, c.tasks, c.most)
		}
	}
}

// TestWhoRuns checks that a lot lists its running tasks, by node and in order, and its expired leases, and nothing
// about tasks that it does not have.
func TestWhoRuns(t *testing.T) {
	var tasks []ledger.Record
	for i, id := range []string{"c", "a", "b", "d"} {
		tasks = append(tasks, ledger.Record{
			Spec: ledger.Spec{PoolID: "p", TaskID: id, Units: 1, Priority: park.Normal, SubmittedAt: afterMorning(time.Duration(i) * time.Second).Wall},
			State: ledger.State{
				Status: park.Running, Attempt: 1, Rank: int64(i), Node: []string{"m", "n"}[i%2], Lease: "lease-" + id,
				LeaseTTL: time.Duration(i+1) * time.Second,
			},
		})
	}
	tasks[3].Priority, tasks[3].Status, tasks[3].Node, tasks[3].Lease = park.High, park.Queued, "", ""
	l := newLot(true, ledger.Pool{Rev: 3, MaxUnits: 3, Used: 3, Queued: 1, MaxQueueDepth: 9}, tasks...)
	if got := l.RunningTasks(); !slices.Equal(got, []string{"c", "a", "b"}) || l.Running() != 3 {
		t.Errorf("%v run, %d", got, l.Running())
	}
	nodes := l.TasksByNode()
	if !slices.Equal(nodes["m"], []string{"c", "b"}) || !slices.Equal(nodes["n"], []string{"a"}) || len(nodes) != 2 {
		t.Errorf("by node: %v", nodes)
	}
	if got := l.ExpiredLeases(afterMorning(2 * time.Second)); !maps.Equal(got, map[string]string{"c": "lease-c", "a": "lease-a"}) {
		t.Errorf("due: %v", got)
	}
	for id, want := range map[string]park.Time{"c": tasks[0].SubmittedAt, "d": tasks[3].SubmittedAt, "x": {}} {
		if got := l.SubmittedAt(id); !got.Equal(want.Time) || l.IsLive(id) != (id != "x") {
			t.Errorf("%s was submitted at %s, lives: %t", id, got, l.IsLive(id))
		}
	}
	if s, at, ok := l.State("d"); !ok || at != 1 || s.Status != park.Queued {
		t.Errorf("d is %+v, %d, %t", s, at, ok)
	}
	if s, at, ok := l.State("a"); !ok || at != 0 || s.Status != park.Running || s.Node != "n" || s.Lease != "lease-a" {
		t.Errorf("a is %+v, %d, %t", s, at, ok)
	}
	if _, _, ok := l.State("x"); ok {
		t.Error("there is an x")
	}
}

// TestExtend checks that only the named lease is extended.
func TestExtend(t *testing.T) {
	l := newLot(true, ledger.Pool{MaxUnits: 1, MaxQueueDepth: 9})
	step, _ := l.Apply(morning, []lot.Op{submit("a", 1, park.Normal), submit("b", 1, park.Normal)}, []lot.LeaseRequest{{Max: 1, Secret: "s", TTL: 5 * time.Second}})
	lease := step.Inserts[0].Lease
	if lease == "" {
		t.Fatal("nothing was leased")
	}
	for _, c := range []struct {
		task, lease string
		ends        time.Duration
	}{{"x", lease, 5 * time.Second}, {"b", "", 5 * time.Second}, {"a", "another", 5 * time.Second}, {"a", lease, 9 * time.Second}} {
		l.ExtendLease(c.task, c.lease, 8*time.Second, afterMorning(time.Second))
		if _, mono := l.NextTimers(); mono != morning.Mono+c.ends {
			t.Errorf("after %s's lease %q was kept, something happens at %s", c.task, c.lease, mono)
		}
	}
	if err := l.CheckAll(); err != nil {
		t.Error(err)
	}
	if step, _ := l.Apply(afterMorning(9*time.Second-1), nil, nil); len(step.Events) > 0 {
		t.Errorf("the lease was lost early: %v", step.Events)
	}
}

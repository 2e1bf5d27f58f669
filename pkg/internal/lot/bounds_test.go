package lot

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

// roomyLot returns a lot that has room for all tasks of these tests.
func roomyLot(leased bool) *Lot {
	return New(Config{Pool: "p", Node: "n", Leased: leased, Row: ledger.Pool{MaxUnits: 1 << 30, MaxQueueDepth: 1 << 30, State: park.Active}}, noon())
}

func opsFor(n int, make func(id string) Op) (ops []Op) {
	for i := range n {
		ops = append(ops, make(fmt.Sprintf("t%05d", i)))
	}
	return ops
}

func submitted(id string) Op { return Submit{Spec: &ledger.Spec{PoolID: "p", TaskID: id, Units: 1}} }

func completed(id string) Op {
	return Finish{TaskID: id, Attempt: 1, Outcome: park.Outcome{Status: park.Completed}}
}

// TestNotMuchIsKept checks that after a step of thousands of tasks the lot frees the memory that the next step does
// not need.
func TestNotMuchIsKept(t *testing.T) {
	l := roomyLot(false)
	l.Apply(noon(), opsFor(maxSpare+1, submitted), nil)
	l.Apply(noon(), opsFor(maxSpare+1, completed), nil)
	l.Finalize()
	if n := len(l.spareRuns); n != maxSpare {
		t.Errorf("%d runs are kept of %d", n, maxSpare+1)
	}
	if cap(l.undoLog) > maxSpare || cap(l.results) > maxSpare || cap(l.step.Events) > maxSpare {
		t.Errorf("room is kept for %d entries, %d results, %d events", cap(l.undoLog), cap(l.results), cap(l.step.Events))
	}
}

// TestPlacesAreUsedAgain checks that tasks which come and go, or are rolled back, need no more memory than one at a
// time.
func TestPlacesAreUsedAgain(t *testing.T) {
	for name, gone := range map[string]func(*Lot){
		"ended":              func(l *Lot) { l.Apply(noon(), []Op{completed("t")}, nil) },
		"refused by a store": func(l *Lot) { l.Rollback() },
		"ended elsewhere": func(l *Lot) {
			r := ledger.Record{Spec: ledger.Spec{PoolID: "p", TaskID: "t", Units: 1}, State: ledger.State{Status: park.Completed}}
			l.Merge(ledger.Pool{MaxUnits: 1, MaxQueueDepth: 9, State: park.Active}, []ledger.Record{r}, noon())
		},
	} {
		l := roomyLot(false)
		for range 3 * blockSize {
			l.Apply(noon(), []Op{submitted("t")}, nil)
			gone(l)
		}
		l.Finalize()
		if n := len(l.tasks.blocks); n != 1 || l.tasks.blocks[0].live != 0 {
			t.Errorf("%s: %d blocks for one task at a time, of which %d live", name, n, l.tasks.blocks[0].live)
		}
		if err := l.CheckAll(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestFullBlocksAreUsedAgain checks that the slots of tasks which leave full blocks are reused.
func TestFullBlocksAreUsedAgain(t *testing.T) {
	l := roomyLot(false)
	all := opsFor(3*blockSize, submitted)
	l.Apply(noon(), all, nil)
	for range 3 {
		l.Apply(noon(), opsFor(2*blockSize+9, completed), nil)
		l.Finalize()
		if err := l.CheckAll(); err != nil {
			t.Fatal(err)
		}
		l.Apply(noon(), all[:2*blockSize+9], nil)
	}
	if n := len(l.tasks.blocks); n != 3 {
		t.Errorf("%d blocks for the tasks of 3", n)
	}
}

// TestTimers checks that the earliest timer is first, also after removals from the middle.
func TestTimers(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	all := newTasks(0)
	h := timers{all: &all}
	live := map[*entry]int64{}
	for range 3000 {
		if rnd.IntN(5) < 3 {
			e := all.allocate()
			live[e] = rnd.Int64N(1000)
			h.add(e, live[e])
		} else if len(h.heap) > 0 {
			e := all.at(h.heap[rnd.IntN(len(h.heap))].ref)
			h.remove(e)
			delete(live, e)
			all.release(e)
		}
		for i, m := range h.heap {
			if e := all.at(m.ref); h.heap[max(0, i-1)/2].key > m.key || live[e] != m.key || int(e.timer) != i+1 {
				t.Fatalf("of %d timers the one at place %d is wrong", len(h.heap), i)
			}
		}
		if len(h.heap) != len(live) {
			t.Fatalf("%d timers of %d", len(h.heap), len(live))
		}
	}
}

// TestNextOfTwoKinds checks that the next timer is the end of a backoff or of a lease, whichever is earlier.
func TestNextOfTwoKinds(t *testing.T) {
	for _, c := range []struct{ rest, ttl, next time.Duration }{
		{time.Minute, time.Second, time.Second}, {time.Second, time.Minute, time.Second},
	} {
		l := roomyLot(true)
		s := ledger.Spec{PoolID: "p", TaskID: "rests", Units: 1, Retry: park.Retry{MaxAttempts: 3, Backoff: park.Duration(c.rest)}}
		step, _ := l.Apply(noon(), []Op{Submit{Spec: &s}}, []LeaseRequest{{Worker: "w", Secret: "s", Max: 1, TTL: time.Hour}})
		failed := Finish{TaskID: "rests", Attempt: 1, Lease: LeaseID("p", 1, "s", step.Started[0].TaskID), Outcome: park.Failure("exit", "")}
		l.Apply(noon(), []Op{failed, submitted("runs")}, []LeaseRequest{{Worker: "w", Secret: "s", Max: 1, TTL: c.ttl}})
		if _, next := l.NextTimers(); next != noon().Mono+c.next {
			t.Errorf("of a rest of %s and a lease of %s the first ends in %s", c.rest, c.ttl, next-noon().Mono)
		}
	}
}

// TestKeepSaysUntilWhen checks that the result of renewing a lease has the time at which it ends.
func TestKeepSaysUntilWhen(t *testing.T) {
	l := roomyLot(true)
	step, _ := l.Apply(noon(), []Op{submitted("t")}, []LeaseRequest{{Worker: "w", Secret: "s", Max: 1, TTL: time.Minute}})
	lease := LeaseID("p", 1, "s", step.Started[0].TaskID)
	_, results := l.Apply(noon(), []Op{RenewLease{TaskID: "t", Lease: lease, TTL: 2 * time.Minute}}, nil)
	if r := results[0]; !r.LeaseUntil.Equal(noon().Wall.Add(2*time.Minute)) || r.LeaseTTL != 2*time.Minute {
		t.Errorf("a lease kept for 2 minutes at %s ends at %s, after %s", noon().Wall, r.LeaseUntil, r.LeaseTTL)
	}
}

// TestLostLeaseOfATaskWithABackoffOnly checks that lost leases do not end a task that sets a backoff but no maximum of
// attempts.
func TestLostLeaseOfATaskWithABackoffOnly(t *testing.T) {
	l := roomyLot(true)
	s := ledger.Spec{PoolID: "p", TaskID: "t", Units: 1, Retry: park.Retry{Backoff: park.Duration(time.Minute)}}
	l.Apply(noon(), []Op{Submit{Spec: &s}}, []LeaseRequest{{Worker: "w", Secret: "s", Max: 1, TTL: time.Second}})
	l.Apply(Instant{Wall: park.At(noon().Wall.Add(time.Second)), Mono: noon().Mono + time.Second}, nil, nil)
	if s, position, _ := l.State("t"); s.Status != park.Queued || s.Failures != 0 || !s.NotBefore.IsZero() || position != 1 {
		t.Errorf("the task is %s at %d with %d failures and backs off until %s", s.Status, position, s.Failures, s.NotBefore)
	}
}

// TestWithoutDigest checks that two submissions without digests are never taken for the same.
func TestWithoutDigest(t *testing.T) {
	l := roomyLot(false)
	l.Apply(noon(), []Op{submitted("live")}, nil)
	ended := ledger.Record{Spec: ledger.Spec{PoolID: "p", TaskID: "ended", Units: 1}, State: ledger.State{Status: park.Completed}}
	_, results := l.Apply(noon(), []Op{submitted("live"), Duplicate{Spec: &ended.Spec, Ended: &ended}}, nil)
	for i, r := range results {
		if r.Err == nil || r.Err.Code != park.TaskExists {
			t.Errorf("submission %d: %+v", i, r)
		}
	}
}

// TestNothingNewIsNoEvent checks that setting limits and a state that the pool already has makes no event.
func TestNothingNewIsNoEvent(t *testing.T) {
	l := roomyLot(false)
	row := l.Row()
	patch := park.PoolPatch{MaxUnits: &row.MaxUnits, MaxQueueDepth: &row.MaxQueueDepth, State: &row.State}
	if step, _ := l.Apply(noon(), []Op{Configure{Patch: patch}}, nil); len(step.Events) > 0 {
		t.Errorf("the log says %s", step.Events[0].Detail)
	}
}

// TestSubmissionWithoutMailbox checks that the log names no mailbox for a task that has none.
func TestSubmissionWithoutMailbox(t *testing.T) {
	l := roomyLot(false)
	step, _ := l.Apply(noon(), []Op{submitted("t")}, nil)
	if d := string(step.Events[0].Detail); strings.Contains(d, "mailbox") {
		t.Errorf("the log says %s", d)
	}
}

// TestCheckFinds checks that Check finds a total that differs from the tasks' sum.
func TestCheckFinds(t *testing.T) {
	for name, spoil := range map[string]func(*Lot){
		"units":   func(l *Lot) { l.used++; l.row.Used++ },
		"parked":  func(l *Lot) { l.queued++; l.row.Queued++ },
		"running": func(l *Lot) { l.running++ },
	} {
		l := roomyLot(false)
		l.Apply(noon(), []Op{submitted("t")}, nil)
		if err := l.Check(); err != nil {
			t.Fatal(err)
		}
		if spoil(l); l.Check() == nil {
			t.Errorf("%s: not found", name)
		}
	}
}

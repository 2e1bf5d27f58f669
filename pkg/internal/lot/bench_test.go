package lot_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

// lotWithParked returns a lot with one running task and n parked ones of all classes. Half of them have a deadline.
func lotWithParked(n int) (*lot.Lot, lot.Instant) {
	now := lot.Instant{Wall: park.At(time.Unix(1_800_000_000, 0)), Mono: time.Hour}
	l := lot.New(lot.Config{Pool: "p", Node: "n", Row: ledger.Pool{MaxUnits: 1, MaxQueueDepth: 1 << 30, State: park.Active}}, now)
	l.Apply(now, []lot.Op{submitOp(0, 0)}, nil)
	for i := range n {
		l.Apply(now, []lot.Op{submitOp(i+1, i)}, nil)
	}
	return l, now
}

func submitOp(id, i int) lot.Op {
	s := &ledger.Spec{PoolID: "p", TaskID: fmt.Sprintf("task-%08d", id), Tenant: "t", MailboxKey: "m", Units: 1, Priority: park.Priorities()[i%4], Digest: 1}
	if i%2 == 0 {
		s.Deadline = park.At(time.Unix(1_900_000_000+int64(i), 0))
	}
	return lot.Submit{Spec: s}
}

// BenchmarkCycle measures the life of a task beside n parked ones: it is submitted and parked, the running task ends,
// and the first parked one starts. The time of an operation must not grow with n.
func BenchmarkCycle(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("parked=%d", n), func(b *testing.B) {
			l, now := lotWithParked(n)
			id, running := n+1, fmt.Sprintf("task-%08d", 0)
			b.ReportAllocs()
			for b.Loop() {
				// The new task is of the class that starts now, and is alone in it once that class is empty.
				step, _ := l.Apply(now, []lot.Op{submitOp(id, 0), lot.Finish{TaskID: running, Attempt: 1, Outcome: park.Outcome{Status: park.Completed}}}, nil)
				if len(step.Started) != 1 {
					b.Fatal("nothing started")
				}
				id, running = id+1, step.Started[0].TaskID
			}
		})
	}
}

// BenchmarkCancel cancels tasks from the middle of a full lot and parks others.
func BenchmarkCancel(b *testing.B) {
	for _, n := range []int{1_000, 1_000_000} {
		b.Run(fmt.Sprintf("parked=%d", n), func(b *testing.B) {
			l, now := lotWithParked(n)
			out, in := 1, n+1
			b.ReportAllocs()
			for b.Loop() {
				l.Apply(now, []lot.Op{lot.Cancel{TaskID: fmt.Sprintf("task-%08d", out)}, submitOp(in, in)}, nil)
				out, in = out+1, in+1
			}
		})
	}
}

// BenchmarkMemory measures the memory of one parked task, without its payload.
func BenchmarkMemory(b *testing.B) {
	const n = 1_000_000
	for b.Loop() {
		before := heapBytes()
		l, _ := lotWithParked(n)
		b.ReportMetric(float64(heapBytes()-before)/n, "B/task")
		runtime.KeepAlive(l)
	}
}

func heapBytes() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkTenThousand submits, starts and completes 10,000 tasks in steps of 256 operations, in a pool that runs 64
// at once: all but the first are parked in between.
func BenchmarkTenThousand(b *testing.B) {
	const n, step = 10_000, 256
	now := lot.Instant{Wall: park.At(time.Unix(1_800_000_000, 0)), Mono: time.Hour}
	specs := make([]ledger.Spec, n)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		for i := range specs {
			specs[i] = *submitOp(i, 1).(lot.Submit).Spec
		}
		l := lot.New(lot.Config{Pool: "p", Node: "n", Row: ledger.Pool{MaxUnits: 64, MaxQueueDepth: n, State: park.Active}}, now)
		b.StartTimer()
		var running []lot.Op
		done, ops := 0, make([]lot.Op, 0, step)
		for i := 0; done < n; {
			ops = append(ops[:0], running...)
			running = running[:0]
			done += len(ops)
			for ; i < n && len(ops) < step; i++ {
				ops = append(ops, lot.Submit{Spec: &specs[i]})
			}
			s, _ := l.Apply(now, ops, nil)
			for _, t := range s.Started {
				running = append(running, lot.Finish{TaskID: t.TaskID, Attempt: t.Attempt, Outcome: park.Outcome{Status: park.Completed}})
			}
		}
	}
}

package storetest

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// Bench measures Commit with steps of 1, 16 and 256 tasks. One operation is a step that inserts the tasks with
// three events each, and a step that ends them with an event and a message each.
func Bench(b *testing.B, open Open) {
	for _, n := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("tasks=%d", n), func(b *testing.B) { benchSteps(b, open(b), "gpu", n) })
	}
}

func benchSteps(b *testing.B, s store.Store, pool string, n int) {
	row := BenchPool()
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		for _, step := range BenchSteps(pool, i, n, &row) {
			if err := s.Commit(b.Context(), step); err != nil {
				b.Fatal(err)
			}
		}
	}
	seconds := b.Elapsed().Seconds()
	b.ReportMetric(float64(b.N*n)/seconds, "tasks/s")
	b.ReportMetric(float64(b.N*(2+7*n))/seconds, "rows/s")
	b.ReportMetric(float64(b.N*2)/seconds, "steps/s")
}

// BenchPool returns a pool's row before its first step in a benchmark.
func BenchPool() ledger.Pool {
	return ledger.Pool{State: park.Active, MaxUnits: 1 << 30, LastAt: park.At(Epoch())}
}

// BenchSteps returns two steps for n tasks: the first starts the tasks, the second ends them.
func BenchSteps(pool string, round, n int, row *ledger.Pool) [2]*store.Step {
	begin, end := benchStep(pool, row), benchStep(pool, row)
	begin.Inserts = make([]ledger.Record, 0, n)
	begin.Events = make([]park.Event, 0, 3*n)
	end.Updates = make([]store.Update, 0, n)
	end.Events = make([]park.Event, 0, n)
	end.Messages = make([]park.Message, 0, n)
	event := func(s *store.Step, a park.Action, id string) {
		s.Events = append(s.Events, park.Event{
			EventID: "", At: row.LastAt, Rev: s.Row.Rev, Ord: len(s.Events), Action: a, TaskID: id,
			PoolID: pool, Tenant: "default", Units: 1, Attempt: 1, Node: "0198c0de",
		})
	}
	for k := range n {
		id := "019af00d-" + strconv.Itoa(1_000_000_000+round*n+k)
		state := ledger.State{Status: park.Running, Rank: int64(round), Attempt: 1, Node: "0198c0de", StartedAt: row.LastAt}
		begin.Inserts = append(begin.Inserts, ledger.Record{
			Spec: ledger.Spec{
				PoolID: pool, TaskID: id, Tenant: "default", MailboxKey: "alice", Units: 1, SubmittedAt: row.LastAt,
				Payload: []byte(`{"durationMs":50,"result":{"ok":true}}`), Digest: uint64(k),
			},
			State: state,
		})
		for _, a := range []park.Action{park.ActSubmit, park.ActEnqueue, park.ActStart} {
			event(begin, a, id)
		}
		state.Status, state.EndedAt, state.Result = park.Completed, row.LastAt, []byte(`{"ok":true}`)
		end.Updates = append(end.Updates, store.Update{TaskID: id, State: state})
		event(end, park.ActComplete, id)
		end.Messages = append(end.Messages, park.Message{
			TaskID: id, PoolID: pool, Status: park.Completed, Payload: state.Result, Attempt: 1, CreatedAt: row.LastAt,
			Tenant: "default", Key: "alice",
		})
	}
	return [2]*store.Step{begin, end}
}

func benchStep(pool string, row *ledger.Pool) *store.Step {
	row.Rev++
	row.LastAt = park.At(row.LastAt.Add(time.Microsecond))
	row.LastStep = pool + "/" + strconv.FormatInt(row.Rev, 10)
	return &store.Step{PoolID: pool, ID: row.LastStep, Row: *row}
}

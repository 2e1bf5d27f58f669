package main

import (
	"fmt"
	"time"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// taskSteps returns two steps for n tasks: the first starts the tasks, the second ends them.
func taskSteps(pool string, from, n int, row *ledger.Pool) [2]*store.Step {
	begin, end := nextStep(pool, row), nextStep(pool, row)
	event := func(s *store.Step, a park.Action, id string) {
		s.Events = append(s.Events, park.Event{
			At: row.LastAt, Rev: s.Row.Rev, Ord: len(s.Events), Action: a, TaskID: id,
			PoolID: pool, Tenant: "default", Units: 1, Attempt: 1, Node: "0198c0de",
		})
	}
	for k := range n {
		id := fmt.Sprintf("old-%09d", from+k)
		state := ledger.State{Status: park.Running, Rank: int64(from + k), Attempt: 1, Node: "0198c0de", StartedAt: row.LastAt}
		spec := ledger.Spec{PoolID: pool, TaskID: id, Tenant: "default", MailboxKey: "alice", Units: 1, SubmittedAt: row.LastAt, Payload: []byte(rawPayload), Digest: uint64(k)}
		begin.Inserts = append(begin.Inserts, ledger.Record{Spec: spec, State: state})
		event(begin, park.ActSubmit, id)
		event(begin, park.ActStart, id)
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

func nextStep(pool string, row *ledger.Pool) *store.Step {
	row.Rev++
	row.LastAt = park.At(row.LastAt.Add(time.Millisecond))
	row.LastStep = fmt.Sprint(pool, "/", row.Rev)
	return &store.Step{PoolID: pool, ID: row.LastStep, Row: *row}
}

package sqlite

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// TestPackedEvidence reads tasks and messages as texts and row by row, with the same result. One value is long or has
// the characters that end values and rows in a text.
func TestPackedEvidence(t *testing.T) {
	for name, odd := range map[string]string{"plain": "null", "long": strings.Repeat("x", 600), "ends": "a\x1fb\x1ec", "nothing": ""} {
		t.Run(name, func(t *testing.T) {
			s := openTemp(t)
			at := time.Unix(1_800_000_000, 0)
			row := ledger.Pool{Rev: 1, MaxUnits: 1000, MaxQueueDepth: 1000, State: park.Active, LastAt: park.At(at), LastStep: "1"}
			st := &store.Step{PoolID: "gpu", ID: "1", Row: row}
			for i := range 230 {
				sp := ledger.Spec{
					PoolID: "gpu", TaskID: fmt.Sprint("t", i), Tenant: "acme", MailboxKey: "box", Priority: park.Priority(i%4 - 1), Units: int64(i), Digest: uint64(i),
					SubmittedAt: park.At(at.Add(time.Duration(i) * time.Second)),
				}
				if i%3 == 0 {
					sp.Deadline = park.At(at.Add(time.Hour))
				}
				end := ledger.State{Status: park.Completed, Rank: int64(i), Attempt: 1 + i%3, Node: "n", StartedAt: sp.SubmittedAt, EndedAt: sp.SubmittedAt, Result: []byte(`{"ok":true}`)}
				if i == 17 {
					end.Result, end.Message = []byte(odd), odd
				}
				st.Inserts = append(st.Inserts, ledger.Record{Spec: sp, State: end})
				st.Messages = append(st.Messages, park.Message{
					TaskID: sp.TaskID, PoolID: "gpu", Status: park.Completed, Payload: end.Result, Message: end.Message, Attempt: end.Attempt, CreatedAt: end.EndedAt,
					Tenant: "acme", Key: "box", Reason: "r",
				})
			}
			if err := s.Commit(t.Context(), st); err != nil {
				t.Fatal(err)
			}
			if err := s.Trim(t.Context(), "acme", "box", "5"); err != nil {
				t.Fatal(err)
			}
			if _, _, err := s.packedTasks(t.Context(), "gpu", 1<<62, minPackedRows); err != nil {
				t.Errorf("tasks are not read as a text: %v", err)
			}
			if _, _, err := s.packedMessages(t.Context(), "gpu", 150, minPackedRows); err != nil {
				t.Errorf("messages are not read as a text: %v", err)
			}
			samePages(t, s.KeptTasks)
			samePages(t, s.KeptMessages)
		})
	}
}

func samePages[T any](t *testing.T, read func(context.Context, string, string, int) ([]T, string, error)) {
	t.Helper()
	var of [2][]T
	for i, limit := range []int{minPackedRows - 1, minPackedRows} {
		for after := ""; ; {
			page, next, err := read(t.Context(), "gpu", after, limit)
			if err != nil {
				t.Fatal(err)
			}
			of[i] = append(of[i], page...)
			if after = next; after == "" {
				break
			}
		}
	}
	if len(of[0]) != 230 || !reflect.DeepEqual(of[0], of[1]) {
		t.Errorf("%d rows one by one, %d as texts, and they are not the same", len(of[0]), len(of[1]))
	}
}

package engine_test

import (
	"context"
	"strings"
	"testing"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/memory"
)

// TestTextOfAnyBytes: what an executor says that is no text is the same text wherever it is kept, and harms no other task.
func TestTextOfAnyBytes(t *testing.T) {
	inMemory := func(testing.TB) store.Store { return memory.New() }
	for name, on := range map[string]func(testing.TB) store.Store{"memory": inMemory, "sqlite": openSQLite, "postgres": openPostgres} {
		t.Run(name, func(t *testing.T) {
			cpu := poolConfig("cpu", 3, outcomeByTask{
				"bytes": park.Failure("out_of\xff\x00memory", "a\xffb\x00c"),
				"long":  park.Failure(strings.Repeat("ü", 200), "\xff"+strings.Repeat("ü", 5000)),
				"plain": park.Failure("why", "text"),
			})
			cpu.QueueBackend, cpu.MailboxBackend = park.Postgres, park.Postgres
			b := openEngine(t, engine.Config{Stores: map[park.Backend]store.Store{park.Postgres: on(t)}, Pools: []engine.Pool{cpu}})
			defer b.closeNow()
			if _, err := b.Submit(t.Context(), "cpu", []park.Submission{withID("bytes", sleepFor(1)), withID("long", sleepFor(1)), withID("plain", sleepFor(1))}); err != nil {
				t.Fatal(err)
			}
			want := map[string]park.Outcome{
				"bytes": park.Failure("out_of\uFFFD\uFFFDmemory", "a\uFFFDb\uFFFDc"),
				"long":  park.Failure(strings.Repeat("ü", 126)+"…", "\uFFFD"+strings.Repeat("ü", 4093)+"…"),
				"plain": park.Failure("why", "text"),
			}
			for id, o := range want {
				if got := b.awaitTask("cpu", id); got.Reason != o.Reason || got.Message != o.Message {
					t.Errorf("task %s: %.60q %.60q", id, got.Reason, got.Message)
				}
			}
			for _, m := range b.readPages("box") {
				if o := want[m.TaskID]; m.Reason != o.Reason || m.Message != o.Message {
					t.Errorf("message of task %s: %.60q %.60q", m.TaskID, m.Reason, m.Message)
				}
			}
		})
	}
}

// outcomeByTask is an executor with an outcome for each task id.
type outcomeByTask map[string]park.Outcome

func (x outcomeByTask) Run(_ context.Context, a park.Assignment) park.Outcome { return x[a.TaskID] }

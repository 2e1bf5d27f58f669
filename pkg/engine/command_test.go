package engine_test

import (
	"testing"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/park"
)

// TestCommandIsAsked: a pool that runs commands and has none of its own takes no task without one, and leaves nothing of
// the one that it refused. Other pools need none.
func TestCommandIsAsked(t *testing.T) {
	shell := poolConfig("shell", 1, sleepExecutor())
	shell.TakesCommands, shell.NeedsCommand = true, true
	b := openEngine(t, engine.Config{Pools: []engine.Pool{shell, poolConfig("other", 1, sleepExecutor())}})
	defer b.closeNow()
	r := b.trySubmit("shell", withID("a", park.Submission{}))
	if r.Err == nil || r.Err.Code != park.InvalidRequest {
		t.Fatalf("a task without a command: %+v", r)
	}
	if _, err := b.Task(t.Context(), "shell", "a", 0); park.CodeOf(err) != park.TaskNotFound {
		t.Errorf("the refused task: %v", err)
	}
	b.submit("shell", withID("b", park.Submission{Command: []string{"true"}}))
	b.submit("other", withID("c", sleepFor(1)))
	b.awaitTask("other", "c")
}

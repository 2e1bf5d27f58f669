package engine_test

import (
	"testing"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/park"
)

// TestCommandIsAsked: a pool that runs commands and has none of its own takes no task without one, and leaves nothing of
// the one that it refused. Other pools need none.
func TestCommandIsAsked(t *testing.T) {
	shell := pool("shell", 1, simulated())
	shell.TakesCommands, shell.NeedsCommand = true, true
	b := open(t, engine.Config{Pools: []engine.Pool{shell, pool("other", 1, simulated())}})
	defer b.stop()
	r := b.offer("shell", named("a", park.Submission{}))
	if r.Err == nil || r.Err.Code != park.InvalidRequest {
		t.Fatalf("a task without a command: %+v", r)
	}
	if _, err := b.Task(t.Context(), "shell", "a", 0); park.CodeOf(err) != park.TaskNotFound {
		t.Errorf("the refused task: %v", err)
	}
	b.submit("shell", named("b", park.Submission{Command: []string{"true"}}))
	b.submit("other", named("c", sim(1)))
	b.ended("other", "c")
}

package command

import (
	"context"
	"os"
	"testing"

	"github.com/parkd-dev/parkd/pkg/park"
)

// TestLogThatIsNotThereYet: a run has its folder but no log yet. A caller that gives up leaves no file open.
func TestLogThatIsNotThereYet(t *testing.T) {
	d := newHarness(t, Config{})
	dir, err := d.logs.beginRun("gpu", "t-1", 1)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	files := func() int {
		names, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip(err) // there is no such folder here
		}
		return len(names)
	}
	before := files()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for range 20 {
		if _, err := d.Executor.Log(t.Context(), "gpu", "t-1", 1, park.LogQuery{}, nil); park.CodeOf(err) != park.LogNotFound {
			t.Fatalf("without patience: %v", err)
		}
		if _, err := d.Executor.Log(gone, "gpu", "t-1", 1, park.LogQuery{Follow: true}, nil); err == nil {
			t.Fatal("there is a log")
		}
	}
	if after := files(); after >= before+20 {
		t.Errorf("%d files are open, %d were before", after, before)
	}
}

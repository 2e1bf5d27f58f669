//go:build linux

package powercut_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/proof/powercut"
)

// TestFreezeOfTheDead: a process that has ended and whose parent has not asked for its exit code never stops any more, and
// does nothing any more either.
func TestFreezeOfTheDead(t *testing.T) {
	c := exec.CommandContext(t.Context(), "true")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	stat := fmt.Sprintf("/proc/%d/stat", c.Process.Pid)
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		b, err := os.ReadFile(stat)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte(") Z ")) {
			break
		}
		if time.Since(began) > time.Minute {
			t.Fatalf("it does not end: %s", b)
		}
	}
	if err := powercut.Freeze(t.Context(), c.Process.Pid); err != nil {
		t.Error(err)
	}
	if err := c.Wait(); err != nil {
		t.Error(err)
	}
}

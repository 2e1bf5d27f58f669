package command

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/parkd-dev/parkd/pkg/park"
)

func wantDeferred(t *testing.T, o park.Outcome, reason string) {
	t.Helper()
	if o.Shortage == nil || o.Shortage.Reason != reason || o.Reason != park.ReasonStartDeferred || o.Message == "" {
		t.Errorf("%+v, shortage %+v, want it put off for %s", o, o.Shortage, reason)
	}
}

// limitDescriptors leaves the process that many free descriptors. release frees the others.
func limitDescriptors(t *testing.T, left int) (release func()) {
	t.Helper()
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 200, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	var held []int
	for {
		fd, err := unix.Dup(0)
		if err != nil {
			break
		}
		held = append(held, fd)
	}
	for range left {
		_ = unix.Close(held[len(held)-1])
		held = held[:len(held)-1]
	}
	return func() {
		for _, fd := range held {
			_ = unix.Close(fd)
		}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
			t.Error(err)
		}
	}
}

// TestNoDescriptors starts commands with every number of free descriptors that is too small.
func TestNoDescriptors(t *testing.T) {
	d := newHarness(t, Config{})
	put := 0
	for left := range 40 {
		release := limitDescriptors(t, left)
		o, _ := d.run(t.Context(), shell("exit 0"))
		release()
		if o.Status == park.Completed {
			break
		}
		put++
		wantDeferred(t, o, park.ShortFiles)
	}
	if put == 0 {
		t.Error("no start lacked anything")
	}
	if o, _ := d.run(t.Context(), shell("exit 0")); o.Status != park.Completed {
		t.Errorf("with all of them again: %+v", o)
	}
}

// TestCleanedFolders removes files of the executor, as programs do that clean temporary folders.
func TestCleanedFolders(t *testing.T) {
	d := newHarness(t, Config{Dir: filepath.Join(t.TempDir(), "state")})
	for _, gone := range []string{"logs", "", "logs/gpu", lockName("gpu")} {
		if o, _ := d.run(t.Context(), shell("echo before")); o.Status != park.Completed {
			t.Fatalf("%+v", o)
		}
		if err := os.RemoveAll(filepath.Join(d.cfg.Dir, gone)); err != nil {
			t.Fatal(err)
		}
		if o, r := d.run(t.Context(), shell("echo after")); o.Status != park.Completed || r.Stdout != "after\n" {
			t.Errorf("without %q: %+v", gone, o)
		}
		if _, err := os.Stat(filepath.Join(d.cfg.Dir, "logs", "gpu", "t-t-1", "1.1.log")); err != nil {
			t.Errorf("without %q: %v", gone, err)
		}
	}
}

// TestUnusableFolder has a file in place of the folder for logs.
func TestUnusableFolder(t *testing.T) {
	d := newHarness(t, Config{})
	there := filepath.Join(d.cfg.Dir, "logs", "gpu")
	if err := os.WriteFile(there, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	o, _ := d.run(t.Context(), shell("exit 0"))
	wantDeferred(t, o, park.ShortFolder)
	if err := os.Remove(there); err != nil {
		t.Fatal(err)
	}
	if o, _ := d.run(t.Context(), shell("exit 0")); o.Status != park.Completed {
		t.Errorf("%+v", o)
	}
}

// TestShimThatCannotBegin has a shim that gets no threads or memory.
func TestShimThatCannotBegin(t *testing.T) {
	for says, reason := range map[string]string{
		"runtime: failed to create new OS thread (have 2 already; errno=11)": park.ShortProcesses,
		"fatal error: runtime: out of memory":                                park.ShortMemory,
		"who knows":                                                          park.ShortOther,
	} {
		d := newHarness(t, Config{})
		d.cfg.Program = []string{"/bin/sh", "-c", "echo '" + says + "' >&2; exit 2"}
		o, _ := d.run(t.Context(), shell("exit 0"))
		wantDeferred(t, o, reason)
		if !strings.Contains(o.Message, says) {
			t.Errorf("the message: %s", o.Message)
		}
	}
}

// TestNoProgram: a missing program or working directory is a failure of the task.
func TestNoProgram(t *testing.T) {
	d := newHarness(t, Config{})
	a := shell("")
	a.Command = []string{"/no/such/program"}
	for range 2 {
		if o, _ := d.run(t.Context(), a); o.Shortage != nil || o.Status != park.Failed {
			t.Errorf("%+v", o)
		}
		a = shell("exit 0")
		a.WorkDir = "/no/such/folder"
	}
}

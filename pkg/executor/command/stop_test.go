package command

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// TestGraceIsOfTheWholeTree: a script dies of TERM at once, but the program that it runs has the whole grace period to
// save its work, however it was started and whatever stops it.
func TestGraceIsOfTheWholeTree(t *testing.T) {
	const saves = `trap 'sleep 0.2; echo saved > $D/saved; exit 0' TERM; echo $$ > $D/pid; while :; do sleep 0.01; done`
	for name, c := range map[string]struct {
		script string
		cause  error
	}{
		"cancelled":       {`sh $D/work; echo never`, park.ErrCancelled},
		"at its timeout":  {`sh $D/work; echo never`, park.ErrTimeout},
		"at shutdown":     {`sh $D/work; echo never`, park.ErrShutdown},
		"in background":   {`sh $D/work & wait`, park.ErrCancelled},
		"in a session":    {`setsid -w sh $D/work; echo never`, park.ErrCancelled},
		"two levels down": {`sh -c 'sh $D/work; echo never'; echo never`, park.ErrCancelled},
		"handed over":     {`(setsid sh $D/work &); exec sleep 600`, park.ErrCancelled},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "work"), []byte(saves), 0o600); err != nil {
				t.Fatal(err)
			}
			// The run ends with its last process, long before the grace period does.
			d := newHarness(t, Config{KillGrace: time.Hour, Env: []string{"D=" + dir}})
			ctx, cancel := context.WithCancelCause(t.Context())
			pid := make(chan int, 1)
			go func() {
				pid <- pidIn(t, filepath.Join(dir, "pid"))
				cancel(c.cause)
			}()
			o, _ := d.run(ctx, shell(c.script))
			if o.Status != park.Failed {
				t.Errorf("%+v", o)
			}
			if b, err := os.ReadFile(filepath.Join(dir, "saved")); err != nil || string(b) != "saved\n" {
				t.Errorf("the work was not saved: %q, %v", b, err)
			}
			if p := <-pid; alive(p) {
				t.Errorf("process %d is still there", p)
			}
		})
	}
}

// TestGraceEnds: processes that outlast the grace period are killed, even if the command itself ended long before.
func TestGraceEnds(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	d := newHarness(t, Config{KillGrace: 100 * time.Millisecond, Env: []string{"F=" + file}})
	ctx, cancel := context.WithCancelCause(t.Context())
	pid := make(chan int, 1)
	go func() {
		pid <- pidIn(t, file)
		cancel(park.ErrCancelled)
	}()
	o, _ := d.run(ctx, shell(`sh -c 'trap "" TERM; echo $$ > $F; while :; do sleep 0.01; done' & wait`))
	if o.Reason != park.ReasonCancelled {
		t.Errorf("%+v", o)
	}
	if p := <-pid; alive(p) {
		t.Errorf("process %d is still there", p)
	}
}

// startUnrelated starts a process that leads its own group and is no child of this one, like one that reuses the id of
// a command that has ended.
func startUnrelated(t *testing.T) int {
	t.Helper()
	file := filepath.Join(t.TempDir(), "pid")
	if out, err := exec.Command("/bin/sh", "-c", `(setsid sh -c 'echo $$ > `+file+`; exec sleep 600' >/dev/null 2>&1 &)`).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	pid := pidIn(t, file)
	t.Cleanup(func() {
		if p, err := os.FindProcess(pid); err == nil {
			_ = p.Kill()
		}
	})
	eventually(t, "it is a child of somebody else", func() bool {
		parent, ok := parentOf(pid)
		return ok && parent != os.Getpid()
	})
	return pid
}

// TestNumberOfTheDead: after the command was reaped its id may be reused; a process that gets it must not be killed.
func TestNumberOfTheDead(t *testing.T) {
	pid := startUnrelated(t)
	s := &shim{job: &job{}, pid: pid}
	s.killTree()
	killStragglers("no-such-run", 1<<30, pid)
	for range 20 {
		if !alive(pid) {
			t.Fatal("a process was killed that has nothing to do with the run")
		}
		time.Sleep(time.Millisecond)
	}
}

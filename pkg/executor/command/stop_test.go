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

// TestGraceIsOfTheWholeTree: a script that runs the program which does the work dies of TERM at once. The program has the
// whole grace to save its work all the same, whichever way it was started and whatever stops it.
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
			// The run ends long before the grace does: with the last of its processes.
			d := open(t, Config{KillGrace: time.Hour, Env: []string{"D=" + dir}})
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

// TestGraceEnds: what goes on beyond the grace is killed, though the command itself has ended long before.
func TestGraceEnds(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	d := open(t, Config{KillGrace: 100 * time.Millisecond, Env: []string{"F=" + file}})
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

// stranger starts a process that leads a group of its own and is no child of this one, as one that was given the number
// of a command that is gone.
func stranger(t *testing.T) int {
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
	until(t, "it is a child of somebody else", func() bool {
		parent, ok := parentOf(pid)
		return ok && parent != os.Getpid()
	})
	return pid
}

// TestNumberOfTheDead: once the command was reaped its number may be that of others, who must not be killed for what the
// command left behind.
func TestNumberOfTheDead(t *testing.T) {
	pid := stranger(t)
	s := &shim{job: &job{}, pid: pid}
	s.killTree()
	hunt("no-such-run", 1<<30, pid)
	for range 20 {
		if !alive(pid) {
			t.Fatal("a process was killed that has nothing to do with the run")
		}
		time.Sleep(time.Millisecond)
	}
}

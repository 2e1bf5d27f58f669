package command

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/parkd-dev/parkd/pkg/park"
)

// logOf reads a task's log to its end; ok is false if there is none.
func (d *harness) logOf(task string) (text string, ok bool) {
	d.Helper()
	log, err := d.Executor.Log(d.Context(), "gpu", task, 0, park.LogQuery{}, nil)
	if park.CodeOf(err) == park.LogNotFound {
		return "", false
	}
	if err != nil {
		d.Fatal(err)
	}
	defer log.Close()
	b, err := io.ReadAll(log)
	if err != nil {
		d.Fatal(err)
	}
	return string(b), true
}

// age sets the age of all entries of a task's folder.
func age(t *testing.T, dir string, by time.Duration) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(names, dir) {
		if err := os.Chtimes(name, time.Time{}, time.Now().Add(-by)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRunningLogIsKept: the log of a running command is kept even if it is old, whether the executor of another pool or
// another daemon prunes the folder.
func TestRunningLogIsKept(t *testing.T) {
	dir := t.TempDir()
	one, two := newHarness(t, Config{Dir: dir, Env: []string{"D=" + dir}}), newHarness(t, Config{Dir: dir})
	over := make(chan struct{})
	go func() {
		defer close(over)
		one.run(t.Context(), shell("echo begun; echo $$ > $D/pid; while [ ! -e $D/go ]; do sleep 0.01; done; echo ended"))
	}()
	pidIn(t, dir+"/pid")
	daemon := startTestDaemon(t, filepath.Join(dir, "doomed"))
	pidIn(t, dir+"/doomed/one")
	three := newHarness(t, Config{Dir: filepath.Join(dir, "doomed")})
	if err := two.PruneLogs(t.Context(), time.Now().Add(time.Hour)); err != nil {
		t.Error(err)
	}
	if err := three.PruneLogs(t.Context(), time.Now().Add(time.Hour)); err != nil {
		t.Error(err)
	}
	if _, ok := three.logOf("t-1"); !ok {
		t.Error("the log of another daemon's command is gone")
	}
	_ = daemon.Kill()
	if err := os.WriteFile(dir+"/go", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	<-over
	if text, _ := one.logOf("t-1"); text != "begun\nended\n" {
		t.Errorf("the log is %q", text)
	}
	if err := two.PruneLogs(t.Context(), time.Now().Add(time.Hour)); err != nil {
		t.Error(err)
	}
	if _, ok := one.logOf("t-1"); ok {
		t.Error("the log of a run that is over is kept")
	}
}

// TestPruneByAge: folders with a recent note are not checked, folders that were written to since are kept, and notes
// are removed with their logs.
func TestPruneByAge(t *testing.T) {
	dir := t.TempDir()
	d := newHarness(t, Config{Dir: dir})
	for _, id := range []string{"old", "young", "again"} {
		a := shell("echo " + id)
		a.TaskID = id
		d.run(t.Context(), a)
	}
	logs := filepath.Join(dir, "logs")
	long := 48 * time.Hour
	for _, id := range []string{"old", "again"} { // as if they had been noted two days ago
		if err := d.logs.note("gpu/t-"+id, time.Now().Add(-long)); err != nil {
			t.Fatal(err)
		}
	}
	age(t, logs+"/gpu/t-old", long)
	age(t, logs+"/gpu/t-young", long) // a check of all folders would find it
	day := time.Now().Add(-24 * time.Hour)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.PruneLogs(gone, day); !errors.Is(err, context.Canceled) {
		t.Errorf("when told to stop: %v", err)
	}
	if _, ok := d.logOf("old"); !ok {
		t.Error("pruned when told to stop")
	}
	if err := d.PruneLogs(t.Context(), day); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]bool{"old": false, "young": true, "again": true} {
		if _, ok := d.logOf(id); ok != want {
			t.Errorf("the log of %s is there: %t", id, ok)
		}
	}
	if err := d.PruneLogs(t.Context(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(logs + "/*/t-*"); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	if left, _ := filepath.Glob(logs + "/.by-time/2*"); len(left) > 0 {
		t.Errorf("notes are left: %q", left)
	}
}

// TestLogsOfAnOlderParkd: logs without notes are read, and pruned when they are old enough.
func TestLogsOfAnOlderParkd(t *testing.T) {
	dir := t.TempDir()
	for id, by := range map[string]time.Duration{"old": 48 * time.Hour, "young": time.Minute} {
		folder := filepath.Join(dir, "logs/gpu/t-"+id)
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(folder+"/1.1.log", []byte(id+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		age(t, folder, by)
	}
	d := newHarness(t, Config{Dir: dir})
	for _, id := range []string{"old", "young"} {
		if text, _ := d.logOf(id); text != id+"\n" {
			t.Errorf("the log of %s is %q", id, text)
		}
	}
	for _, before := range []time.Duration{24 * time.Hour, 0} {
		if err := d.PruneLogs(t.Context(), time.Now().Add(-before)); err != nil {
			t.Fatal(err)
		}
		if _, ok := d.logOf("old"); ok {
			t.Error("an old log is kept")
		}
		if _, ok := d.logOf("young"); ok != (before > 0) {
			t.Errorf("a log of a minute, when those of %s are kept: %t", before, ok)
		}
	}
}

// TestWhatIsCalledLikeALog: a fifo, folder or link with the name of a log blocks neither a reader nor the command.
func TestWhatIsCalledLikeALog(t *testing.T) {
	plant := map[string]func(path string) error{
		"fifo":   func(path string) error { return unix.Mkfifo(path, 0o600) },
		"folder": func(path string) error { return os.MkdirAll(path+"/full", 0o700) },
		"link":   func(path string) error { return os.Symlink("/dev/zero", path) },
	}
	for name, put := range plant {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			d := newHarness(t, Config{Dir: dir, MaxLogBytes: 10, Env: []string{"L=" + dir + "/logs/gpu/t-t-1"}})
			d.run(t.Context(), shell("echo first"))
			folder := filepath.Join(dir, "logs/gpu/t-t-1")
			for _, part := range []string{"1.0.log", "1.2.log", "3.1.log"} {
				if err := put(filepath.Join(folder, part)); err != nil {
					t.Fatal(err)
				}
			}
			if text, _ := d.logOf("t-1"); text != "first\n" {
				t.Errorf("%q", text)
			}
			// The second run removes its own names; the third meets one that appears while it runs.
			second := shell("echo second")
			second.Attempt = 2
			if o := d.Run(t.Context(), second); o.Status != park.Completed {
				t.Errorf("%+v", o)
			}
			if text, _ := d.logOf("t-1"); text != "second\n" {
				t.Errorf("%q", text)
			}
			if err := put(filepath.Join(folder, "4.2.log")); err != nil {
				t.Fatal(err)
			}
			fourth := shell("rm -rf $L/4.2.log; mkfifo $L/4.2.log; for i in 1 2 3 4 5 6; do echo line $i; done")
			fourth.Attempt = 4
			if o := d.Run(t.Context(), fourth); o.Status != park.Completed {
				t.Errorf("%+v", o)
			}
			if err := put(filepath.Join(dir, "logs/gpu/t-t-2")); err != nil {
				t.Fatal(err)
			}
			if text, _ := d.logOf("t-2"); text != "" {
				t.Errorf("a log of nothing: %q", text)
			}
		})
	}
}

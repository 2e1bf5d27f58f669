// Package judges tests daemons with planted bugs with everything that checks a daemon: each bug must be found wherever
// possible.
package judges

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/proof"
	"github.com/parkd-dev/parkd/pkg/internal/sim/planted"
	"github.com/parkd-dev/parkd/pkg/loadtest"
)

// root is the root of the repository.
const root = "../../../.."

// found means that a judge must find a bug. Any other text says why it cannot.
const found = "found"

// badDaemon is a daemon with a planted bug, and whether each judge must find it: a load test of a few hundred tasks,
// the simulation, and parkd audit verify after the load test.
type badDaemon struct {
	bug                    string
	load, simulated, audit string
}

const (
	consistentWithLog = "the tasks, the messages and the log agree with each other; what was asked for is not kept"
	noSuchRun         = "no run is lost in so short a test"
)

func badDaemons() []badDaemon {
	return []badDaemon{
		{"half_of_all_fail", found, found, consistentWithLog},
		{"never_told_to_stop", found, found, "nothing says in the log how long a run that was told to stop would have taken"},
		{"mailboxes_swapped", found, found, found},
		{"log_without_the_last_hour", found, found, "it reads the log as the stores keep it, and not as the daemon tells it"},
		{"log_ends", found, found, found},
		{"results_swapped", found, found, found},
		{"result_lost", found, found, consistentWithLog},
		{"failure_is_a_completion", found, found, consistentWithLog},
		{"more_units", found, found, consistentWithLog},
		{"half_the_units", found, found, consistentWithLog},
		{"event_of_one_unit", found, found, found},
		{"one_unit_too_many", found, found, found},
		{"message_doubled", found, found, found},
		{"no_message_of_the_expired", found, found, found},
		{"message_of_another_attempt", found, found, found},
		{"message_twice", noSuchRun, found, noSuchRun},
		{"foreign_payload", found, found, found},
		{"priorities_reversed", found, found, found},
		{"last_is_first", found, found, found},
		{"log_without_its_end", found, found, found},
		{"never_expires", found, found, found},
	}
}

// TestBadDaemons is a campaign of package proof, and does nothing in an ordinary test run.
func TestBadDaemons(t *testing.T) {
	all := badDaemons()
	c := proof.Begin(t, "bad daemons")
	all = all[:c.Target("judged", 0, 4, len(all))]
	if len(all) == 0 {
		return
	}
	b := newHarness(t, all)
	b.checkGoodDaemon(t)
	for _, d := range all {
		if c.Spent() {
			break
		}
		t.Run(d.bug, func(t *testing.T) {
			load, audit := b.loadTest(t, d.bug)
			check(t, "the load test", d.load, load)
			check(t, "audit verify", d.audit, audit)
			check(t, "the simulation", d.simulated, b.simulate(t, d))
		})
		c.Add("judged", 1)
	}
}

// check compares what a judge found, "" for nothing, with what it should find.
func check(t *testing.T, judge, want, said string) {
	t.Helper()
	switch {
	case want == found && said == "":
		t.Errorf("%s does not find it", judge)
	case want == found:
		t.Logf("%s: %s", judge, said)
	case said != "":
		t.Errorf("%s finds it (%s), although it is said that it cannot: %s", judge, said, want)
	}
}

// harness has the programs: parkd and the simulation, built with all bugs, of which the environment selects one.
type harness struct {
	parkd, judge string
	scratch      string
}

func newHarness(t *testing.T, all []badDaemon) *harness {
	t.Helper()
	b := &harness{scratch: t.TempDir()}
	b.parkd, b.judge = filepath.Join(b.scratch, "parkd"), filepath.Join(b.scratch, "judge")
	bugs := make([]planted.Bug, len(all))
	for i, d := range all {
		var err error
		if bugs[i], err = planted.Find(d.bug); err != nil {
			t.Fatal(err)
		}
	}
	overlay, alone, err := planted.Together(bugs, root, b.scratch)
	if err != nil || len(alone) > 0 {
		t.Fatalf("plant the bugs: %v, %d apart", err, len(alone))
	}
	b.build(t, overlay, b.parkd, ".")
	b.build(t, overlay, b.judge, "./pkg/internal/sim/planted/judge")
	return b
}

func (b *harness) build(t *testing.T, overlay, path, pkg string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-ldflags=-s -w", "-overlay", overlay, "-o", path, pkg)
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, out)
	}
}

// checkGoodDaemon checks that nothing is found in a daemon without a bug.
func (b *harness) checkGoodDaemon(t *testing.T) {
	t.Helper()
	if load, audit := b.loadTest(t, ""); load != "" || audit != "" {
		t.Fatalf("a good daemon is found bad: by the load test %q, by audit verify %q", load, audit)
	}
}

// timingGuarantees match the guarantees that depend on the speed of the machine.
var timingGuarantees = regexp.MustCompile(`within 1 s|slowest`)

// loadTest runs a load test on a daemon with a bug, and returns what the load test and then audit verify find; "" for
// nothing.
func (b *harness) loadTest(t *testing.T, bug string) (load, audit string) {
	t.Helper()
	url := b.serve(t, bug)
	ctx, cancel := context.WithTimeout(t.Context(), proof.Patience)
	defer cancel()
	r, err := loadtest.Run(ctx, loadtest.Options{N: 300, Server: url, Pool: "load", Seed: 1})
	if err != nil {
		load = err.Error()
	} else {
		for _, v := range r.Verdicts {
			if !v.OK && !timingGuarantees.MatchString(v.Promise) {
				load += v.Promise + "; "
			}
		}
	}
	cmd := exec.CommandContext(ctx, b.parkd, "audit", "verify", "--server", url)
	cmd.Env = b.environment("")
	out, err := cmd.CombinedOutput()
	if err != nil {
		audit = strings.TrimSpace(string(out))
		audit = audit[strings.LastIndexByte(audit, '\n')+1:]
	}
	return load, audit
}

// serve starts a daemon with a bug, which is stopped at the end of the test, and returns its address.
func (b *harness) serve(t *testing.T, bug string) string {
	t.Helper()
	dir := t.TempDir()
	config := filepath.Join(dir, "scheduler-config.json")
	text := fmt.Sprintf(`{"listen":"127.0.0.1:0","socket":"off","audit":"file","backends":{"file":{"path":%q}},"pools":{"load":{
		"kind":"mixed","max_units":24,"max_queue_depth":1000,"default_timeout_secs":600,"queue":"file","mailbox":"file",
		"runtime":"native","executor":{"type":"simulate"}}}}`, filepath.Join(dir, "parkd.db"))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ready, tell, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer ready.Close()
	cmd := exec.CommandContext(t.Context(), b.parkd, "serve", "--config", config, "--ready-fd", "3")
	var log bytes.Buffer
	cmd.Dir, cmd.Env, cmd.ExtraFiles, cmd.Stdout, cmd.Stderr = dir, b.environment(bug), []*os.File{tell}, &log, &log
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = proof.Patience
	err = cmd.Start()
	_ = tell.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Wait() }) // the end of the test's context has stopped it
	var line struct{ URL string }
	_ = ready.SetReadDeadline(time.Now().Add(proof.Patience))
	if err := json.NewDecoder(io.LimitReader(ready, 1<<16)).Decode(&line); err != nil {
		t.Fatalf("the daemon does not say that it listens: %v", err)
	}
	return line.URL
}

// environment returns the environment of a program with a bug, without the user's settings.
func (b *harness) environment(bug string) []string {
	env := slices.DeleteFunc(os.Environ(), func(s string) bool {
		return strings.HasPrefix(s, "PARKD_") || strings.HasPrefix(s, "XDG_") || strings.HasPrefix(s, "HOME=")
	})
	return append(env, planted.EnvBug+"="+bug, "HOME="+b.scratch)
}

// simulate returns what the simulation finds; "" for nothing. If it cannot find the bug, a few histories suffice.
func (b *harness) simulate(t *testing.T, d badDaemon) string {
	t.Helper()
	seeds := "-seeds=500"
	if d.simulated != found {
		seeds = "-seeds=20"
	}
	cmd := exec.CommandContext(t.Context(), b.judge, seeds)
	cmd.Env = b.environment(d.bug)
	out, err := cmd.CombinedOutput()
	if err == nil {
		return ""
	}
	said, _, _ := strings.Cut(string(out), "\n")
	if !strings.HasPrefix(said, "seed ") {
		t.Errorf("the simulation fell over: %v\n%s", err, out[:min(len(out), 5000)])
	}
	return said
}

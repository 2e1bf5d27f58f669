package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/parkd-dev/parkd/pkg/park"
)

// TestMain makes the test binary the shim, or a daemon that tests kill.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == ShimArg {
		os.Exit(ShimMain(os.Args[2:]))
	}
	if dir := os.Getenv("COMMAND_TEST_DAEMON"); dir != "" {
		os.Exit(runTestDaemon(dir))
	}
	os.Exit(m.Run())
}

// harness is an executor under test.
type harness struct {
	testing.TB
	*Executor
}

func newHarness(t testing.TB, c Config) *harness {
	t.Helper()
	if c.Dir == "" {
		c.Dir = t.TempDir()
	}
	c.Program = program()
	x, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	})
	return &harness{t, x}
}

func shell(script string) park.Assignment {
	return park.Assignment{PoolID: "gpu", TaskID: "t-1", Tenant: "acme", Units: 8, Attempt: 1, Command: []string{"/bin/sh", "-c", script}}
}

type result struct {
	ExitCode       int
	Stdout, Stderr string
	Truncated      bool
}

// program starts the shim. The race detector would delay its exit by a second.
func program() []string {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return []string{"/usr/bin/env", "GORACE=atexit_sleep_ms=0", self, ShimArg}
}

// run runs an assignment and returns its outcome and result.
func (d *harness) run(ctx context.Context, a park.Assignment) (park.Outcome, result) {
	d.Helper()
	o := d.Run(ctx, a)
	var r result
	if len(o.Result) > 0 {
		if err := json.Unmarshal(o.Result, &r); err != nil {
			d.Fatalf("%s: %v", o.Result, err)
		}
	}
	return o, r
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, met func() bool) {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); !met(); {
		if time.Now().After(deadline) {
			t.Fatalf("timed out: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// alive reports whether a process exists and is not a zombie.
func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	state := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))[0]
	return state != "Z" && state != "X"
}

func pidIn(t testing.TB, path string) int {
	t.Helper()
	var pid int
	eventually(t, path, func() bool {
		b, _ := os.ReadFile(path)
		n, _ := fmt.Sscanf(string(b), "%d\n", &pid)
		return n == 1
	})
	return pid
}

func TestOutcomes(t *testing.T) {
	for name, c := range map[string]struct {
		script  string
		status  park.Status
		reason  string
		message string
		result  result
	}{
		"well":       {"echo out; echo err >&2", park.Completed, "", "", result{0, "out\n", "err\n", false}},
		"badly":      {"echo no >&2; exit 7", park.Failed, park.ReasonExitNonzero, "exit status 7", result{7, "", "no\n", false}},
		"by signal":  {"kill -SEGV $$", park.Failed, park.ReasonExitNonzero, "killed by signal SIGSEGV", result{128 + 11, "", "", false}},
		"not UTF-8":  {`printf 'a\377b\000c'`, park.Completed, "", "", result{0, "a\uFFFDb\x00c", "", false}},
		"no input":   {"cat", park.Completed, "", "", result{}},
		"a lot":      {"yes | head -c 1000000", park.Completed, "", "", result{0, strings.Repeat("y\n", 32<<10), "", true}},
		"background": {"sleep 600 & echo done", park.Completed, "", "", result{0, "done\n", "", false}},
	} {
		t.Run(name, func(t *testing.T) {
			o, r := newHarness(t, Config{}).run(t.Context(), shell(c.script))
			if o.Status != c.status || o.Reason != c.reason || o.Message != c.message || r != c.result {
				t.Errorf("%s %s %q, %d, %.40q, %.40q, %t", o.Status, o.Reason, o.Message, r.ExitCode, r.Stdout, r.Stderr, r.Truncated)
			}
		})
	}
}

func TestCannotStart(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, []byte("no program"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := newHarness(t, Config{})
	for name, c := range map[string]struct {
		a    park.Assignment
		says string
	}{
		"not on PATH":  {park.Assignment{Command: []string{"no-such-program-here"}}, "PATH"},
		"no such file": {park.Assignment{Command: []string{"/no/such/file"}}, "/no/such/file"},
		"no program":   {park.Assignment{Command: []string{plain}}, "permission denied"},
		"no folder":    {park.Assignment{Command: []string{"true"}, WorkDir: "/no/such/folder"}, "working directory"},
		"no directory": {park.Assignment{Command: []string{"true"}, WorkDir: plain}, "not a directory"},
		"no command":   {park.Assignment{}, "no command"},
	} {
		t.Run(name, func(t *testing.T) {
			c.a.PoolID, c.a.TaskID, c.a.Attempt = "gpu", "t-1", 1
			o := d.Run(t.Context(), c.a)
			if o.Status != park.Failed || o.Reason != park.ReasonExecutorError || !strings.Contains(o.Message, c.says) {
				t.Errorf("%+v", o)
			}
		})
	}
}

// TestStoredID: a task that is stored under another id than the tenant gave has its log under the stored id, and its
// command gets the given id.
func TestStoredID(t *testing.T) {
	d := newHarness(t, Config{})
	for _, tenant := range []string{"acme", strings.Repeat("ä", 100)} {
		a := shell("echo $PARKD_TASK_ID; env | grep -c @; true")
		given := strings.Repeat("i", park.MaxIDLength)
		a.Tenant, a.TaskID = tenant, park.TenantTaskID(given, tenant)
		if o, r := d.run(t.Context(), a); r.Stdout != given+"\n0\n" {
			t.Errorf("the task of %s was told %q: %+v", tenant, r.Stdout, o)
		}
		if log, ok := d.logOf(a.TaskID); !ok || !strings.HasPrefix(log, given) {
			t.Errorf("the log of %s is %q", a.TaskID, log)
		}
		if _, ok := d.logOf(given); ok {
			t.Error("there is a log of a task that did not run")
		}
	}
}

func TestSurroundings(t *testing.T) {
	t.Setenv("SECRET_KEY", "4711")
	t.Setenv("PARKD_TOKEN", "4711")
	t.Setenv("LD_LIBRARY_PATH", "/tmp")
	t.Setenv("CUDA_VISIBLE_DEVICES", "1")
	t.Setenv("PASSED_ON", "yes")
	dir := t.TempDir()
	d := newHarness(t, Config{Env: []string{"PASSED_ON", "GIVEN=a b"}})
	a := shell("cat; pwd; env")
	a.WorkDir, a.Payload = dir, json.RawMessage(`{"scene":41}`)
	_, r := d.run(t.Context(), a)
	lines := strings.Split(strings.Replace(r.Stdout, `{"scene":41}`, "{\"scene\":41}\n", 1), "\n")
	for _, want := range []string{
		`{"scene":41}`, dir, "PARKD_TASK_ID=t-1", "PARKD_POOL=gpu", "PARKD_UNITS=8", "PARKD_ATTEMPT=1", "PARKD_TENANT=acme",
		"PASSED_ON=yes", "GIVEN=a b", "CUDA_VISIBLE_DEVICES=1", "HOME=" + os.Getenv("HOME"),
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("%q is missing from %q", want, lines)
		}
	}
	if strings.Contains(r.Stdout, "4711") || strings.Contains(r.Stdout, "LD_LIBRARY") {
		t.Errorf("too much is passed on: %s", r.Stdout)
	}
	for _, env := range []string{"LD_PRELOAD=x", "PARKD_TOKEN", "=x"} {
		if _, err := New(Config{Dir: dir, Env: []string{env}}); err == nil {
			t.Errorf("env %q is taken", env)
		}
	}
}

// TestLibraries: an operator may set LD_LIBRARY_PATH.
func TestLibraries(t *testing.T) {
	d := newHarness(t, Config{Env: []string{"LD_LIBRARY_PATH=/opt/card"}})
	if _, r := d.run(t.Context(), shell("echo $LD_LIBRARY_PATH")); r.Stdout != "/opt/card\n" {
		t.Errorf("%q", r.Stdout)
	}
	i, err := CheckEnv([]string{"A=b", "GIT_DIR=4711"})
	if i != 1 || err == nil || strings.Contains(err.Error(), "4711") {
		t.Errorf("entry %d: %v", i, err)
	}
}

// TestOwnProgram: by default the running program is started as the shim.
func TestOwnProgram(t *testing.T) {
	x, err := New(Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	if o := x.Run(t.Context(), shell("true")); o.Status != park.Completed {
		t.Errorf("%+v", o)
	}
}

// TestFixedCommand: a task cannot change the operator's command or its working directory.
func TestFixedCommand(t *testing.T) {
	d := newHarness(t, Config{Command: []string{"cat"}, WorkDir: t.TempDir()})
	a := shell("echo mine")
	a.Payload, a.WorkDir = json.RawMessage(`"payload"`), "/no/such/folder"
	if _, r := d.run(t.Context(), a); r.Stdout != `"payload"` {
		t.Errorf("%+v", r)
	}
}

// TestIgnoredPayload: a command may end without reading a payload that is larger than a pipe.
func TestIgnoredPayload(t *testing.T) {
	a := shell("exit 3")
	a.Payload = json.RawMessage(`"` + strings.Repeat("x", 1<<20) + `"`)
	if _, r := newHarness(t, Config{}).run(t.Context(), a); r.ExitCode != 3 {
		t.Errorf("%+v", r)
	}
}

func TestStop(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		cause  error
		reason string
		stdout string
		grace  time.Duration // long if the command ends within it, short if it does not
	}{
		"gently":         {"trap 'echo bye; exit 0' TERM; echo $$ > $F; while :; do sleep 0.01; done", park.ErrCancelled, park.ReasonCancelled, "bye\n", time.Minute},
		"by force":       {"trap '' TERM; echo $$ > $F; while :; do sleep 0.01; done", park.ErrCancelled, park.ReasonCancelled, "", 100 * time.Millisecond},
		"a stopped one":  {"echo $$ > $F; kill -STOP $$", park.ErrCancelled, park.ReasonCancelled, "", time.Minute},
		"at shutdown":    {"echo $$ > $F; exec sleep 600", park.ErrShutdown, park.ReasonShutdown, "", time.Minute},
		"another group":  {"setsid sh -c 'trap \"\" TERM; echo $$ > $F; while :; do sleep 0.01; done' & wait", park.ErrCancelled, park.ReasonCancelled, "", 100 * time.Millisecond},
		"double forked":  {"(setsid sh -c 'echo $$ > $F; exec sleep 600' &) ; exec sleep 600", park.ErrCancelled, park.ReasonCancelled, "", 100 * time.Millisecond},
		"at its timeout": {"echo $$ > $F; exec sleep 600", park.ErrTimeout, park.ReasonTimeout, "", time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "pid")
			d := newHarness(t, Config{KillGrace: c.grace, Env: []string{"F=" + file}})
			ctx, cancel := context.WithCancelCause(t.Context())
			pid := make(chan int, 1)
			go func() {
				pid <- pidIn(t, file)
				cancel(c.cause)
			}()
			o, r := d.run(ctx, shell(c.script))
			if o.Status != park.Failed || o.Reason != c.reason || r.Stdout != c.stdout {
				t.Errorf("%+v %+v", o, r)
			}
			if p := <-pid; alive(p) {
				t.Errorf("process %d is still there", p)
			}
		})
	}
}

// TestTimeoutOfTheShim: the shim enforces the time limit itself, because a daemon may be frozen. The time that a shell
// needs to set its trap is not known, so the limit is doubled until it suffices.
func TestTimeoutOfTheShim(t *testing.T) {
	a := shell("trap 'echo late; exit 0' TERM; while :; do sleep 0.01; done")
	d := newHarness(t, Config{KillGrace: time.Minute})
	for a.Timeout = 100 * time.Millisecond; ; a.Timeout *= 2 {
		o, r := d.run(t.Context(), a)
		if o.Status != park.Failed || o.Reason != park.ReasonTimeout || r.Stdout != "" && r.Stdout != "late\n" {
			t.Fatalf("%+v %+v", o, r)
		}
		if r.Stdout != "" {
			return
		}
		if a.Timeout > time.Minute {
			t.Fatalf("the command was not asked to end: %+v %+v", o, r)
		}
	}
}

// TestLeftovers: a run ends only when all processes of it have ended, whatever group they are in.
func TestLeftovers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	d := newHarness(t, Config{Env: []string{"F=" + file}})
	o, _ := d.run(t.Context(), shell("(setsid sh -c 'trap \"\" TERM HUP; echo $$ > $F; while :; do sleep 0.01; done' >/dev/null 2>&1 &); while [ ! -s $F ]; do sleep 0.01; done"))
	if o.Status != park.Completed {
		t.Errorf("%+v", o)
	}
	if pid := pidIn(t, file); alive(pid) {
		t.Errorf("process %d is still there", pid)
	}
}

// TestShimKilled: if the shim is killed, the daemon kills the processes of the run.
func TestShimKilled(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	d := newHarness(t, Config{Env: []string{"F=" + file}})
	killed := make(chan int, 1)
	go func() {
		pid := pidIn(t, file)
		parent, _ := parentOf(pid)
		for shim := parent; shim > 1; shim, _ = parentOf(shim) {
			if up, _ := parentOf(shim); up == os.Getpid() {
				_ = unix.Kill(shim, unix.SIGKILL)
				break
			}
		}
		killed <- pid
	}()
	o := d.Run(t.Context(), shell("setsid sh -c 'echo $$ > $F; exec sleep 600' & wait"))
	pid := <-killed
	if o.Status != park.Failed || o.Reason != park.ReasonExecutorError || !strings.Contains(o.Message, "supervisor") {
		t.Errorf("%+v", o)
	}
	eventually(t, "the hunted process is gone", func() bool { return !alive(pid) })
}

// testDaemonFence is long enough for a busy machine to send the alive messages in time.
const testDaemonFence = 5 * time.Second

// runTestDaemon is a daemon that starts two commands and waits to be killed.
func runTestDaemon(dir string) int {
	x, err := New(Config{Dir: dir, Program: program(), Env: []string{"D=" + dir}, Fence: testDaemonFence})
	if err != nil {
		return 1
	}
	var both sync.WaitGroup
	for _, script := range []string{
		"trap '' TERM HUP; echo $$ > $D/one; while :; do sleep 0.01; done",
		"(setsid sh -c 'echo $$ > $D/two; exec sleep 600' &); exec sleep 600",
	} {
		both.Go(func() { x.Run(context.Background(), shell(script)) })
	}
	both.Wait()
	return 0
}

func startTestDaemon(t *testing.T, dir string) *os.Process {
	t.Helper()
	p, err := os.StartProcess("/proc/self/exe", []string{"daemon"}, &os.ProcAttr{
		Env: append(os.Environ(), "COMMAND_TEST_DAEMON="+dir), Files: []*os.File{nil, nil, os.Stderr},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Kill() })
	return p
}

// TestDaemonKilled: all commands of a daemon die with it, and a new daemon waits for that.
func TestDaemonKilled(t *testing.T) {
	dir := t.TempDir()
	daemon := startTestDaemon(t, dir)
	pids := []int{pidIn(t, dir+"/one"), pidIn(t, dir+"/two")}
	d := newHarness(t, Config{Dir: dir})
	if err := d.WaitForOrphans(t.Context(), "gpu", 20*time.Millisecond); err != nil {
		t.Errorf("with the old daemon alive, settling ends with %v", err)
	}
	// The orphans are named. Their pool starts nothing; other pools do.
	o := d.Run(t.Context(), shell("true"))
	if o.Shortage == nil || o.Shortage.Reason != park.ShortLeftovers || !strings.Contains(o.Message, fmt.Sprintf("process %d ", pids[0])) || !strings.Contains(o.Message, "task t-1") {
		t.Errorf("a start beside what is left: %+v", o)
	}
	other := newHarness(t, Config{Dir: dir})
	if err := other.WaitForOrphans(t.Context(), "cpu", time.Minute); err != nil {
		t.Error(err)
	}
	a := shell("true")
	a.PoolID = "cpu"
	if o := other.Run(t.Context(), a); o.Status != park.Completed {
		t.Errorf("another pool: %+v", o)
	}
	if err := daemon.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := daemon.Wait(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the pool starts again", func() bool { return d.Run(t.Context(), shell("true")).Shortage == nil })
	for _, pid := range pids {
		if alive(pid) {
			t.Errorf("process %d outlives its daemon", pid)
		}
	}
}

// TestDaemonFrozen: commands of a daemon that sends no alive messages are killed, because others may take its tasks. As
// long as it does, they run.
func TestDaemonFrozen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	daemon := startTestDaemon(t, dir)
	pids := []int{pidIn(t, dir+"/one"), pidIn(t, dir+"/two")}
	for end := time.Now().Add(3 * testDaemonFence / 2); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if !alive(pids[0]) || !alive(pids[1]) {
			t.Fatal("a command of a live daemon is gone")
		}
	}
	if err := daemon.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the commands of a frozen daemon are gone", func() bool { return !alive(pids[0]) && !alive(pids[1]) })
}

// TestNotBegunBehindTheFence: a job that was sent by a daemon that froze meanwhile is not started, not even for a
// moment.
func TestNotBegunBehindTheFence(t *testing.T) {
	d := newHarness(t, Config{Fence: time.Second})
	a := shell("touch begun; sleep 600")
	a.WorkDir = t.TempDir()
	a.Proved = func() time.Duration { return time.Minute }
	o, r := d.run(t.Context(), a)
	if o.Status != park.Failed || o.Reason != park.ReasonNodeLost || r.ExitCode != 0 {
		t.Errorf("%+v: of a command that was killed, and so begun", o)
	}
	if _, err := os.Stat(a.WorkDir + "/begun"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the command ran: %v", err)
	}
}

func TestLog(t *testing.T) {
	d := newHarness(t, Config{MaxLogBytes: 1000})
	read := func(attempt int) string {
		t.Helper()
		log, err := d.Executor.Log(t.Context(), "gpu", "t-1", attempt, park.LogQuery{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		b, err := io.ReadAll(log)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	d.run(t.Context(), shell("echo one; echo two >&2"))
	if got := read(1); got != "one\ntwo\n" && got != "two\none\n" {
		t.Errorf("%q", got)
	}
	second := shell("for i in $(seq 1000); do echo line $i; done")
	second.Attempt = 2
	d.run(t.Context(), second)
	got := read(0)
	if len(got) > 2000 || len(got) < 1000 || !strings.HasSuffix(got, "line 1000\n") {
		t.Errorf("%d bytes are kept, %.20q … %q", len(got), got, got[max(0, len(got)-20):])
	}
	if got := read(1); !strings.Contains(got, "one\n") {
		t.Errorf("the first run's log: %q", got)
	}
	for _, name := range []string{"../t-1", "t-2", ".."} {
		if _, err := d.Executor.Log(t.Context(), "gpu", name, 0, park.LogQuery{}, nil); park.CodeOf(err) != park.LogNotFound {
			t.Errorf("log of %q: %v", name, err)
		}
	}
	if err := d.PruneLogs(t.Context(), time.Now().Add(-time.Hour)); err != nil || read(1) == "" {
		t.Errorf("what is young goes: %v", err)
	}
	if err := d.PruneLogs(t.Context(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Executor.Log(t.Context(), "gpu", "t-1", 1, park.LogQuery{}, nil); park.CodeOf(err) != park.LogNotFound {
		t.Errorf("what is old stays: %v", err)
	}
}

func TestLogFollows(t *testing.T) {
	dir := t.TempDir()
	d := newHarness(t, Config{MaxLogBytes: 100, Env: []string{"D=" + dir}})
	ended := make(chan struct{})
	log := make(chan io.ReadCloser)
	go func() {
		// The log is opened before the run has begun.
		l, err := d.Executor.Log(t.Context(), "gpu", "t-1", 1, park.LogQuery{Follow: true}, ended)
		if err != nil {
			t.Error(err)
			close(log)
			return
		}
		log <- l
	}()
	go func() {
		d.run(t.Context(), shell("echo begun; while [ ! -e $D/go ]; do sleep 0.01; done; for i in $(seq 30); do echo $i; while [ ! -e $D/$i ]; do sleep 0.001; done; done"))
		close(ended)
	}()
	l, ok := <-log
	if !ok {
		return
	}
	defer l.Close()
	line := func() string {
		var b []byte
		for c := make([]byte, 1); ; b = append(b, c[0]) {
			if _, err := io.ReadFull(l, c); err != nil {
				t.Fatalf("after %q: %v", b, err)
			}
			if c[0] == '\n' {
				return string(b)
			}
		}
	}
	touch := func(name string) {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := line(); got != "begun" {
		t.Errorf("%q", got)
	}
	touch("go")
	for i := range 30 {
		want := fmt.Sprint(i + 1)
		if got := line(); got != want {
			t.Fatalf("line %q, want %q", got, want)
		}
		touch(want)
	}
	if rest, err := io.ReadAll(l); len(rest) > 0 || err != nil {
		t.Errorf("then %q, %v", rest, err)
	}
}

// TestManyRuns: many concurrent runs leave no descriptor open.
func TestManyRuns(t *testing.T) {
	d := newHarness(t, Config{})
	files := func() int {
		all, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	before := files()
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			a := shell(fmt.Sprintf("echo %d", i))
			a.TaskID = fmt.Sprintf("t-%d", i)
			if _, r := d.run(t.Context(), a); r.Stdout != fmt.Sprintf("%d\n", i) {
				t.Errorf("run %d: %+v", i, r)
			}
		})
	}
	all.Wait()
	if after := files(); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

// BenchmarkRun measures what parkd adds to a command that does nothing.
func BenchmarkRun(b *testing.B) {
	d := newHarness(b, Config{})
	for b.Loop() {
		if o := d.Run(b.Context(), park.Assignment{PoolID: "p", TaskID: "t", Attempt: 1, Command: []string{"/bin/true"}}); o.Status != park.Completed {
			b.Fatalf("%+v", o)
		}
	}
}

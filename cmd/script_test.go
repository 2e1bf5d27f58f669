package cmd_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/parkd-dev/parkd/pkg/config"
	"github.com/parkd-dev/parkd/pkg/store/postgres/pgtest"
	"github.com/parkd-dev/parkd/pkg/store/postgres/server"
)

// TestScripts runs testdata/script/*.txtar with the real program. Each script has a home of its own, and these commands
// in addition to those of testscript:
//
//	daemon [flags]        starts a daemon and waits until it listens; its address is in $URL
//	                      LOG=gone closes its output afterwards; VIA=nohup starts it under nohup
//	sigterm, sigkill      sends the daemon a signal and waits until it has exited
//	signal NAME           sends the daemon a signal
//	ended                 waits until the daemon has exited
//	exits CODE COMMAND…   runs a command that must end with this exit code
//	until REGEXP COMMAND… runs a command until its standard output matches
//	postgres              makes an empty database; its DSN is in $PARKD_POSTGRES_DSN
//	gone FILE             waits until the process with the id in the file has ended
//	cutting PATH BYTES CUT GO  cuts off a response of the daemon; see there
//	foreign               answers at the default address like another user's daemon
func TestScripts(t *testing.T) {
	if signal.Ignored(syscall.SIGHUP) { // by nohup. Daemons would inherit that, and outlive the terminals of the scripts
		signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	}
	dir := t.TempDir()
	build := []string{"build", "-o", filepath.Join(dir, "parkd")}
	if raceEnabled {
		build = append(build, "-race")
	}
	if out, err := exec.Command("go", append(build, "..")...).CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	configs, err := filepath.Abs("../configs")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Condition: func(cond string) (bool, error) {
			if cond != "postgres" {
				return false, fmt.Errorf("unknown condition %q", cond)
			}
			return server.Installed() || os.Getenv(pgtest.RequiredEnv) != "", nil
		},
		Setup: func(e *testscript.Env) error {
			// The path of a socket must be short; that of a test's folder may be too long.
			run, err := os.MkdirTemp("", "parkd-run-") //nolint:usetesting // see above
			if err != nil {
				return err
			}
			e.Defer(func() { _ = os.RemoveAll(run) })
			e.Values[daemonKey{}] = new(daemon)
			e.Vars = append(e.Vars,
				"PATH="+dir+string(os.PathListSeparator)+os.Getenv("PATH"),
				"HOME="+e.WorkDir, "XDG_STATE_HOME="+filepath.Join(e.WorkDir, "state"), "XDG_RUNTIME_DIR="+run,
				"XDG_CONFIG_HOME="+filepath.Join(e.WorkDir, "config"), "USER=me", "PARKD_MAILBOX=me",
				"GORACE=atexit_sleep_ms=0", "CONFIGS="+configs,
			)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"postgres": newDatabase, "daemon": startDaemon, "cutting": cutting, "foreign": foreign, "exits": setExitCodes, "until": until, "gone": gone,
			"signal": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Check(ts.Value(daemonKey{}).(*daemon).process.Signal(unix.SignalNum("SIG" + args[0])))
			},
			"idle":    openIdle,
			"ended":   func(ts *testscript.TestScript, _ bool, _ []string) { awaitEnd(ts) },
			"sigterm": func(ts *testscript.TestScript, _ bool, _ []string) { end(ts, syscall.SIGTERM) },
			"sigkill": func(ts *testscript.TestScript, _ bool, _ []string) { end(ts, syscall.SIGKILL) },
		},
	})
}

// cluster is the Postgres server of the scripts that need one.
var cluster pgtest.Cluster

func TestMain(m *testing.M) { os.Exit(cluster.Run(m)) }

func newDatabase(ts *testscript.TestScript, _ bool, _ []string) {
	dsn, err := cluster.New(context.Background())
	ts.Check(err)
	ts.Setenv("PARKD_POSTGRES_DSN", dsn)
}

// patience bounds every wait of a script.
const patience = 3 * time.Minute

func startDaemon(ts *testscript.TestScript, _ bool, flags []string) {
	r, w, err := os.Pipe()
	ts.Check(err)
	log, err := os.OpenFile(ts.MkAbs("daemon.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	ts.Check(err)
	if ts.Getenv("LOG") == "gone" {
		reader, writer, err := os.Pipe()
		ts.Check(errors.Join(err, reader.Close(), log.Close()))
		log = writer
	}
	program, err := lookPath(ts.Getenv("PATH"))
	ts.Check(err)
	argv := append(strings.Fields(ts.Getenv("VIA")), program, "serve", "--ready-fd", "3", "--listen", "127.0.0.1:0")
	d := exec.Command(argv[0], append(argv[1:], flags...)...)
	d.Dir, d.Env, d.ExtraFiles, d.Stdout, d.Stderr = ts.MkAbs("."), environ(ts), []*os.File{w}, log, log
	ts.Check(d.Start())
	ts.Check(errors.Join(w.Close(), log.Close()))
	exited := make(chan struct{})
	go func() {
		_ = d.Wait()
		close(exited)
	}()
	ts.Defer(func() {
		_ = d.Process.Kill()
		<-exited
	})
	_ = r.SetReadDeadline(time.Now().Add(patience))
	var ready struct{ URL string }
	if err := json.NewDecoder(r).Decode(&ready); err != nil {
		ts.Fatalf("the daemon does not listen: %v\n%s", err, ts.ReadFile("daemon.log"))
	}
	_ = r.Close()
	ts.Setenv("URL", ready.URL)
	*ts.Value(daemonKey{}).(*daemon) = daemon{d.Process, exited}
}

// daemon is the daemon that the script started last.
type daemon struct {
	process *os.Process
	exited  <-chan struct{}
}

type daemonKey struct{}

// foreign answers at the default address of daemons. If another program already does, that serves as well.
func foreign(ts *testscript.TestScript, _ bool, _ []string) {
	ln, err := net.Listen("tcp", config.DefaultListen)
	if errors.Is(err, syscall.EADDRINUSE) {
		return
	}
	ts.Check(err)
	s := &http.Server{ReadHeaderTimeout: patience, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"pools":[],"tasks":[],"messages":[],"events":[]}`)
	})}
	go func() { _ = s.Serve(ln) }()
	ts.Defer(func() { _ = s.Close() })
}

// openIdle opens up to the given number of connections to the daemon and sends nothing on them.
func openIdle(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	for range n {
		c, err := net.DialTimeout("tcp", strings.TrimPrefix(ts.Getenv("URL"), "http://"), patience)
		ts.Check(err)
		ts.Defer(func() { _ = c.Close() })
	}
}

func lookPath(path string) (string, error) {
	program := filepath.Join(filepath.SplitList(path)[0], "parkd")
	_, err := os.Stat(program)
	return program, err
}

func environ(ts *testscript.TestScript) []string {
	var env []string
	for _, name := range []string{
		"PATH", "HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "USER", "GORACE", "PARKD_TOKENS", "PARKD_CONFIG", "PARKD_POSTGRES_DSN",
	} {
		if value := ts.Getenv(name); value != "" {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// end ends the daemon and returns when it has exited.
func end(ts *testscript.TestScript, how syscall.Signal) {
	ts.Check(ts.Value(daemonKey{}).(*daemon).process.Signal(how))
	awaitEnd(ts)
}

func awaitEnd(ts *testscript.TestScript) {
	d := ts.Value(daemonKey{}).(*daemon)
	select {
	case <-d.exited:
	case <-time.After(patience):
		// It prints its stacks.
		_ = d.process.Signal(syscall.SIGQUIT)
		<-d.exited
		ts.Fatalf("the daemon does not end\n%s", ts.ReadFile("daemon.log"))
	}
}

func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return syscall.Kill(pid, 0) == nil && !os.IsNotExist(err)
	}
	return !strings.Contains(string(b), ") Z ")
}

func await(ts *testscript.TestScript, what string, met func() bool) {
	for deadline := time.Now().Add(patience); !met(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			ts.Fatalf("in vain: %s", what)
		}
	}
}

func setExitCodes(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		got = e.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func until(ts *testscript.TestScript, _ bool, args []string) {
	want, err := regexp.Compile(args[0])
	ts.Check(err)
	await(ts, strings.Join(args, " "), func() bool {
		_ = ts.Exec(args[1], args[2:]...)
		return want.MatchString(ts.ReadFile("stdout"))
	})
}

func gone(ts *testscript.TestScript, _ bool, args []string) {
	pid, err := strconv.Atoi(strings.TrimSpace(ts.ReadFile(args[0])))
	ts.Check(err)
	await(ts, "the end of process "+args[0], func() bool { return !alive(pid) })
}

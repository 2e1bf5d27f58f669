package loadtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/store/postgres/pgtest"
)

// Cluster is for tests that need Postgres.
var Cluster pgtest.Cluster

// TestMain lets this test binary act as a daemon that only starts and stops.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		os.Exit(standIn(os.Args[3]))
	}
	os.Exit(Cluster.Run(m))
}

func standIn(config string) int {
	var c daemonConfig
	b, _ := os.ReadFile(config)
	if err := json.Unmarshal(b, &c); err != nil {
		return 2
	}
	if _, broken := c.Pools["broken"]; broken {
		fmt.Fprintln(os.Stderr, "scheduler-config.json: pools.broken: is broken")
		return 2
	}
	l, err := net.Listen("tcp", c.Listen)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Fprintln(os.Stderr, "HOME is", os.Getenv("HOME"), "config", os.Getenv("PARKD_CONFIG"))
	ready := os.NewFile(3, "ready")
	fmt.Fprintf(ready, "{\"url\":\"http://%s\",\"socket\":%q}\n", l.Addr(), os.Getenv("XDG_RUNTIME_DIR"))
	ready.Close()
	for {
		c, err := l.Accept()
		if err != nil {
			return 1
		}
		if b := make([]byte, 1); readByte(c, b) && b[0] == 'x' {
			fmt.Fprintln(os.Stderr, "told to die")
			return 3
		}
		c.Close()
	}
}

func readByte(c net.Conn, b []byte) bool {
	n, _ := c.Read(b)
	return n == 1
}

func standInOptions(t *testing.T) Options {
	t.Helper()
	t.Setenv("PARKD_CONFIG", "/nowhere")
	o, err := Options{Backend: "file", Dir: t.TempDir()}.complete()
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestDaemonLifeInAProcess(t *testing.T) {
	o := standInOptions(t)
	d, err := startDaemon(t.Context(), o, &workload{units: 24, size: 10})
	if err != nil {
		t.Fatal(err)
	}
	url, pid := d.url, d.cmd.Process.Pid
	if err := d.restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if d.url != url || d.cmd.Process.Pid == pid || d.alive() != nil {
		t.Errorf("url %s then %s, pid %d then %d, %v", url, d.url, pid, d.cmd.Process.Pid, d.alive())
	}
	if s := d.lastWords(); !strings.Contains(s, "HOME is "+d.dir) || !strings.HasSuffix(s, "config") {
		t.Errorf("it wrote %q", s)
	}
	if err := d.close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(d.dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder is still there: %v", err)
	}
	if err := d.close(); err != nil {
		t.Errorf("closed again: %v", err)
	}
}

func TestDaemonThatDiesIsNoticed(t *testing.T) {
	d, err := startDaemon(t.Context(), standInOptions(t), &workload{units: 24, size: 10})
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	c, err := net.Dial("tcp", strings.TrimPrefix(d.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	select {
	case <-d.exited:
	case <-time.After(2 * time.Minute):
		t.Fatal("it lives on")
	}
	if err := d.alive(); err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "told to die") {
		t.Errorf("alive: %v", err)
	}
}

func TestDaemonThatDoesNotStart(t *testing.T) {
	o := standInOptions(t)
	o.Pool = "broken"
	_, err := startDaemon(t.Context(), o, &workload{units: 24})
	if err == nil || !strings.Contains(err.Error(), "pools.broken: is broken") {
		t.Errorf("got %v", err)
	}
	if left, _ := os.ReadDir(o.Dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	o.Program = filepath.Join(o.Dir, "none")
	if _, err := startDaemon(t.Context(), o, &workload{}); !errors.Is(err, exec.ErrNotFound) && !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestConfigure(t *testing.T) {
	c := configure(Options{Backend: "file", Pool: "load"}, &workload{units: 134, size: 19366, work: time.Hour}, "/d")
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"listen":"127.0.0.1:0","socket":"off","audit":"file","backends":{"file":{"path":"/d/parkd.db"}},"pools":{"load":{"kind":"mixed",` +
		`"max_units":134,"max_queue_depth":20366,"default_timeout_secs":7200,"queue":"file","mailbox":"file","runtime":"native","executor":{"type":"simulate"}}}}`
	if string(b) != want {
		t.Errorf("got\n%s\nwant\n%s", b, want)
	}
	if c := configure(Options{Backend: "memory", Pool: "load"}, &workload{}, "/d"); c.Backends != nil || c.Audit != "in_memory" {
		t.Errorf("in memory: %+v", c)
	}
}

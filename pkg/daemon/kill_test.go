package daemon_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/client"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/replay"
)

// killRounds is how often the daemon is killed; PARKD_KILL_ROUNDS sets another number.
const killRounds = 12

const (
	simUnits = 8
	cmdUnits = 2
)

// house is a daemon's files and the processes that live in them, one after the other.
type house struct {
	testing.TB
	dir    string
	binary string
	marker string // stands in the command line of every command that a task runs
	pools  map[string]int64

	process *exec.Cmd
	client  *client.Client
}

func build(t testing.TB) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "parkd")
	if out, err := exec.Command("go", "build", "-o", binary, "../..").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return binary
}

func newHouse(t testing.TB) *house {
	h := &house{
		TB: t, dir: t.TempDir(), binary: build(t), marker: fmt.Sprintf("600.%06d", rand.N(1_000_000)),
		pools: map[string]int64{"sim": simUnits, "cmd": cmdUnits},
	}
	h.furnish(fmt.Sprintf(`{"listen":"127.0.0.1:0","socket":%q,"audit":"file","backends":{"file":{"path":%q}},"pools":{
		"sim":{"max_units":%d,"max_queue_depth":100000,"default_timeout_secs":60,"queue":"file","mailbox":"file","executor":{"type":"simulate"}},
		"cmd":{"max_units":%d,"max_queue_depth":100000,"default_timeout_secs":0,"queue":"file","mailbox":"file","executor":{"type":"exec"}}}}`,
		filepath.Join(h.dir, "s"), filepath.Join(h.dir, "parkd.db"), simUnits, cmdUnits))
	return h
}

// furnish writes the configuration.
func (h *house) furnish(config string) {
	if err := os.WriteFile(filepath.Join(h.dir, "scheduler-config.json"), []byte(config), 0o600); err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() {
		if h.process != nil {
			h.kill()
		}
	})
}

// start starts a daemon and waits until it listens.
func (h *house) start() {
	h.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		h.Fatal(err)
	}
	defer r.Close()
	h.process = exec.Command(h.binary, "serve", "--config", filepath.Join(h.dir, "scheduler-config.json"), "--ready-fd", "3")
	h.process.Dir, h.process.Env = h.dir, append(os.Environ(), "HOME="+h.dir, "XDG_STATE_HOME="+h.dir, "XDG_RUNTIME_DIR="+h.dir)
	h.process.ExtraFiles, h.process.Stderr = []*os.File{w}, os.Stderr
	if err := h.process.Start(); err != nil {
		h.Fatal(err)
	}
	w.Close()
	var ready struct{ URL, Socket string }
	line, err := bufio.NewReader(r).ReadBytes('\n')
	if err != nil {
		h.Fatalf("the daemon does not get ready: %v", err)
	}
	if err := json.Unmarshal(line, &ready); err != nil {
		h.Fatal(err)
	}
	if h.client, err = client.New(client.Config{Socket: ready.Socket}); err != nil {
		h.Fatal(err)
	}
}

func (h *house) kill() {
	_ = h.process.Process.Kill()
	_ = h.process.Wait()
	h.process = nil
}

// survivors counts the processes whose command line holds the marker.
func (h *house) survivors() int {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	n := 0
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && strings.Contains(string(b), h.marker) {
			n++
		}
	}
	return n
}

// ledger is what the daemon has acknowledged.
type ledger struct {
	mu    sync.Mutex
	acked map[string]string // task id → pool
}

func (l *ledger) submit(ctx context.Context, c *client.Client, pool string, s park.Submission) error {
	results, err := c.Submit(ctx, pool, []park.Submission{s})
	if err == nil && results[0].Err != nil {
		err = results[0].Err
	}
	if err == nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.acked[s.TaskID] = pool
	}
	return err
}

// TestKilledDaemonLosesNothing kills the daemon with SIGKILL in the middle of submissions, again and again.
// Every acknowledged task ends once, with one message; no process outlives its daemon by two seconds.
func TestKilledDaemonLosesNothing(t *testing.T) {
	rounds := killRounds
	if s := os.Getenv("PARKD_KILL_ROUNDS"); s != "" {
		rounds, _ = strconv.Atoi(s)
	}
	h := newHouse(t)
	l := &ledger{acked: make(map[string]string)}
	for round := range rounds {
		h.start()
		h.load(l, round)
		h.kill()
		for dead := time.Now(); h.survivors() > 0; time.Sleep(10 * time.Millisecond) {
			if time.Since(dead) > 2*time.Second {
				t.Fatalf("round %d: %d processes outlive their daemon", round, h.survivors())
			}
		}
	}
	h.start()
	h.settle(l)
	t.Logf("%d rounds, %d acknowledged tasks, each ended once with one message", rounds, len(l.acked))
}

// load submits from several clients and returns at a random moment, while they still do.
func (h *house) load(l *ledger, round int) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond+rand.N(180*time.Millisecond))
	defer cancel()
	var clients sync.WaitGroup
	for c := range 6 {
		clients.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				s := park.Submission{
					TaskID: fmt.Sprintf("r%d-c%d-%d", round, c, i), MailboxKey: park.MailboxRef{Key: fmt.Sprint("box", c)},
					ResourceCost: park.Cost{Units: park.Units(1 + i%3)}, Payload: json.RawMessage(`{"durationMs":5}`),
				}
				if err := l.submit(context.Background(), h.client, "sim", s); err != nil && !errors.Is(err, client.ErrUnreachable) {
					return
				}
			}
		})
	}
	s := park.Submission{TaskID: fmt.Sprintf("cmd-%d", round), Command: []string{"sh", "-c", "sleep " + h.marker + " & sleep " + h.marker}, MailboxKey: park.MailboxRef{Key: "cmd"}}
	_ = l.submit(context.Background(), h.client, "cmd", s)
	<-ctx.Done()
	// The clients are in the middle of their calls when the daemon dies: they are not waited for before that.
	h.Cleanup(clients.Wait)
}

// settle lets everything end and checks what the daemon remembers against the ledger.
func (h *house) settle(l *ledger) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	want := make(map[string]int) // tasks per mailbox
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, pool := range l.acked {
		if pool == "cmd" {
			if _, err := h.client.Cancel(ctx, pool, id); err != nil && park.CodeOf(err) != park.TaskFinished {
				h.Errorf("cancel %s: %v", id, err)
			}
		}
		task, err := h.client.Task(ctx, pool, id, time.Minute)
		if err != nil || !task.Status.Ended() {
			h.Errorf("acknowledged task %s: %s %v", id, task.Status, err)
		}
		want[task.MailboxKey]++
	}
	for key := range want {
		h.checkMailbox(ctx, l, key)
	}
	for pool, units := range h.pools {
		h.checkLog(ctx, pool, units)
	}
}

func (h *house) checkMailbox(ctx context.Context, l *ledger, key string) {
	seen := make(map[string]int)
	q := park.MailboxQuery{Tenant: park.DefaultTenant, Key: key, Limit: 1000}
	for {
		page, err := h.client.Mailbox(ctx, q)
		if err != nil {
			h.Fatal(err)
		}
		if len(page.Messages) == 0 {
			break
		}
		for _, m := range page.Messages {
			seen[m.TaskID]++
		}
		q.After = page.Next
	}
	for id, n := range seen {
		if n != 1 {
			h.Errorf("task %s has %d messages in %s", id, n, key)
		}
	}
	for id, pool := range l.acked {
		if task, err := h.client.Task(ctx, pool, id, 0); err == nil && task.MailboxKey == key && seen[id] != 1 {
			h.Errorf("acknowledged task %s has no message in %s", id, key)
		}
	}
}

func (h *house) checkLog(ctx context.Context, pool string, units int64) {
	r := replay.New(replay.Limits{MaxUnits: units, MaxQueueDepth: 100_000})
	q := park.AuditQuery{PoolID: pool, Changes: true, Limit: 1000}
	for {
		page, err := h.client.Audit(ctx, q)
		if err != nil {
			h.Fatal(err)
		}
		for _, e := range page.Events {
			if err := r.Apply(e); err != nil {
				h.Fatalf("pool %s: the log breaks a rule: %v", pool, err)
			}
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			return
		}
	}
}

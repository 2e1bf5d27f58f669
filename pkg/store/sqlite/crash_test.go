package sqlite_test

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/sqlite"
)

// If the first variable is set, the test binary is not a test but the victim of one. The second variable makes it
// acknowledge commits without a flush.
const (
	victimOf      = "PARKD_CRASH_DB"
	victimRelaxed = "PARKD_CRASH_RELAXED"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(victimOf); path != "" {
		if err := victim(context.Background(), path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// victim opens the database and commits to three pools and a mailbox concurrently, until it is killed or its standard
// input ends. It prints each acknowledged step: "gpu 17" for rev 17 of pool gpu.
func victim(ctx context.Context, path string) error {
	s, err := sqlite.Open(ctx, sqlite.Config{Path: path})
	if err != nil {
		return err
	}
	if os.Getenv(victimRelaxed) != "" {
		if err := sqlite.RelaxSync(s); err != nil {
			return err
		}
	}
	fmt.Println("open")
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel(io.EOF)
	}()
	var work sync.WaitGroup
	for _, pool := range victimPools() {
		work.Go(func() {
			snap, err := s.Load(ctx, pool)
			for rev := snap.Row.Rev + 1; err == nil; rev++ {
				if err = s.Commit(ctx, victimStep(pool, rev)); err == nil {
					fmt.Println(pool, rev)
				}
			}
			cancel(err)
		})
	}
	work.Go(func() { cancel(relay(ctx, s)) })
	work.Wait()
	err = context.Cause(ctx)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return errors.Join(err, s.Close())
}

func victimPools() []string { return []string{"cpu", "gpu", "io"} }

// relay moves the outbox parcels of all pools to a mailbox.
func relay(ctx context.Context, s store.Store) error {
	for {
		parcels, err := s.Outbox(ctx, "relay", park.At(time.Now()), 20)
		if err != nil {
			return err
		}
		var messages []park.Message
		var done []int64
		for _, p := range parcels {
			messages, done = append(messages, *p.Message), append(done, p.ID)
		}
		if err := errors.Join(s.Deliver(ctx, messages), s.AckOutbox(ctx, done, nil)); err != nil {
			return err
		}
	}
}

// victimStep returns the step of a rev, which is always the same: a task starts, the previous one ends with a message,
// and a parcel is added to the outbox.
func victimStep(pool string, rev int64) *store.Step {
	at := park.At(time.Unix(1_800_000_000+rev, 0))
	id := func(rev int64) string { return "task-" + strconv.FormatInt(rev, 10) }
	step := &store.Step{
		PoolID: pool, ID: pool + "-" + strconv.FormatInt(rev, 10),
		Row: ledger.Pool{Rev: rev, MaxUnits: 1, Used: 1, State: park.Active, LastAt: at},
		Inserts: []ledger.Record{{
			Spec: ledger.Spec{
				PoolID: pool, TaskID: id(rev), Tenant: "acme", MailboxKey: pool, Units: 1, SubmittedAt: at,
				Payload: []byte(`"` + strings.Repeat("x", int(rev*37%4096)) + `"`),
			},
			State: ledger.State{Status: park.Running, Attempt: 1, StartedAt: at},
		}},
	}
	step.Row.LastStep = step.ID
	message := func(task, key string) park.Message {
		return park.Message{TaskID: task, PoolID: pool, Status: park.Completed, Attempt: 1, CreatedAt: at, Tenant: "acme", Key: key}
	}
	event := func(a park.Action, task string) {
		step.Events = append(step.Events, park.Event{Rev: rev, Ord: len(step.Events), Action: a, PoolID: pool, TaskID: task, Tenant: "acme", At: at})
	}
	if rev > 1 {
		step.Updates = []store.Update{{TaskID: id(rev - 1), State: ledger.State{Status: park.Completed, Attempt: 1, EndedAt: at}}}
		step.Messages = []park.Message{message(id(rev-1), pool)}
		event(park.ActComplete, id(rev-1))
	}
	event(park.ActSubmit, id(rev))
	event(park.ActStart, id(rev))
	parcel := message("parcel-"+strconv.FormatInt(rev, 10), "relay")
	step.Outbox = []store.OutboxEntry{{Dest: "relay", Since: at, Message: &parcel}}
	return step
}

// TestCrash kills a process amid its commits, again and again on the same file. Afterwards all acknowledged steps are
// stored. Any other step is stored as a whole or not at all.
func TestCrash(t *testing.T) {
	rounds := 20
	if testing.Short() {
		rounds = 4
	}
	if v := os.Getenv("PARKD_CRASH_ROUNDS"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil {
			t.Fatalf("PARKD_CRASH_ROUNDS: %v", err)
		}
		rounds = n
	}
	var path string
	var acked map[string]int64
	for round := range rounds {
		if round%10 == 0 { // reading everything in each round becomes slow
			path, acked = filepath.Join(t.TempDir(), "parkd.db"), make(map[string]int64)
		}
		crash(t, path, rand.N(150), acked)
		verify(t, path, acked)
		if t.Failed() {
			t.Fatalf("in round %d", round+1)
		}
	}
	t.Logf("%d kills, acknowledged revs %v", rounds, acked)
}

// crash runs a victim, kills it after this many acknowledged steps, and records all steps that it acknowledged.
func crash(t *testing.T, path string, after int, acked map[string]int64) {
	t.Helper()
	v, lines := startVictim(t, path, false)
	for n := 0; lines.Scan(); n++ {
		if n == after {
			if err := v.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
		if pool, rev, ok := strings.Cut(lines.Text(), " "); ok {
			n, err := strconv.ParseInt(rev, 10, 64)
			if err != nil || n != acked[pool]+1 {
				t.Fatalf("the victim says %q after rev %d", lines.Text(), acked[pool])
			}
			acked[pool] = n
		}
	}
	if err := v.Wait(); v.ProcessState.Exited() {
		t.Fatalf("the victim ended by itself: %v", err)
	}
}

func startVictim(t testing.TB, path string, relaxed bool) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	v := exec.CommandContext(t.Context(), os.Args[0])
	v.Env = append(os.Environ(), victimOf+"="+path)
	if relaxed {
		v.Env = append(v.Env, victimRelaxed+"=1")
	}
	v.Stderr = os.Stderr
	out, err := v.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.StdinPipe(); err != nil { // stays open as long as this process lives
		t.Fatal(err)
	}
	if err := v.Start(); err != nil {
		t.Fatal(err)
	}
	return v, bufio.NewScanner(out)
}

// verify opens the database. Each pool must be at its last acknowledged step or one step later.
func verify(t *testing.T, path string, acked map[string]int64) {
	t.Helper()
	s := openAt(t, path)
	moved := int64(0)
	for _, pool := range victimPools() {
		rev := verifyPool(t, s, pool)
		if rev < acked[pool] || rev > acked[pool]+1 {
			t.Errorf("pool %s is at rev %d, acknowledged was %d", pool, rev, acked[pool])
		}
		acked[pool] = rev
		moved += rev
	}
	parcels, err := s.Outbox(t.Context(), "relay", park.At(time.Now()), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	relayed, err := s.Messages(t.Context(), park.MailboxQuery{Tenant: "acme", Key: "relay", Limit: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	there := make(map[string]bool)
	for _, p := range parcels {
		there[p.Message.PoolID+p.Message.TaskID] = true
	}
	for _, m := range relayed {
		there[m.PoolID+m.TaskID] = true
	}
	if int64(len(there)) != moved {
		t.Errorf("of %d parcels %d wait and %d were delivered: together %d", moved, len(parcels), len(relayed), len(there))
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	wantSound(t, path)
}

// verifyPool checks that a pool has what its rev implies, and returns the rev.
func verifyPool(t testing.TB, s store.Store, pool string) int64 {
	t.Helper()
	snap, err := s.Load(t.Context(), pool)
	if err != nil {
		t.Fatal(err)
	}
	rev := snap.Row.Rev
	if rev == 0 {
		return 0
	}
	tasks, _, err1 := s.List(t.Context(), pool, park.TaskQuery{Limit: 1 << 20})
	events, err2 := s.Events(t.Context(), park.AuditQuery{PoolID: pool, Limit: 1 << 20})
	messages, err3 := s.Messages(t.Context(), park.MailboxQuery{Tenant: "acme", Key: pool, Limit: 1 << 20})
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	if len(snap.Tasks) != 1 || snap.Tasks[0].TaskID != "task-"+strconv.FormatInt(rev, 10) {
		t.Errorf("pool %s at rev %d: live tasks %+v", pool, rev, snap.Tasks)
	}
	if int64(len(tasks)) != rev || int64(len(events)) != 3*rev-1 || int64(len(messages)) != rev-1 {
		t.Errorf("pool %s at rev %d: %d tasks, %d events, %d messages", pool, rev, len(tasks), len(events), len(messages))
	}
	for i, e := range events {
		if want := int64(i+1)/3 + 1; e.Rev != want {
			t.Errorf("pool %s: event %d is of rev %d, want %d", pool, i, e.Rev, want)
			break
		}
	}
	return rev
}

// wantSound has SQLite check a database that no process has open.
func wantSound(t testing.TB, path string) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var verdict string
	if err := db.QueryRowContext(t.Context(), "PRAGMA integrity_check").Scan(&verdict); err != nil || verdict != "ok" {
		t.Errorf("integrity check: %s, %v", verdict, err)
	}
}

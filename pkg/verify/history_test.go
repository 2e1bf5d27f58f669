package verify_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/internal/replay"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/sqlite"
	"github.com/parkd-dev/parkd/pkg/verify"
)

// site is an engine with a file.
type site struct {
	testing.TB
	*engine.Engine
	hold *holds
	stop func()
}

// holds has the runs that last until they are released.
type holds struct {
	mu    sync.Mutex
	gates map[string]chan struct{}
}

func (h *holds) gate(id string) chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.gates == nil {
		h.gates = map[string]chan struct{}{}
	}
	if h.gates[id] == nil {
		h.gates[id] = make(chan struct{})
	}
	return h.gates[id]
}

// work does what the payload says: hold or fail. Any other payload is the result.
func (h *holds) work(ctx context.Context, a park.Assignment) (any, error) {
	var todo struct{ Hold, Fail bool }
	_ = json.Unmarshal(a.Payload, &todo)
	if todo.Hold {
		select {
		case <-h.gate(a.TaskID):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	if todo.Fail {
		return nil, errors.New("told to fail")
	}
	return a.Payload, nil
}

func config(s store.Store, b park.Backend, work park.ExecutorFunc) engine.Config {
	pool := func(id string) engine.Pool {
		return engine.Pool{
			PoolSpec: park.PoolSpec{ID: id, MaxUnits: 4, MaxQueueDepth: 100, QueueBackend: b, MailboxBackend: b},
			Executor: work,
		}
	}
	return engine.Config{Stores: map[park.Backend]store.Store{b: s}, Pools: []engine.Pool{pool("gpu"), pool("cpu")}, Node: ""}
}

// open opens an engine with a file.
func open(t testing.TB, path string) *site {
	t.Helper()
	s, err := sqlite.Open(context.Background(), sqlite.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	return openOn(t, config(s, park.File, nil), func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

func openOn(t testing.TB, c engine.Config, closed func()) *site {
	t.Helper()
	x := &site{TB: t, hold: &holds{}}
	for i := range c.Pools {
		c.Pools[i].Executor = park.ExecutorFunc(x.hold.work)
	}
	e, err := engine.Open(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	x.Engine = e
	x.stop = sync.OnceFunc(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // stops all runs at once
		if err := e.Close(ctx); err != nil {
			t.Error(err)
		}
		closed()
	})
	t.Cleanup(x.stop)
	return x
}

const (
	held = `{"hold":true}`
	bad  = `{"fail":true}`
)

// task is a short form of a submission.
func task(id string, units int, payload string, more ...func(*park.Submission)) park.Submission {
	s := park.Submission{TaskID: id, Tenant: "acme", ResourceCost: park.Cost{Units: park.Units(units)}, MailboxKey: park.MailboxRef{Key: "box"}, Payload: json.RawMessage(payload)}
	for _, f := range more {
		f(&s)
	}
	return s
}

func with(p park.Priority) func(*park.Submission) { return func(s *park.Submission) { s.Priority = p } }

func of(tenant, key string) func(*park.Submission) {
	return func(s *park.Submission) { s.Tenant, s.MailboxKey.Key = tenant, key }
}

func by(at time.Time) func(*park.Submission) {
	return func(s *park.Submission) { s.Deadline = park.At(at) }
}

func attempts(n int, rest time.Duration) func(*park.Submission) {
	return func(s *park.Submission) { s.Retry = park.Retry{MaxAttempts: n, Backoff: park.Duration(rest)} }
}

func (x *site) submit(tasks ...park.Submission) {
	x.Helper()
	x.offer("gpu", tasks...)
}

func (x *site) offer(pool string, tasks ...park.Submission) {
	x.Helper()
	results, err := x.Submit(context.Background(), pool, tasks)
	if err != nil {
		x.Fatal(err)
	}
	for i, r := range results {
		if r.Err != nil {
			x.Fatalf("submit %s: %v", tasks[i].TaskID, r.Err)
		}
	}
}

func (x *site) end(ids ...string) {
	x.Helper()
	for _, id := range ids {
		if t, err := x.Task(context.Background(), "gpu", id, time.Minute); err != nil || !t.Status.Ended() {
			x.Fatalf("task %s is %s: %v", id, t.Status, err)
		}
	}
}

// release releases tasks that hold, and waits for their end.
func (x *site) release(ids ...string) {
	x.Helper()
	for _, id := range ids {
		close(x.hold.gate(id))
		x.end(id)
	}
}

func (x *site) set(patch park.PoolPatch) {
	x.Helper()
	if _, err := x.SetPool(context.Background(), "gpu", patch); err != nil {
		x.Fatal(err)
	}
}

func (x *site) cancel(id string) {
	x.Helper()
	if _, err := x.Cancel(context.Background(), "gpu", id); err != nil {
		x.Fatal(err)
	}
}

func (x *site) ack(tenant, key string, n int) {
	x.Helper()
	page, err := x.Mailbox(context.Background(), park.MailboxQuery{Tenant: tenant, Key: key, Limit: n})
	if err == nil {
		err = x.TrimMailbox(context.Background(), tenant, key, page.Next)
	}
	if err != nil {
		x.Fatal(err)
	}
}

// found returns what verification finds in a pool.
func found(t testing.TB, src verify.Source, pool string) *replay.Offence {
	t.Helper()
	_, err := verify.Pool(context.Background(), src, pool, verify.Options{Now: time.Now})
	o, offence := errors.AsType[*replay.Offence](err)
	if err != nil && !offence {
		t.Fatal(err)
	}
	return o
}

// archive is a store without an engine, since an engine would refuse a pool whose totals are wrong.
type archive struct {
	*sqlite.Store
	park.EvidenceService
}

func archived(t testing.TB, path string) archive {
	t.Helper()
	s, err := sqlite.Open(context.Background(), sqlite.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return archive{Store: s}
}

func (a archive) Evidence(ctx context.Context, pool string) (park.Evidence, error) {
	r, err := a.Row(ctx, pool)
	if err != nil {
		return park.Evidence{}, err
	}
	m, err := a.Marks(ctx, pool)
	return park.Evidence{
		PoolID: pool, ToldSince: m.ToldSince, Log: m.Log, Tasks: m.Tasks, Messages: m.Messages, Rev: r.Rev, LastAt: r.LastAt, MaxUnits: r.MaxUnits, MaxQueueDepth: r.MaxQueueDepth, State: r.State, UsedUnits: r.Used, QueueDepth: r.Queued,
	}, err
}

func (a archive) Audit(ctx context.Context, q park.AuditQuery) (page park.EventPage, err error) {
	page.Events, err = a.Events(ctx, q)
	return page, err
}

func (a archive) KeptEvents(ctx context.Context, pool string, q park.KeptQuery) (page park.KeptPage[park.Event], err error) {
	page.Items, err = a.Events(ctx, park.AuditQuery{PoolID: pool, Changes: true, Cursor: q.Cursor, Limit: q.Limit})
	return page, err
}

func (a archive) KeptTasks(ctx context.Context, pool string, q park.KeptQuery) (page park.KeptPage[park.KeptTask], err error) {
	page.Items, page.Next, err = a.Store.KeptTasks(ctx, pool, q.Cursor, q.Limit)
	return page, err
}

func (a archive) KeptMessages(ctx context.Context, pool string, q park.KeptQuery) (page park.KeptPage[park.KeptMessage], err error) {
	page.Items, page.Next, err = a.Store.KeptMessages(ctx, pool, q.Cursor, q.Limit)
	return page, err
}

// live lets most of what can happen to tasks happen, and leaves a paused pool with parked tasks.
func live(t testing.TB, path string) {
	x := open(t, path)
	x.submit(task("first", 4, held))
	x.submit(task("low", 1, `1`, with(park.Low)), task("n1", 2, `{"n":1}`), task("n2", 2, `2`, of("globex", "box")),
		task("high", 4, `"h"`, with(park.High), of("acme", "other")), task("top", 1, `[]`, with(park.Critical)),
		task("late", 1, `0`, by(time.Now().Add(50*time.Millisecond))), task("quiet", 1, `{}`, func(s *park.Submission) { s.MailboxKey.Key = "" }), task("unwanted", 1, `0`))
	x.cancel("unwanted")
	x.end("late")
	x.release("first")
	x.end("low", "n1", "n2", "high", "top", "quiet")
	x.submit(task("r1", 1, bad, attempts(2, 20*time.Millisecond)), task("r2", 1, bad), task("stopped", 1, held, of("globex", "box")))
	x.end("r1", "r2")
	x.cancel("stopped")
	x.end("stopped")
	more, fewer := int64(6), int64(4)
	x.set(park.PoolPatch{MaxUnits: &more})
	x.submit(task("wide", 6, held), task("wider", 6, `{"w":1}`))
	x.set(park.PoolPatch{MaxUnits: &fewer})
	x.submit(task("passes", 1, `{}`))
	x.release("wide")
	x.end("passes")
	x.set(park.PoolPatch{MaxUnits: &more})
	x.end("wider")
	x.set(park.PoolPatch{MaxUnits: &fewer})
	if r, err := x.Submit(context.Background(), "gpu", []park.Submission{task("huge", 9, `0`)}); err != nil || r[0].Err == nil {
		t.Fatal("a task was taken that is too large", err)
	}
	for _, id := range []string{"b1", "b2", "b3", "b4", "b5", "b6"} {
		x.submit(task(id, 1, `{"of":"`+id+`"}`, of("acme", "acked")))
		x.end(id)
	}
	x.ack("acme", "acked", 3)
	x.offer("cpu", task("n1", 1, `{"other":"pool"}`))
	x.submit(task("again", 3, held))
	x.stop()
	x = open(t, path)
	x.release("again")
	paused := park.Paused
	x.set(park.PoolPatch{State: &paused})
	x.submit(task("p1", 1, `1`), task("p2", 4, `2`, with(park.High)), task("p3", 1, `3`, by(time.Now().Add(time.Hour))))
	if o := found(t, x, "gpu"); o != nil {
		t.Fatalf("a right history: %v", o)
	}
	x.stop()
}

// good returns a function that copies a good file.
func good(t testing.TB) func(testing.TB) string {
	path := filepath.Join(t.TempDir(), "good.db")
	live(t, path)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return func(t testing.TB) string {
		copied := filepath.Join(t.TempDir(), "copy.db")
		if err := os.WriteFile(copied, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return copied
	}
}

// edit changes a file by hand.
func edit(t testing.TB, path string, statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	// Each event is found by itself, whatever is done to its neighbours.
	db.SetMaxOpenConns(1) // a temporary table belongs to its connection
	changed := int64(0)
	for i, s := range append([]string{"UPDATE pl_audit_events SET lead = lead | 7, rest = 1"}, statements...) {
		r, err := db.ExecContext(context.Background(), s)
		if err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		if n, err := r.RowsAffected(); err == nil && i > 0 {
			changed += n
		}
	}
	if changed == 0 {
		t.Fatal("nothing was changed")
	}
}

package engine_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/internal/replay"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/memory"
)

// harness is an engine over a store in memory, or over the stores of a test.
type harness struct {
	testing.TB
	*engine.Engine
	stores map[park.Backend]store.Store
}

func poolConfig(id string, units int64, x park.Executor) engine.Pool {
	return engine.Pool{
		PoolSpec: park.PoolSpec{
			ID: id, Kind: park.CPU, MaxUnits: units, MaxQueueDepth: 100_000, Runtime: park.Native, Executor: "simulate",
			QueueBackend: park.InMemory, MailboxBackend: park.InMemory,
		},
		Executor: x,
	}
}

func openEngine(t testing.TB, c engine.Config) *harness {
	t.Helper()
	if c.Stores == nil {
		c.Stores = map[park.Backend]store.Store{park.InMemory: memory.New()}
	}
	e, err := engine.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return &harness{t, e, c.Stores}
}

// closeNow closes the engine at once, so that running tasks are requeued.
func (b *harness) closeNow() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := b.Close(ctx); err != nil {
		b.Error(err)
	}
}

func (b *harness) submit(pool string, s park.Submission) park.Accepted {
	b.Helper()
	r := b.trySubmit(pool, s)
	if r.Err != nil {
		b.Fatalf("submit %s: %v", s.TaskID, r.Err)
	}
	return r.Accepted
}

func (b *harness) trySubmit(pool string, s park.Submission) park.SubmitResult {
	b.Helper()
	results, err := b.Submit(context.Background(), pool, []park.Submission{s})
	if err != nil {
		return park.SubmitResult{Err: park.Errorf(park.CodeOf(err), "%v", err)}
	}
	return results[0]
}

// awaitTask waits until the task has ended and returns it.
func (b *harness) awaitTask(pool, id string) park.Task {
	b.Helper()
	t, err := b.Task(context.Background(), pool, id, time.Hour)
	if err != nil || !t.Status.Ended() {
		b.Fatalf("task %s: %v %v", id, t.Status, err)
	}
	return t
}

func (b *harness) events(q park.AuditQuery) []park.Event {
	b.Helper()
	var all []park.Event
	for q.Limit = 1000; ; {
		page, err := b.Audit(context.Background(), q)
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, page.Events...)
		if q.Cursor = page.Next; q.Cursor == "" {
			return all
		}
	}
}

func (b *harness) actions(task string) string {
	b.Helper()
	s := ""
	for _, e := range b.events(park.AuditQuery{TaskID: task}) {
		s += " " + string(e.Action)
	}
	return s
}

// sleepExecutor takes as long as the payload says.
func sleepExecutor() park.Executor {
	return park.ExecutorFunc(func(ctx context.Context, a park.Assignment) (any, error) {
		var p struct{ DurationMs int }
		if err := json.Unmarshal(a.Payload, &p); err != nil {
			return nil, err
		}
		select {
		case <-time.After(time.Duration(p.DurationMs) * time.Millisecond):
			return p.DurationMs, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	})
}

func sleepFor(ms int) park.Submission {
	return park.Submission{Payload: json.RawMessage(fmt.Sprintf(`{"durationMs":%d}`, ms))}
}

func withID(id string, s park.Submission) park.Submission {
	s.TaskID = id
	s.MailboxKey.Key = "box"
	return s
}

func TestOutcomeReachesMailbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openEngine(t, engine.Config{Pools: []engine.Pool{poolConfig("cpu", 1, sleepExecutor())}})
		defer b.closeNow()
		if got := b.submit("cpu", withID("a", sleepFor(50))); got.Status != park.Running || got.Position != 0 {
			t.Errorf("first task: %+v", got)
		}
		if got := b.submit("cpu", withID("b", sleepFor(50))); got.Status != park.Queued || got.Position != 1 {
			t.Errorf("second task: %+v", got)
		}
		page, err := b.Mailbox(t.Context(), park.MailboxQuery{Tenant: "default", Key: "box", Wait: time.Minute})
		if err != nil || len(page.Messages) != 1 || page.Messages[0].TaskID != "a" || page.Messages[0].Status != park.Completed {
			t.Fatalf("mailbox: %+v %v", page, err)
		}
		page, err = b.Mailbox(t.Context(), park.MailboxQuery{Tenant: "default", Key: "box", After: page.Next, Wait: time.Minute})
		if err != nil || len(page.Messages) != 1 || page.Messages[0].TaskID != "b" {
			t.Fatalf("mailbox: %+v %v", page, err)
		}
		if got, want := b.actions("b"), " submit enqueue start complete"; got != want {
			t.Errorf("life of b is%s, not%s", got, want)
		}
	})
}

func TestWakesByPriorityThenArrival(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var order []string
		b := openEngine(t, engine.Config{Pools: []engine.Pool{poolConfig("cpu", 1, park.ExecutorFunc(func(_ context.Context, a park.Assignment) (any, error) {
			order = append(order, a.TaskID)
			time.Sleep(time.Second)
			return nil, nil
		}))}})
		defer b.closeNow()
		for i, p := range []park.Priority{park.Normal, park.Low, park.Normal, park.Critical, park.High, park.Critical} {
			b.submit("cpu", park.Submission{TaskID: fmt.Sprint(i), Priority: p})
		}
		b.awaitTask("cpu", "1")
		if want := []string{"0", "3", "5", "4", "2", "1"}; !slices.Equal(order, want) {
			t.Errorf("ran in the order %v, not %v", order, want)
		}
	})
}

func TestSameSubmissionTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openEngine(t, engine.Config{Pools: []engine.Pool{poolConfig("cpu", 1, sleepExecutor())}})
		defer b.closeNow()
		s := withID("a", sleepFor(10))
		first := b.submit("cpu", s)
		if again := b.submit("cpu", s); again != first {
			t.Errorf("while it runs: %+v, not %+v", again, first)
		}
		b.awaitTask("cpu", "a")
		again := b.submit("cpu", s)
		if again.Status != park.Completed || again.SubmittedAt != first.SubmittedAt {
			t.Errorf("after its end: %+v", again)
		}
		if r := b.trySubmit("cpu", withID("a", sleepFor(11))); park.CodeOf(r.Err) != park.TaskExists {
			t.Errorf("other content: %+v", r)
		}
		if got, want := b.actions("a"), " submit start complete"; got != want {
			t.Errorf("life is%s, not%s", got, want)
		}
	})
}

func TestDeadlineExpiresParkedTask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openEngine(t, engine.Config{Pools: []engine.Pool{poolConfig("cpu", 1, sleepExecutor())}})
		defer b.closeNow()
		b.submit("cpu", sleepFor(60_000))
		late := withID("late", sleepFor(1))
		late.Deadline = park.At(time.Now().Add(10 * time.Second))
		b.submit("cpu", late)
		began := time.Now()
		if got := b.awaitTask("cpu", "late"); got.Status != park.Expired || got.Reason != park.ReasonDeadlinePassed {
			t.Errorf("got %+v", got)
		}
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("expired after %v", took)
		}
	})
}

func TestTimeoutAndCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openEngine(t, engine.Config{Pools: []engine.Pool{poolConfig("cpu", 2, sleepExecutor())}})
		defer b.closeNow()
		slow := withID("slow", sleepFor(60_000))
		slow.TimeoutSecs = 5
		b.submit("cpu", slow)
		b.submit("cpu", withID("unwanted", sleepFor(60_000)))
		if got, err := b.Cancel(t.Context(), "cpu", "unwanted"); err != nil || got.Status != park.Dropped || got.Reason != park.ReasonCancelled {
			t.Errorf("cancelled: %+v %v", got, err)
		}
		if got := b.awaitTask("cpu", "slow"); got.Status != park.Failed || got.Reason != park.ReasonTimeout {
			t.Errorf("timed out: %+v", got)
		}
		if _, err := b.Cancel(t.Context(), "cpu", "slow"); park.CodeOf(err) != park.TaskFinished {
			t.Errorf("cancel of an ended task: %v", err)
		}
		if _, err := b.Cancel(t.Context(), "cpu", "nobody"); park.CodeOf(err) != park.TaskNotFound {
			t.Errorf("cancel of no task: %v", err)
		}
	})
}

// TestEndedTaskSubmittedAgain sends a submission again whose task has ended, and which would be refused as a new one.
func TestEndedTaskSubmittedAgain(t *testing.T) {
	for name, why := range map[string]func(*harness){
		"the deadline has passed": func(*harness) { time.Sleep(time.Hour) },
		"the pool drains": func(b *harness) {
			draining := park.Draining
			if _, err := b.SetPool(b.Context(), "cpu", park.PoolPatch{State: &draining}); err != nil {
				b.Fatal(err)
			}
		},
		"it costs too much now": func(b *harness) {
			units := int64(1)
			if _, err := b.SetPool(b.Context(), "cpu", park.PoolPatch{MaxUnits: &units}); err != nil {
				b.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := openEngine(t, engine.Config{Pools: []engine.Pool{poolConfig("cpu", 2, sleepExecutor())}})
				defer b.closeNow()
				s := withID("a", sleepFor(1))
				s.ResourceCost.Units, s.Deadline = 2, park.At(time.Now().Add(time.Minute))
				b.submit("cpu", s)
				b.awaitTask("cpu", "a")
				why(b)
				if got := b.trySubmit("cpu", s); got.Err != nil || got.Status != park.Completed {
					t.Errorf("the same again: %+v", got)
				}
				if life := b.actions("a"); life != " submit start complete" {
					t.Errorf("its life: %s", life)
				}
			})
		})
	}
}

func TestPanicIsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openEngine(t, engine.Config{Pools: []engine.Pool{poolConfig("cpu", 1, park.ExecutorFunc(func(context.Context, park.Assignment) (any, error) {
			panic("boom")
		}))}})
		defer b.closeNow()
		b.submit("cpu", withID("a", park.Submission{}))
		if got := b.awaitTask("cpu", "a"); got.Status != park.Failed || got.Reason != park.ReasonExecutorError {
			t.Errorf("got %+v", got)
		}
		synctest.Wait() // the store knows of an end before the pool's view does
		if p, _ := b.Pool(t.Context(), "cpu"); p.UsedUnits != 0 {
			t.Errorf("%d units leaked", p.UsedUnits)
		}
	})
}

func TestRetriesWithBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Duration
		began := time.Now()
		b := openEngine(t, engine.Config{Pools: []engine.Pool{poolConfig("cpu", 1, park.ExecutorFunc(func(context.Context, park.Assignment) (any, error) {
			at = append(at, time.Since(began))
			return nil, errors.New("no")
		}))}})
		defer b.closeNow()
		s := withID("a", park.Submission{})
		s.Retry = park.Retry{MaxAttempts: 3, Backoff: park.Duration(10 * time.Second)}
		b.submit("cpu", s)
		if got := b.awaitTask("cpu", "a"); got.Status != park.Failed || got.Attempt != 3 {
			t.Errorf("got %+v", got)
		}
		if want := []time.Duration{0, 10 * time.Second, 30 * time.Second}; !slices.Equal(at, want) {
			t.Errorf("ran at %v, not %v", at, want)
		}
	})
}

func TestCloseDrainsThenRequeues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stores := map[park.Backend]store.Store{park.InMemory: memory.New()}
		c := engine.Config{Pools: []engine.Pool{poolConfig("cpu", 2, sleepExecutor())}, Stores: stores}
		b := openEngine(t, c)
		b.submit("cpu", withID("short", sleepFor(1_000)))
		b.submit("cpu", withID("long", sleepFor(100_000)))
		b.submit("cpu", withID("parked", sleepFor(50_000))) // so that it would not be over in time, were it started
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := b.Close(ctx); err != nil {
			t.Fatal(err)
		}
		b = openEngine(t, c)
		defer b.closeNow()
		if got, want := b.actions("short"), " submit start complete"; got != want {
			t.Errorf("short:%s, not%s", got, want)
		}
		b.awaitTask("cpu", "long")
		b.awaitTask("cpu", "parked")
		if got, want := b.actions("long"), " submit start requeue start complete"; got != want {
			t.Errorf("long:%s, not%s", got, want)
		}
		if got, want := b.actions("parked"), " submit enqueue start complete"; got != want {
			t.Errorf("parked:%s, not%s", got, want)
		}
	})
}

// disconnectable is a store that can be disconnected from its engine, as if the engine had crashed.
type disconnectable struct {
	store.Store
	gone atomic.Bool
}

var errGone = errors.New("gone")

func (s *disconnectable) Commit(ctx context.Context, st *store.Step) error {
	if s.gone.Load() {
		return errGone
	}
	return s.Store.Commit(ctx, st)
}

func TestRestartRequeuesAheadOfClass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kept := memory.New()
		first := &disconnectable{Store: kept}
		c := engine.Config{Pools: []engine.Pool{poolConfig("cpu", 2, sleepExecutor())}, Stores: map[park.Backend]store.Store{park.InMemory: first}}
		b := openEngine(t, c)
		for i := range 6 {
			b.submit("cpu", withID(fmt.Sprint(i), sleepFor(60_000)))
		}
		first.gone.Store(true)
		crashed := b

		c.Stores = map[park.Backend]store.Store{park.InMemory: kept}
		b = openEngine(t, c)
		for i := range 6 {
			b.awaitTask("cpu", fmt.Sprint(i))
		}
		starts := []string{}
		for _, e := range b.events(park.AuditQuery{Action: park.ActStart}) {
			starts = append(starts, e.TaskID)
		}
		if want := []string{"0", "1", "0", "1", "2", "3", "4", "5"}; !slices.Equal(starts, want) {
			t.Errorf("started %v, not %v", starts, want)
		}
		page, _ := b.Mailbox(t.Context(), park.MailboxQuery{Tenant: "default", Key: "box"})
		if len(page.Messages) != 6 {
			t.Errorf("%d messages, not 6", len(page.Messages))
		}
		b.closeNow()
		crashed.closeNow()
	})
}

func TestOutcomeSurvivesOutageOfTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &disconnectable{Store: memory.New()}
		b := openEngine(t, engine.Config{Pools: []engine.Pool{poolConfig("cpu", 1, sleepExecutor())}, Stores: map[park.Backend]store.Store{park.InMemory: s}})
		defer b.closeNow()
		b.submit("cpu", withID("a", sleepFor(1_000)))
		s.gone.Store(true)
		if r := b.trySubmit("cpu", withID("b", sleepFor(1_000))); park.CodeOf(r.Err) != park.StorageUnavailable {
			t.Errorf("during the outage: %+v", r)
		}
		if b.Ready() == nil {
			t.Error("ready during the outage")
		}
		time.Sleep(time.Minute)
		s.gone.Store(false)
		if got := b.awaitTask("cpu", "a"); got.Status != park.Completed || got.Attempt != 1 {
			t.Errorf("after the outage: %+v", got)
		}
		synctest.Wait() // what the store has may be read before the pool has heard of it
		if err := b.Ready(); err != nil {
			t.Error(err)
		}
		if _, err := b.Task(t.Context(), "cpu", "b", 0); park.CodeOf(err) != park.TaskNotFound {
			t.Errorf("the refused task: %v", err)
		}
	})
}

func TestTwoEnginesShareOneCapacity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const units, tasks = 5, 400
		var mu sync.Mutex
		var now, most int64
		work := park.ExecutorFunc(func(_ context.Context, a park.Assignment) (any, error) {
			mu.Lock()
			now += a.Units
			most = max(most, now)
			mu.Unlock()
			time.Sleep(10 * time.Millisecond)
			mu.Lock()
			now -= a.Units
			mu.Unlock()
			return nil, nil
		})
		c := engine.Config{
			Pools: []engine.Pool{poolConfig("cpu", units, work)}, Shared: []park.Backend{park.InMemory},
			Stores: map[park.Backend]store.Store{park.InMemory: memory.New()},
		}
		nodes := []*harness{openEngine(t, c), openEngine(t, c)}
		var wg sync.WaitGroup
		for i := range tasks {
			wg.Go(func() {
				s := withID(fmt.Sprint(i), park.Submission{ResourceCost: park.Cost{Units: park.Units(1 + i%3)}})
				nodes[i%2].submit("cpu", s)
			})
		}
		wg.Wait()
		for i := range tasks {
			nodes[(i+1)%2].pollTask("cpu", fmt.Sprint(i))
		}
		if most > units {
			t.Errorf("%d units were in use at once, of %d", most, units)
		}
		checkLog(t, nodes[0].events(park.AuditQuery{PoolID: "cpu", Changes: true}), units)
		boxed := map[string]int{}
		for after := ""; ; {
			page, err := nodes[0].Mailbox(t.Context(), park.MailboxQuery{Tenant: "default", Key: "box", After: after, Limit: 1000})
			if err != nil {
				t.Fatal(err)
			}
			if len(page.Messages) == 0 {
				break
			}
			for _, m := range page.Messages {
				boxed[m.TaskID]++
			}
			after = page.Next
		}
		if len(boxed) != tasks || slices.Max(slices.Collect(maps.Values(boxed))) != 1 {
			t.Errorf("%d tasks have messages", len(boxed))
		}
		for _, n := range nodes {
			n.closeNow()
		}
	})
}

// pollTask waits for a task that may end on another node, whose end wakes nobody here.
func (b *harness) pollTask(pool, id string) {
	b.Helper()
	for range 10_000 {
		t, err := b.Task(context.Background(), pool, id, 50*time.Millisecond)
		if err != nil {
			b.Fatal(err)
		}
		if t.Status.Ended() {
			return
		}
	}
	b.Fatalf("task %s does not end", id)
}

// checkLog replays a pool's whole log.
func checkLog(t testing.TB, events []park.Event, units int64) {
	t.Helper()
	r := replay.New(replay.Limits{MaxUnits: units, MaxQueueDepth: 100_000})
	for _, e := range events {
		if err := r.Apply(e); err != nil {
			t.Fatalf("the log breaks a rule: %v", err)
		}
	}
}

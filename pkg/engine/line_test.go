package engine_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/memory"
)

// What comes for a step while its node stands in line.

// contendedStore is a store on which a node meets another: one of its steps conflicts, and then the other has its turn
// first for a while.
type contendedStore struct {
	sizeRecorder
	hasWaiting bool                                // another node waits after each step
	onTurn     func(h store.Delegation) store.Turn // what the line says
	onCommit   func(st *store.Step, n int) error   // the answer to the n-th step since meet; nil: it is stored
	mu         sync.Mutex
	steps      int
	ends       int // the most tasks that a step ends
}

func (m *contendedStore) RequestTurn(_ context.Context, _, _ string, h store.Delegation) (store.Turn, error) {
	m.mu.Lock()
	turn := m.onTurn
	m.mu.Unlock()
	if turn == nil {
		return store.Turn{}, nil
	}
	return turn(h), nil
}

func (m *contendedStore) Commit(ctx context.Context, st *store.Step) error {
	m.mu.Lock()
	commit := m.onCommit
	m.steps++
	n := m.steps
	m.ends = max(m.ends, len(st.Messages))
	m.mu.Unlock()
	if commit != nil {
		if err := commit(st, n); err != nil {
			return err
		}
	}
	err := m.sizeRecorder.Commit(ctx, st)
	if m.hasWaiting {
		st.NodesWaiting = 1
	}
	return err
}

// startContention has the node meet another from now on.
func (m *contendedStore) startContention(turn func(h store.Delegation) store.Turn, commit func(st *store.Step, n int) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.onTurn, m.onCommit, m.steps = turn, commit, 0
}

// conflict is the answer to a step that conflicts while another node is ahead.
func (m *contendedStore) conflict(pool string) error {
	s, err := m.Store.Load(context.Background(), pool)
	if err != nil {
		return err
	}
	return &store.Conflict{Row: s.Row, NodesAhead: 1}
}

// aheadOnce has another node ahead at the first look at the queue, and calls f then.
func aheadOnce(f func()) func(store.Delegation) store.Turn {
	var looks atomic.Int64
	return func(store.Delegation) store.Turn {
		if looks.Add(1) > 1 {
			return store.Turn{}
		}
		f()
		return store.Turn{Ahead: 1}
	}
}

func openContended(t *testing.T, m *contendedStore, p engine.Pool) *harness {
	m.Store = memory.New()
	return openEngine(t, engine.Config{
		Pools: []engine.Pool{p}, Shared: []park.Backend{park.InMemory},
		Stores: map[park.Backend]store.Store{park.InMemory: m},
	})
}

// TestWhoJoinsAStepIsPartOfIt submits while the node stands in line with a step, whose commit then takes longer than
// a call waits. Of a task that is in the step nobody may say that nothing was accepted.
func TestWhoJoinsAStepIsPartOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w unitCounter
		var m contendedStore
		b := openContended(t, &m, w.newPool(2))
		defer b.closeNow()
		b.submit("cpu", withID("before", sleepFor(1)))
		joined := make(chan park.SubmitResult, 1)
		m.startContention(aheadOnce(func() {
			go func() { joined <- b.trySubmit("cpu", withID("b", sleepFor(1))) }()
		}), func(_ *store.Step, n int) error {
			switch n {
			case 1:
				return m.conflict("cpu")
			case 2:
				time.Sleep(15 * time.Second)
			}
			return nil
		})
		b.trySubmit("cpu", withID("a", sleepFor(1)))
		r := <-joined
		time.Sleep(time.Minute)
		_, err := b.Task(t.Context(), "cpu", "b", 0)
		if code := park.CodeOf(r.Err); code != park.OutcomeUnknown || err != nil {
			t.Errorf("answered %s, and then: %v", code, err)
		}
	})
}

// TestStepsHaveTheirBoundInLine submits much while the node stands in line, before its step is decided and after it
// came too late, and sees that the order of arrival is kept.
func TestStepsHaveTheirBoundInLine(t *testing.T) {
	for _, conflict := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			p := poolConfig("cpu", 1, fixedOutcome{park.Outcome{Status: park.Completed}})
			m := contendedStore{hasWaiting: !conflict}
			b := openContended(t, &m, p)
			defer b.closeNow()
			paused := park.Paused
			if _, err := b.SetPool(t.Context(), "cpu", park.PoolPatch{State: &paused}); err != nil {
				t.Fatal(err)
			}
			var all []park.Submission
			for i := range 30 {
				all = append(all, withID(fmt.Sprintf("t%02d", i), park.Submission{Payload: jsonText(1 << 20)}))
			}
			done := make(chan struct{})
			m.startContention(aheadOnce(func() {
				go func() {
					defer close(done)
					if _, err := b.Submit(context.Background(), "cpu", all); err != nil {
						t.Error(err)
					}
				}()
			}), func(_ *store.Step, n int) error {
				if conflict && n == 1 {
					return m.conflict("cpu")
				}
				return nil
			})
			b.submit("cpu", withID("first", park.Submission{Payload: jsonText(1 << 20)}))
			<-done
			if m.maxStep > 8<<20 {
				t.Errorf("with a conflict: %t: a step has %d bytes", conflict, m.maxStep)
			}
			for i := range all {
				if got, err := b.Task(t.Context(), "cpu", all[i].TaskID, 0); err != nil || got.Position != int64(i)+2 {
					t.Errorf("with a conflict: %t: task %s has position %d, %v", conflict, all[i].TaskID, got.Position, err)
				}
			}
		})
	}
}

// TestLeftOutcomeRestsAsLongAsAsked has another node store the outcome of a run that may be tried again, not before the
// time that the other side asked for.
func TestLeftOutcomeRestsAsLongAsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := executorFunc(func(_ context.Context, a park.Assignment) park.Outcome {
			if a.TaskID != "a" || a.Attempt > 1 {
				return park.Outcome{Status: park.Completed}
			}
			time.Sleep(time.Second)
			o := park.Failure("http_status", "503")
			o.RetryAfter = 10 * time.Minute
			return o
		})
		shared := memory.New()
		left := make(chan []byte, 1)
		var nodes []*harness
		stores := []*contendedStore{{hasWaiting: true}, {hasWaiting: true}}
		for i, m := range stores {
			m.Store = shared
			nodes = append(nodes, openEngine(t, engine.Config{
				Node: fmt.Sprint("node-", i), Pools: []engine.Pool{poolConfig("cpu", 2, x)}, Shared: []park.Backend{park.InMemory},
				Stores: map[park.Backend]store.Store{park.InMemory: m},
			}))
			defer nodes[i].closeNow()
		}
		stores[0].startContention(func(h store.Delegation) store.Turn {
			if len(h.Note) > 0 {
				left <- h.Note
			}
			return store.Turn{Ahead: 1}
		}, func(st *store.Step, _ int) error {
			for _, u := range st.Updates {
				if u.TaskID == "a" && u.State.Failures == 1 {
					return errGone // the other node is faster
				}
			}
			return nil
		})
		began := time.Now()
		nodes[0].submit("cpu", withID("a", park.Submission{Retry: park.Retry{MaxAttempts: 2}}))
		note := <-left
		stores[1].startContention(func(store.Delegation) store.Turn { return store.Turn{Notes: [][]byte{note}} }, nil)
		nodes[1].submit("cpu", withID("b", sleepFor(1)))
		if got := nodes[1].awaitTask("cpu", "a"); got.Attempt != 2 || got.StartedAt.Sub(began) < 10*time.Minute {
			t.Errorf("attempt %d began after %s", got.Attempt, got.StartedAt.Sub(began))
		}
	})
}

// TestStartsPutOffInLineCount has a start be put off while the node stands in line.
func TestStartsPutOffInLineCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &shortExecutor{}
		x.short.Store(true)
		go1 := make(chan struct{}, 1)
		var m contendedStore
		b := openContended(t, &m, poolConfig("cpu", 1, executorFunc(func(ctx context.Context, a park.Assignment) park.Outcome {
			select {
			case <-go1:
			case <-time.After(time.Hour):
			case <-ctx.Done():
			}
			go1 <- struct{}{} // once it has begun to fail it does so at once
			return x.Run(ctx, a)
		})))
		defer b.closeNow()
		b.submit("cpu", withID("a", park.Submission{}))
		m.startContention(aheadOnce(func() { go1 <- struct{}{} }), func(_ *store.Step, n int) error {
			if n == 1 {
				return m.conflict("cpu")
			}
			return nil
		})
		b.submit("cpu", withID("b", park.Submission{}))
		time.Sleep(50 * time.Millisecond)
		p, err := b.Pool(t.Context(), "cpu")
		if n := x.failed.Load(); err != nil || n != 1 || p.StartsDeferred == nil {
			t.Errorf("%d starts failed at once; the pool says %+v, %v", n, p.StartsDeferred, err)
		}
	})
}

// TestOutcomeThatJoinsARefusedStepIsKept has a run end while the node stands in line with a result that the store has
// refused, and then the store be away.
func TestOutcomeThatJoinsARefusedStepIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ends := map[string]chan struct{}{"a": make(chan struct{}), "b": make(chan struct{})}
		var m contendedStore
		b := openContended(t, &m, poolConfig("cpu", 2, park.ExecutorFunc(func(_ context.Context, a park.Assignment) (any, error) {
			<-ends[a.TaskID]
			return map[string]string{"a": "poison", "b": "food"}[a.TaskID], nil
		})))
		defer b.closeNow()
		b.submit("cpu", withID("a", park.Submission{}))
		b.submit("cpu", withID("b", park.Submission{}))
		refused := 0
		m.startContention(aheadOnce(func() { close(ends["b"]) }), func(st *store.Step, n int) error {
			if m.refused > 0 {
				refused++
			}
			switch refused {
			case 1:
				return m.conflict("cpu")
			case 2:
				return errGone
			}
			return nil
		})
		close(ends["a"])
		for _, id := range []string{"a", "b"} {
			if got, err := b.Task(t.Context(), "cpu", id, time.Hour); err != nil || !got.Status.Ended() {
				t.Errorf("task %s: %s, %v", id, got.Status, err)
			}
		}
	})
}

// TestWhatWasLeftFitsIntoSteps hands a node more outcomes of another one's runs than a step has room for. All are stored,
// in steps that have their bound.
func TestWhatWasLeftFitsIntoSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const tasks, size = 1200, 3 << 10
		shared := memory.New()
		m := &contendedStore{hasWaiting: true}
		m.Store = shared
		var nodes []*harness
		for i, s := range []store.Store{shared, m} {
			nodes = append(nodes, openEngine(t, engine.Config{
				Node: fmt.Sprint("node-", i), Pools: []engine.Pool{poolConfig("cpu", tasks+1, gatedExecutor{gate: make(chan struct{})})},
				Shared: []park.Backend{park.InMemory}, Stores: map[park.Backend]store.Store{park.InMemory: s},
			}))
			defer nodes[i].closeNow()
		}
		var all []park.Submission
		var notes [][]byte
		for i := range tasks {
			all = append(all, withID(fmt.Sprint(i), park.Submission{MailboxKey: park.MailboxRef{Key: "k"}}))
			notes = append(notes, fmt.Appendf(nil, `[{"t":"%d","a":1,"s":"completed","o":%q}]`, i, base64.StdEncoding.EncodeToString(jsonText(size))))
		}
		if _, err := nodes[0].Submit(context.Background(), "cpu", all); err != nil {
			t.Fatal(err)
		}
		var given atomic.Bool
		m.startContention(func(store.Delegation) store.Turn {
			if given.Swap(true) {
				return store.Turn{}
			}
			return store.Turn{Notes: notes}
		}, nil)
		for i := range 2 { // after the first another node waits
			nodes[1].submit("cpu", withID(fmt.Sprint("own", i), park.Submission{Priority: park.Low}))
		}
		for i := range all {
			if got := nodes[1].awaitTask("cpu", fmt.Sprint(i)); got.Status != park.Completed || len(got.Result) != size {
				t.Errorf("task %s: %s, %d bytes", got.TaskID, got.Status, len(got.Result))
			}
		}
		if m.maxStep > 1<<20 || m.ends > 512+1 {
			t.Errorf("a step has %d bytes, and ends %d tasks", m.maxStep, m.ends)
		}
	})
}

// TestWhatIsLeftHasABound has runs end again and again while their node stands in line: it does not leave all of it to others.
func TestWhatIsLeftHasABound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const tasks, size = 60, 5 << 10
		one, all := make(chan struct{}), make(chan struct{})
		m := &contendedStore{hasWaiting: true}
		b := openContended(t, m, poolConfig("cpu", tasks, executorFunc(func(context.Context, park.Assignment) park.Outcome {
			select {
			case <-one:
			case <-all:
			}
			return park.Outcome{Status: park.Completed, Result: jsonText(size)}
		})))
		defer b.closeNow()
		for i := range tasks {
			b.submit("cpu", withID(fmt.Sprint(i), park.Submission{}))
		}
		looks, bytes := 0, 0
		m.startContention(func(h store.Delegation) store.Turn {
			bytes += len(h.Note)
			if looks++; looks > 5 {
				return store.Turn{}
			}
			for range 4 {
				one <- struct{}{}
			}
			return store.Turn{Ahead: 1}
		}, func(_ *store.Step, n int) error {
			if n == 1 {
				if close(all); bytes == 0 || bytes > 64<<10 {
					t.Errorf("%d bytes were left at %d looks", bytes, looks)
				}
			}
			return nil
		})
		one <- struct{}{}
		for i := range tasks {
			b.awaitTask("cpu", fmt.Sprint(i))
		}
	})
}

// TestWorkersThatComeInLineShareAStep has many workers come while the node stands in line. They do not get their tasks in a
// step each.
func TestWorkersThatComeInLineShareAStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const workers = 30
		m := contendedStore{hasWaiting: true}
		b := openContended(t, &m, leasedPool(workers))
		defer b.closeNow()
		for i := range workers {
			b.submit("remote", withID(fmt.Sprint(i), park.Submission{}))
		}
		var all sync.WaitGroup
		m.startContention(aheadOnce(func() {
			for range workers {
				all.Go(func() {
					if got := b.lease(park.LeaseRequest{Wait: park.Duration(time.Hour)}); len(got) != 1 {
						t.Errorf("got %d leases", len(got))
					}
				})
			}
		}), nil)
		b.submit("remote", withID("more", park.Submission{}))
		synctest.Wait()
		all.Wait()
		if m.steps > 2 {
			t.Errorf("it took %d steps", m.steps)
		}
	})
}

package engine_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/memory"
)

// openFlaky opens an engine over a flakyStore, with a node TTL longer than the store's outages.
func openFlaky(t *testing.T, p engine.Pool) (*harness, *flakyStore) {
	d := &flakyStore{Store: memory.New()}
	return openEngine(t, engine.Config{
		Pools: []engine.Pool{p}, Shared: []park.Backend{park.InMemory}, NodeTTL: 5 * time.Minute,
		Stores: map[park.Backend]store.Store{park.InMemory: d},
	}), d
}

// checkUnknown checks that the outcome of a submission is unknown, and returns the id in the answer.
func checkUnknown(t *testing.T, r park.SubmitResult) string {
	t.Helper()
	if r.Err == nil || r.Err.Code != park.OutcomeUnknown || r.Err.TaskID == "" || r.Err.Code.HTTPStatus() != 500 {
		t.Fatalf("the answer is %+v", r)
	}
	return r.Err.TaskID
}

// TestOutcomeUnknown loses the reply to the commit of a submission, or the commit itself, and the store for long. The
// client is told that nothing is known, and the id of the task, whoever made it. What was taken runs, once; and the same
// submission with that id is the same task.
func TestOutcomeUnknown(t *testing.T) {
	for _, taken := range []bool{true, false} {
		for _, parked := range []bool{true, false} {
			for _, s := range []park.Submission{sleepFor(10), withID("known", sleepFor(10))} {
				t.Run(fmt.Sprintf("taken %t parked %t id %q", taken, parked, s.TaskID), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { testOutcomeUnknown(t, taken, parked, s) })
				})
			}
		}
	}
}

func testOutcomeUnknown(t *testing.T, taken, parked bool, s park.Submission) {
	var w unitCounter
	b, d := openFlaky(t, w.newPool(1))
	defer b.closeNow()
	if parked {
		b.submit("cpu", withID("before", sleepFor(60_000)))
	}
	d.failNextCommit(taken, 30*time.Second, nil)
	began := time.Now()
	id := checkUnknown(t, b.trySubmit("cpu", s))
	if took := time.Since(began); took != 10*time.Second {
		t.Errorf("answered after %s", took)
	}
	if s.TaskID != "" && s.TaskID != id {
		t.Errorf("the answer names %q, not %q", id, s.TaskID)
	}
	again := s
	again.TaskID = id
	if r := b.trySubmit("cpu", again); r.Err == nil || r.Err.Code != park.StorageUnavailable {
		t.Errorf("while the store is away, sent again: %+v", r)
	}
	time.Sleep(25 * time.Second)
	if got := b.submit("cpu", again); got.TaskID != id || parked && got.Status != park.Queued {
		t.Errorf("sent again: %+v", got)
	}
	other := again
	other.Payload = sleepFor(20).Payload
	if r := b.trySubmit("cpu", other); r.Err == nil || r.Err.Code != park.TaskExists {
		t.Errorf("something else with that id: %+v", r)
	}
	if task := b.awaitTask("cpu", id); task.Status != park.Completed || w.runs(id) != 1 {
		t.Errorf("it is %s and ran %d times", task.Status, w.runs(id))
	}
	if got := b.submit("cpu", again); got.Status != park.Completed {
		t.Errorf("sent again at last: %+v", got)
	}
	if parked {
		b.awaitTask("cpu", "before")
	}
	b.checkIdle("cpu")
	checkLog(t, b.events(park.AuditQuery{PoolID: "cpu", Changes: true}), 1)
}

// TestOutcomeUnknownOfABatch: each task of a batch in doubt has its own answer, however many steps the batch needs; those
// that were in no step are known not to be accepted.
func TestOutcomeUnknownOfABatch(t *testing.T) {
	for _, n := range []int{2, 500, 600, 1200} {
		synctest.Test(t, func(t *testing.T) {
			var w unitCounter
			b, d := openFlaky(t, w.newPool(10_000))
			defer b.closeNow()
			tasks := make([]park.Submission, n)
			for i := range tasks {
				if tasks[i] = sleepFor(10); i%2 == 0 {
					tasks[i].TaskID = fmt.Sprintf("t%d", i)
				}
			}
			d.failNextCommit(true, 30*time.Second, nil)
			results, err := b.Submit(context.Background(), "cpu", tasks)
			if err != nil || len(results) != n {
				t.Fatalf("%d tasks: %d results, %v", n, len(results), err)
			}
			time.Sleep(time.Minute)
			inDoubt := 0
			for i, r := range results {
				switch code := park.CodeOf(r.Err); {
				case code == park.OutcomeUnknown && (tasks[i].TaskID == "" || tasks[i].TaskID == r.Err.TaskID):
					inDoubt++
					if task := b.awaitTask("cpu", r.Err.TaskID); task.Status != park.Completed || w.runs(task.TaskID) != 1 {
						t.Errorf("task %d is %s and ran %d times", i, task.Status, w.runs(task.TaskID))
					}
				case code == park.StorageUnavailable:
				default:
					t.Fatalf("task %d: %+v", i, r)
				}
			}
			if page, err := b.Tasks(t.Context(), "cpu", park.TaskQuery{Limit: 1000}); err != nil || inDoubt == 0 || len(page.Tasks) != min(inDoubt, 1000) {
				t.Errorf("%d tasks: %d are there, %d were in doubt: %v", n, len(page.Tasks), inDoubt, err)
			}
		})
	}
}

// TestNothingWasAccepted: a batch of which no task was taken fails as a whole, however large it is.
func TestNothingWasAccepted(t *testing.T) {
	for _, n := range []int{1, 2, 600} {
		synctest.Test(t, func(t *testing.T) {
			b, d := openFlaky(t, poolConfig("cpu", 1, sleepExecutor()))
			defer b.closeNow()
			d.mu.Lock()
			d.until = time.Now().Add(time.Second)
			d.mu.Unlock()
			tasks := make([]park.Submission, n)
			results, err := b.Submit(context.Background(), "cpu", tasks)
			if park.CodeOf(err) != park.StorageUnavailable {
				t.Errorf("%d tasks: %+v, %v", n, results, err)
			}
		})
	}
}

// TestOnePatienceForTheWholeCall: a call is answered in time though the step before it took long, though its own step is on
// its way, and though the store answers no call at all.
func TestOnePatienceForTheWholeCall(t *testing.T) {
	for _, c := range []struct {
		before, commit time.Duration // how long the step before takes, and each commit of the call's own
		want           park.Code
	}{
		{0, 4 * time.Second, park.OutcomeUnknown},
		{7 * time.Second, 5 * time.Second, park.OutcomeUnknown},
		{0, time.Hour, park.OutcomeUnknown},
		{time.Hour, 0, park.StorageUnavailable}, // it was never part of a step
	} {
		synctest.Test(t, func(t *testing.T) {
			b, d := openFlaky(t, poolConfig("cpu", 3, sleepExecutor()))
			defer b.closeNow()
			var over atomic.Bool
			d.next = func(st *store.Step) error {
				time.Sleep(c.before)
				if c.commit > 0 {
					d.hangCommits(c.commit, &over)
				}
				return d.Store.Commit(context.Background(), st)
			}
			var r park.SubmitResult
			inParallel(
				func() { b.SetPool(context.Background(), "cpu", park.PoolPatch{MaxQueueDepth: new(7)}) },
				func() {
					began := time.Now()
					r = b.trySubmit("cpu", withID("a", sleepFor(1)))
					if took := time.Since(began); took != 10*time.Second {
						t.Errorf("%+v: answered after %s", c, took)
					}
				},
			)
			if park.CodeOf(r.Err) != c.want {
				t.Errorf("%+v: answered %+v", c, r)
			}
			over.Store(true)
			time.Sleep(2 * time.Hour)
			_, err := b.Task(t.Context(), "cpu", "a", 0)
			if there := err == nil; there != (c.want == park.OutcomeUnknown) {
				t.Errorf("%+v: then the task is there: %t, %v", c, there, err)
			}
		})
	}
}

// hangCommits has each commit take some time and then be in doubt, until over is set.
func (d *flakyStore) hangCommits(each time.Duration, over *atomic.Bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.next = func(st *store.Step) error {
		time.Sleep(each)
		if over.Load() {
			return d.Store.Commit(context.Background(), st)
		}
		d.hangCommits(each, over)
		st.InDoubt = true
		return store.ErrInDoubt
	}
}

// TestOutcomeUnknownOfOtherCalls: what holds of submissions holds of all that changes something.
func TestOutcomeUnknownOfOtherCalls(t *testing.T) {
	lease := func(b *harness) string {
		l := b.lease(park.LeaseRequest{TTL: park.Duration(time.Hour)})
		if len(l) != 1 {
			b.Fatalf("leased %+v", l)
		}
		return l[0].LeaseID
	}
	for what, call := range map[string]func(b *harness) func() error{
		"cancel": func(b *harness) func() error {
			b.submit("remote", withID("a", sleepFor(1)))
			return func() error { _, err := b.Cancel(context.Background(), "remote", "a"); return err }
		},
		"end": func(b *harness) func() error {
			b.submit("remote", withID("a", sleepFor(1)))
			id := lease(b)
			return func() error { return b.EndLease(context.Background(), id, park.LeaseResult{Status: park.Completed}) }
		},
		"release": func(b *harness) func() error {
			b.submit("remote", withID("a", sleepFor(1)))
			id := lease(b)
			return func() error { return b.ReleaseLease(context.Background(), id, park.LeaseRelease{}) }
		},
		"pool": func(b *harness) func() error {
			return func() error {
				_, err := b.SetPool(context.Background(), "remote", park.PoolPatch{MaxQueueDepth: new(7)})
				return err
			}
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			b, d := openFlaky(t, leasedPool(1))
			defer b.closeNow()
			f := call(b)
			d.failNextCommit(true, 30*time.Second, nil)
			err := f()
			e, _ := errors.AsType[*park.Error](err)
			if e == nil || e.Code != park.OutcomeUnknown || (e.TaskID == "a") != (what != "pool") {
				t.Errorf("%s: answered %+v", what, err)
			}
			time.Sleep(time.Minute)
		})
	}
}

// TestCancelledButNotRead: a cancellation that was taken is not told as one of which nothing was accepted, because the
// store cannot be read afterwards.
func TestCancelledButNotRead(t *testing.T) {
	for _, away := range []time.Duration{5 * time.Second, time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			var w unitCounter
			b, d := openFlaky(t, w.newPool(1))
			defer b.closeNow()
			b.submit("cpu", withID("a", sleepFor(1e9)))
			d.next = func(st *store.Step) error {
				d.mu.Lock()
				d.until = time.Now().Add(away)
				d.mu.Unlock()
				return d.Store.Commit(context.Background(), st)
			}
			task, err := b.Cancel(context.Background(), "cpu", "a")
			if away < 10*time.Second && (err != nil || task.Status != park.Dropped) ||
				away > 10*time.Second && park.CodeOf(err) != park.OutcomeUnknown {
				t.Errorf("away for %s: answered %+v, %v", away, task, err)
			}
			time.Sleep(away)
			if task := b.awaitTask("cpu", "a"); task.Status != park.Dropped {
				t.Errorf("it ended as %+v", task)
			}
		})
	}
}

// TestOutcomeUnknownAmongOthers loses the reply to a submission and then its node, for half a minute in which another node
// works on. Nobody may say that nothing was accepted, for the task runs.
func TestOutcomeUnknownAmongOthers(t *testing.T) {
	for _, parked := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			var w unitCounter
			d, a, b := openFlakyPair(t, engine.Config{Pools: []engine.Pool{w.newPool(1)}})
			defer a.closeNow()
			defer b.closeNow()
			if parked {
				b.submit("cpu", withID("before", sleepFor(5_000)))
				time.Sleep(time.Second) // the first node hears of it
			}
			d.failNextCommit(true, 30*time.Second, nil)
			id := checkUnknown(t, a.trySubmit("cpu", sleepFor(1_000)))
			again := sleepFor(1_000)
			again.TaskID = id
			if got := b.submit("cpu", again); got.TaskID != id {
				t.Errorf("sent again to the other node: %+v", got)
			}
			time.Sleep(2 * time.Minute)
			if task := a.awaitTask("cpu", id); task.Status != park.Completed || w.runs(id) != 1 || w.most > 1 {
				t.Errorf("parked %t: it is %s and ran %d times, with %d units in use", parked, task.Status, w.runs(id), w.most)
			}
			checkLog(t, b.events(park.AuditQuery{PoolID: "cpu"}), 1)
		})
	}
}

// TestLongDoubtMeetsAReload: a step in doubt turns out to have been taken after its client has given up waiting, and the
// step after it fails, so that the pool is loaded again. The client sends its task again as another. Each runs once, and
// never both at a time.
func TestLongDoubtMeetsAReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w unitCounter
		b, d := openFlaky(t, w.newPool(1))
		defer b.closeNow()
		d.failNextCommit(true, 30*time.Second, nil)
		id := checkUnknown(t, b.trySubmit("cpu", sleepFor(10_000)))
		d.mu.Lock()
		d.next = func(st *store.Step) error {
			d.mu.Lock()
			d.next = func(*store.Step) error {
				d.slowNextCommit()
				return errGone
			}
			d.mu.Unlock()
			return d.Store.Commit(context.Background(), st)
		}
		d.mu.Unlock()
		var other park.SubmitResult
		for other = b.trySubmit("cpu", sleepFor(10_000)); other.Err != nil; other = b.trySubmit("cpu", sleepFor(10_000)) {
			time.Sleep(100 * time.Millisecond)
		}
		for _, id := range []string{id, other.Accepted.TaskID} {
			if task := b.awaitTask("cpu", id); task.Status != park.Completed || w.runs(id) != 1 {
				t.Errorf("%s is %s and ran %d times", id, task.Status, w.runs(id))
			}
		}
		if w.most > 1 {
			t.Errorf("%d units were in use at once, of 1", w.most)
		}
	})
}

// TestLongDoubtMeetsAnother is the same where another node goes on between the step and what comes of it.
func TestLongDoubtMeetsAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w unitCounter
		d, a, b := openFlakyPair(t, engine.Config{Pools: []engine.Pool{w.newPool(1)}, NodeTTL: time.Minute})
		defer a.closeNow()
		defer b.closeNow()
		d.failNextCommit(true, 30*time.Second, nil)
		id := checkUnknown(t, a.trySubmit("cpu", sleepFor(10_000)))
		d.mu.Lock()
		d.next = func(st *store.Step) error {
			err := d.Store.Commit(context.Background(), st)
			b.submit("cpu", withID("other", sleepFor(10_000)))
			d.slowNextCommit()
			return err
		}
		d.mu.Unlock()
		for _, id := range []string{id, "other"} {
			time.Sleep(time.Minute)
			if task := b.awaitTask("cpu", id); task.Status != park.Completed || w.runs(id) != 1 {
				t.Errorf("%s is %s and ran %d times", id, task.Status, w.runs(id))
			}
		}
		if w.most > 1 {
			t.Errorf("%d units were in use at once, of 1", w.most)
		}
	})
}

package engine_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/memory"
)

// sizeRecorder is a store that records the sizes of its steps and reads, and refuses poison.
type sizeRecorder struct {
	*memory.Store
	mu      sync.Mutex
	maxStep int // the most bytes of a step that has more than one task
	maxRows int // the most rows of a read
	refused int
}

var errPoison = errors.New("invalid byte sequence")

func (s *sizeRecorder) Commit(ctx context.Context, step *store.Step) error {
	size, poison := 0, false
	weigh := func(b []byte) {
		size += len(b)
		poison = poison || bytes.Contains(b, []byte("poison"))
	}
	for i := range step.Inserts {
		weigh(step.Inserts[i].Payload)
	}
	for i := range step.Updates {
		weigh(step.Updates[i].State.Result)
	}
	for i := range step.Messages {
		weigh(step.Messages[i].Payload)
	}
	s.mu.Lock()
	if len(step.Inserts)+len(step.Updates) > 2 { // one that ends and one that starts for it
		s.maxStep = max(s.maxStep, size)
	}
	if poison {
		s.refused++
	}
	s.mu.Unlock()
	if poison {
		return &store.RefusedError{Err: errPoison}
	}
	return s.Store.Commit(ctx, step)
}

func (s *sizeRecorder) Records(ctx context.Context, pool string, ids []string) ([]ledger.Record, error) {
	s.mu.Lock()
	s.maxRows = max(s.maxRows, len(ids))
	s.mu.Unlock()
	return s.Store.Records(ctx, pool, ids)
}

func (s *sizeRecorder) stores() map[park.Backend]store.Store {
	return map[park.Backend]store.Store{park.InMemory: s}
}

func jsonText(n int) json.RawMessage {
	return json.RawMessage(`"` + strings.Repeat("x", n-2) + `"`)
}

// resultExecutor returns results of the sizes in the payloads, all at the same time.
func resultExecutor() park.Executor {
	return park.ExecutorFunc(func(_ context.Context, a park.Assignment) (any, error) {
		var n int
		if err := json.Unmarshal(a.Payload, &n); err != nil {
			return nil, err
		}
		time.Sleep(time.Second)
		return jsonText(n), nil
	})
}

func withResultSize(id string, n int) park.Submission {
	return withID(id, park.Submission{Payload: json.RawMessage(fmt.Sprint(n))})
}

// TestResultsAreBounded ends many runs with large results at one time.
func TestResultsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sizeRecorder{Store: memory.New()}
		large := poolConfig("large", 200, resultExecutor())
		large.MaxResultBytes = 3 << 20
		b := openEngine(t, engine.Config{Stores: s.stores(), Pools: []engine.Pool{poolConfig("cpu", 200, resultExecutor()), large}})
		defer b.closeNow()
		for i := range 9 {
			b.submit("large", withResultSize(fmt.Sprint("large", i), 3<<20))
			b.submit("cpu", withResultSize(fmt.Sprint("over", i), 1<<20+1))
			b.submit("cpu", withResultSize(fmt.Sprint("just", i), 1<<20))
		}
		for i := range 9 {
			if got := b.awaitTask("large", fmt.Sprint("large", i)); got.Status != park.Completed || len(got.Result) != 3<<20 {
				t.Errorf("%s: %s %s", got.TaskID, got.Status, got.Message)
			}
			got := b.awaitTask("cpu", fmt.Sprint("over", i))
			if got.Status != park.Failed || got.Reason != park.ReasonResultTooLarge || len(got.Result) != 0 ||
				!strings.Contains(got.Message, "1048577") || !strings.Contains(got.Message, "1048576") {
				t.Errorf("%s: %s %s %s", got.TaskID, got.Status, got.Reason, got.Message)
			}
			if got := b.awaitTask("cpu", fmt.Sprint("just", i)); got.Status != park.Completed {
				t.Errorf("%s: %s", got.TaskID, got.Status)
			}
		}
		if s.maxStep > 8<<20 {
			t.Errorf("a step of several tasks has %d bytes", s.maxStep)
		}
		messages := b.readPages("box")
		if len(messages) != 27 {
			t.Errorf("%d messages", len(messages))
		}
	})
}

// readPages reads a whole mailbox, and checks the size of each page.
func (b *harness) readPages(key string) (all []park.Message) {
	b.Helper()
	for q := (park.MailboxQuery{Tenant: park.DefaultTenant, Key: key, Limit: 1000}); ; {
		page, err := b.Mailbox(context.Background(), q)
		if err != nil {
			b.Fatal(err)
		}
		if len(page.Messages) == 0 {
			return all
		}
		size := 0
		for _, m := range page.Messages {
			size += len(m.Payload)
		}
		if size > 80<<20 {
			b.Errorf("a page of messages has %d bytes", size)
		}
		all, q.After = append(all, page.Messages...), page.Next
	}
}

// TestFailureKeepsItsReason has a run fail whose result is too large.
func TestFailureKeepsItsReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := fixedOutcome{park.Outcome{Status: park.Failed, Reason: park.ReasonExitNonzero, Message: "exit status 3", Result: jsonText(2 << 20)}}
		b := openEngine(t, engine.Config{Pools: []engine.Pool{poolConfig("cpu", 1, x)}})
		defer b.closeNow()
		b.submit("cpu", withID("a", park.Submission{}))
		got := b.awaitTask("cpu", "a")
		if got.Reason != park.ReasonExitNonzero || len(got.Result) != 0 || !strings.HasPrefix(got.Message, "exit status 3; the result has 2097152 bytes") {
			t.Errorf("%+v", got)
		}
	})
}

// fixedOutcome is an executor whose runs all have the same outcome.
type fixedOutcome struct{ park.Outcome }

func (o fixedOutcome) Run(context.Context, park.Assignment) park.Outcome { return o.Outcome }

// TestLargeSubmissionsAreBounded submits more than one step holds, and has it started from the store.
func TestLargeSubmissionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sizeRecorder{Store: memory.New()}
		b := openEngine(t, engine.Config{Stores: s.stores(), Pools: []engine.Pool{poolConfig("cpu", 200, fixedOutcome{park.Outcome{Status: park.Completed}})}})
		defer b.closeNow()
		paused, active := park.Paused, park.Active
		if _, err := b.SetPool(t.Context(), "cpu", park.PoolPatch{State: &paused}); err != nil {
			t.Fatal(err)
		}
		var all []park.Submission
		for i := range 70 {
			all = append(all, withID(fmt.Sprint(i), park.Submission{Payload: jsonText(1 << 20)}))
		}
		results, err := b.Submit(t.Context(), "cpu", all)
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range results {
			if r.Err != nil || r.TaskID != fmt.Sprint(i) {
				t.Errorf("task %d: %+v", i, r)
			}
		}
		if _, err := b.SetPool(t.Context(), "cpu", park.PoolPatch{State: &active}); err != nil {
			t.Fatal(err)
		}
		for i := range all {
			b.awaitTask("cpu", fmt.Sprint(i))
		}
		if s.maxStep > 8<<20 || s.maxRows > 64 {
			t.Errorf("a step has %d bytes, a read %d rows", s.maxStep, s.maxRows)
		}
	})
}

// TestPoisonHarmsNobodyElse has the store refuse one payload and one result for good. All else goes on.
func TestPoisonHarmsNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sizeRecorder{Store: memory.New()}
		b := openEngine(t, engine.Config{Stores: s.stores(), Pools: []engine.Pool{poolConfig("cpu", 20, park.ExecutorFunc(func(_ context.Context, a park.Assignment) (any, error) {
			time.Sleep(time.Second)
			if a.TaskID == "t5" {
				return "poison", nil
			}
			return a.TaskID, nil
		}))}})
		defer b.closeNow()
		var all []park.Submission
		for i := range 10 {
			all = append(all, withID(fmt.Sprint("t", i), park.Submission{Payload: json.RawMessage(`"food"`)}))
		}
		all[3].Payload = json.RawMessage(`"poison"`)
		results, err := b.Submit(t.Context(), "cpu", all)
		if err != nil {
			t.Fatal(err)
		}
		if e := results[3].Err; e == nil || e.Code != park.InvalidRequest || !strings.Contains(e.Detail, errPoison.Error()) {
			t.Errorf("the poisoned submission: %+v", results[3])
		}
		if r := b.trySubmit("cpu", all[3]); park.CodeOf(r.Err) != park.InvalidRequest {
			t.Errorf("alone: %+v", r)
		}
		for i := range all {
			id := fmt.Sprint("t", i)
			switch i {
			case 3:
				if _, err := b.Task(t.Context(), "cpu", id, 0); park.CodeOf(err) != park.TaskNotFound {
					t.Errorf("task %s: %v", id, err)
				}
			case 5:
				if got := b.awaitTask("cpu", id); got.Status != park.Failed || got.Reason != park.ReasonResultTooLarge || !strings.Contains(got.Message, errPoison.Error()) {
					t.Errorf("task %s: %s %s %s", id, got.Status, got.Reason, got.Message)
				}
			default:
				if got := b.awaitTask("cpu", id); results[i].Err != nil || got.Status != park.Completed {
					t.Errorf("task %s: %s %s, submitted %v", id, got.Status, got.Reason, results[i].Err)
				}
			}
		}
		if err := b.Ready(); err != nil || s.refused > 12 {
			t.Errorf("refused %d times; ready: %v", s.refused, err)
		}
		checkLog(t, b.events(park.AuditQuery{PoolID: "cpu", Changes: true}), 20)
	})
}

// TestLeaseResultIsBounded ends a lease with a result that is too large.
func TestLeaseResultIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openEngine(t, engine.Config{Pools: []engine.Pool{leasedPool(2)}})
		defer b.closeNow()
		b.submit("remote", withID("a", park.Submission{}))
		l := b.lease(park.LeaseRequest{})
		done := park.LeaseResult{Status: park.Completed, Payload: jsonText(2 << 20)}
		for range 2 { // a reply may be lost
			if err := b.EndLease(t.Context(), l[0].LeaseID, done); err != nil {
				t.Fatal(err)
			}
		}
		if got := b.awaitTask("remote", "a"); got.Status != park.Failed || got.Reason != park.ReasonResultTooLarge {
			t.Errorf("%+v", got)
		}
	})
}

// TestSizeComesFirst: whether a result is JSON is not looked at where it is too large to be kept.
func TestSizeComesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := fixedOutcome{park.Outcome{Status: park.Completed, Result: bytes.Repeat([]byte("x"), 2<<20)}}
		b := openEngine(t, engine.Config{Pools: []engine.Pool{poolConfig("cpu", 1, x)}})
		defer b.closeNow()
		b.submit("cpu", withID("a", park.Submission{}))
		if got := b.awaitTask("cpu", "a"); got.Status != park.Failed || got.Reason != park.ReasonResultTooLarge {
			t.Errorf("%s %s: %s", got.Status, got.Reason, got.Message)
		}
	})
}

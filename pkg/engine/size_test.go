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

// scale is a store that weighs its steps and reads, and takes none with poison in it.
type scale struct {
	*memory.Store
	mu      sync.Mutex
	heavy   int // the most bytes of a step that has more than one task
	most    int // the most rows of a read
	refused int
}

var errPoison = errors.New("invalid byte sequence")

func (s *scale) Commit(ctx context.Context, step *store.Step) error {
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
		s.heavy = max(s.heavy, size)
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

func (s *scale) Records(ctx context.Context, pool string, ids []string) ([]ledger.Record, error) {
	s.mu.Lock()
	s.most = max(s.most, len(ids))
	s.mu.Unlock()
	return s.Store.Records(ctx, pool, ids)
}

func (s *scale) stores() map[park.Backend]store.Store {
	return map[park.Backend]store.Store{park.InMemory: s}
}

func text(n int) json.RawMessage {
	return json.RawMessage(`"` + strings.Repeat("x", n-2) + `"`)
}

// sized returns results as large as payloads say, all at the same time.
func sized() park.Executor {
	return park.ExecutorFunc(func(_ context.Context, a park.Assignment) (any, error) {
		var n int
		if err := json.Unmarshal(a.Payload, &n); err != nil {
			return nil, err
		}
		time.Sleep(time.Second)
		return text(n), nil
	})
}

func wants(id string, n int) park.Submission {
	return named(id, park.Submission{Payload: json.RawMessage(fmt.Sprint(n))})
}

// TestResultsAreBounded ends many runs with large results at one time.
func TestResultsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scale{Store: memory.New()}
		large := pool("large", 200, sized())
		large.MaxResultBytes = 3 << 20
		b := open(t, engine.Config{Stores: s.stores(), Pools: []engine.Pool{pool("cpu", 200, sized()), large}})
		defer b.stop()
		for i := range 9 {
			b.submit("large", wants(fmt.Sprint("large", i), 3<<20))
			b.submit("cpu", wants(fmt.Sprint("over", i), 1<<20+1))
			b.submit("cpu", wants(fmt.Sprint("just", i), 1<<20))
		}
		for i := range 9 {
			if got := b.ended("large", fmt.Sprint("large", i)); got.Status != park.Completed || len(got.Result) != 3<<20 {
				t.Errorf("%s: %s %s", got.TaskID, got.Status, got.Message)
			}
			got := b.ended("cpu", fmt.Sprint("over", i))
			if got.Status != park.Failed || got.Reason != park.ReasonResultTooLarge || len(got.Result) != 0 ||
				!strings.Contains(got.Message, "1048577") || !strings.Contains(got.Message, "1048576") {
				t.Errorf("%s: %s %s %s", got.TaskID, got.Status, got.Reason, got.Message)
			}
			if got := b.ended("cpu", fmt.Sprint("just", i)); got.Status != park.Completed {
				t.Errorf("%s: %s", got.TaskID, got.Status)
			}
		}
		if s.heavy > 8<<20 {
			t.Errorf("a step of several tasks has %d bytes", s.heavy)
		}
		messages := b.mail("box")
		if len(messages) != 27 {
			t.Errorf("%d messages", len(messages))
		}
	})
}

// mail reads a whole mailbox, and sees that no page holds too much.
func (b *bench) mail(key string) (all []park.Message) {
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
		x := outcome{park.Outcome{Status: park.Failed, Reason: park.ReasonExitNonzero, Message: "exit status 3", Result: text(2 << 20)}}
		b := open(t, engine.Config{Pools: []engine.Pool{pool("cpu", 1, x)}})
		defer b.stop()
		b.submit("cpu", named("a", park.Submission{}))
		got := b.ended("cpu", "a")
		if got.Reason != park.ReasonExitNonzero || len(got.Result) != 0 || !strings.HasPrefix(got.Message, "exit status 3; the result has 2097152 bytes") {
			t.Errorf("%+v", got)
		}
	})
}

// outcome is an executor whose runs all end alike.
type outcome struct{ park.Outcome }

func (o outcome) Run(context.Context, park.Assignment) park.Outcome { return o.Outcome }

// TestLargeSubmissionsAreBounded submits more than one step holds, and has it started from the store.
func TestLargeSubmissionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scale{Store: memory.New()}
		b := open(t, engine.Config{Stores: s.stores(), Pools: []engine.Pool{pool("cpu", 200, outcome{park.Outcome{Status: park.Completed}})}})
		defer b.stop()
		paused, active := park.Paused, park.Active
		if _, err := b.SetPool(t.Context(), "cpu", park.PoolPatch{State: &paused}); err != nil {
			t.Fatal(err)
		}
		var all []park.Submission
		for i := range 70 {
			all = append(all, named(fmt.Sprint(i), park.Submission{Payload: text(1 << 20)}))
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
			b.ended("cpu", fmt.Sprint(i))
		}
		if s.heavy > 8<<20 || s.most > 64 {
			t.Errorf("a step has %d bytes, a read %d rows", s.heavy, s.most)
		}
	})
}

// TestPoisonHarmsNobodyElse has the store refuse one payload and one result for good. All else goes on.
func TestPoisonHarmsNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scale{Store: memory.New()}
		b := open(t, engine.Config{Stores: s.stores(), Pools: []engine.Pool{pool("cpu", 20, park.ExecutorFunc(func(_ context.Context, a park.Assignment) (any, error) {
			time.Sleep(time.Second)
			if a.TaskID == "t5" {
				return "poison", nil
			}
			return a.TaskID, nil
		}))}})
		defer b.stop()
		var all []park.Submission
		for i := range 10 {
			all = append(all, named(fmt.Sprint("t", i), park.Submission{Payload: json.RawMessage(`"food"`)}))
		}
		all[3].Payload = json.RawMessage(`"poison"`)
		results, err := b.Submit(t.Context(), "cpu", all)
		if err != nil {
			t.Fatal(err)
		}
		if e := results[3].Err; e == nil || e.Code != park.InvalidRequest || !strings.Contains(e.Detail, errPoison.Error()) {
			t.Errorf("the poisoned submission: %+v", results[3])
		}
		if r := b.offer("cpu", all[3]); park.CodeOf(r.Err) != park.InvalidRequest {
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
				if got := b.ended("cpu", id); got.Status != park.Failed || got.Reason != park.ReasonResultTooLarge || !strings.Contains(got.Message, errPoison.Error()) {
					t.Errorf("task %s: %s %s %s", id, got.Status, got.Reason, got.Message)
				}
			default:
				if got := b.ended("cpu", id); results[i].Err != nil || got.Status != park.Completed {
					t.Errorf("task %s: %s %s, submitted %v", id, got.Status, got.Reason, results[i].Err)
				}
			}
		}
		if err := b.Ready(); err != nil || s.refused > 12 {
			t.Errorf("refused %d times; ready: %v", s.refused, err)
		}
		check(t, b.events(park.AuditQuery{PoolID: "cpu", Changes: true}), 20)
	})
}

// TestLeaseResultIsBounded ends a lease with a result that is too large.
func TestLeaseResultIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, engine.Config{Pools: []engine.Pool{remote(2)}})
		defer b.stop()
		b.submit("remote", named("a", park.Submission{}))
		l := b.lease(park.LeaseRequest{})
		done := park.LeaseResult{Status: park.Completed, Payload: text(2 << 20)}
		for range 2 { // a reply may be lost
			if err := b.EndLease(t.Context(), l[0].LeaseID, done); err != nil {
				t.Fatal(err)
			}
		}
		if got := b.ended("remote", "a"); got.Status != park.Failed || got.Reason != park.ReasonResultTooLarge {
			t.Errorf("%+v", got)
		}
	})
}

// TestSizeComesFirst: whether a result is JSON is not looked at where it is too large to be kept.
func TestSizeComesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := outcome{park.Outcome{Status: park.Completed, Result: bytes.Repeat([]byte("x"), 2<<20)}}
		b := open(t, engine.Config{Pools: []engine.Pool{pool("cpu", 1, x)}})
		defer b.stop()
		b.submit("cpu", named("a", park.Submission{}))
		if got := b.ended("cpu", "a"); got.Status != park.Failed || got.Reason != park.ReasonResultTooLarge {
			t.Errorf("%s %s: %s", got.Status, got.Reason, got.Message)
		}
	})
}

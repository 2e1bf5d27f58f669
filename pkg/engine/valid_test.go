package engine_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parkd-dev/parkd/pkg/engine"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
	"github.com/parkd-dev/parkd/pkg/store/memory"
)

// TestOpenChecksItsConfiguration: what config refuses an embedding program cannot hand in either. The error names the field.
func TestOpenChecksItsConfiguration(t *testing.T) {
	for field, edit := range map[string]func(c *engine.Config){
		"Pools":                      func(c *engine.Config) { c.Pools = nil },
		"Pools[1].ID":                func(c *engine.Config) { c.Pools = append(c.Pools, c.Pools[0]) },
		"Pools[0].ID":                func(c *engine.Config) { c.Pools[0].ID = "team.edge" },
		"Pools[0].ID must":           func(c *engine.Config) { c.Pools[0].ID = "a:b" },
		"Pools[0].ID must be":        func(c *engine.Config) { c.Pools[0].ID = "" },
		"Pools[0].ID must be 1":      func(c *engine.Config) { c.Pools[0].ID = strings.Repeat("a", 64) },
		"Pools[0].MaxUnits":          func(c *engine.Config) { c.Pools[0].MaxUnits = -5 },
		"Pools[0].MaxUnits must":     func(c *engine.Config) { c.Pools[0].MaxUnits = park.MaxUnits + 1 },
		"Pools[0].MaxQueueDepth":     func(c *engine.Config) { c.Pools[0].MaxQueueDepth = -1 },
		"Pools[0].DefaultTimeout":    func(c *engine.Config) { c.Pools[0].DefaultTimeout = -time.Second },
		"Pools[0].Retry.MaxAttempts": func(c *engine.Config) { c.Pools[0].Retry.MaxAttempts = -1 },
		"Pools[0].Retry.Backoff":     func(c *engine.Config) { c.Pools[0].Retry.Backoff = -1 },
		"Pools[0].Kind":              func(c *engine.Config) { c.Pools[0].Kind = "tpu" },
		"Pools[0].Runtime":           func(c *engine.Config) { c.Pools[0].Runtime = "wasm" },
		"NodeTTL":                    func(c *engine.Config) { c.NodeTTL = -1 },
		"Retention":                  func(c *engine.Config) { c.Retention = -1 },
		"Store must not":             func(c *engine.Config) { c.Store = memory.New() },
	} {
		c := engine.Config{
			Pools: []engine.Pool{poolConfig("a", 1, sleepExecutor())}, Stores: map[park.Backend]store.Store{park.InMemory: memory.New()},
		}
		edit(&c)
		e, err := engine.Open(t.Context(), c)
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
		if err == nil {
			_ = e.Close(t.Context())
		}
	}
}

// TestSoleStore: with one store for all nothing names a backend, and the caller's configuration stays as it was.
func TestSoleStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := poolConfig("a", 1, sleepExecutor())
		p.QueueBackend, p.MailboxBackend = "", ""
		c := engine.Config{Pools: []engine.Pool{p}, Store: memory.New()}
		e, err := engine.Open(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close(t.Context())
		if c.Pools[0].QueueBackend != "" || c.Stores != nil {
			t.Error("the caller's configuration was changed")
		}
		results, err := e.Submit(t.Context(), "a", []park.Submission{{TaskID: "x", MailboxKey: park.MailboxRef{Key: "me"}}})
		if err != nil || results[0].Err != nil {
			t.Fatal(err, results)
		}
		if _, err := e.Task(t.Context(), "a", "x", time.Minute); err != nil {
			t.Fatal(err)
		}
		page, err := e.Mailbox(t.Context(), park.MailboxQuery{Tenant: "default", Key: "me"})
		if err != nil || len(page.Messages) != 1 {
			t.Errorf("the mailbox has %d messages: %v", len(page.Messages), err)
		}
		log, err := e.Audit(t.Context(), park.AuditQuery{TaskID: "x"})
		if err != nil || len(log.Events) != 3 {
			t.Errorf("the log has %d events: %v", len(log.Events), err)
		}
	})
}

// refusingPool refuses every step of one pool.
type refusingPool struct {
	*memory.Store
	pool string
}

func (s *refusingPool) Commit(ctx context.Context, st *store.Step) error {
	if st.PoolID == s.pool {
		return errors.New("no")
	}
	return s.Store.Commit(ctx, st)
}

// TestFailedOpenLeavesNothing: what an engine began before it found that it cannot open has ended when Open returns, which
// the bubble that the test runs in sees to; and what ran is requeued.
func TestFailedOpenLeavesNothing(t *testing.T) {
	for _, shared := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := &refusingPool{Store: memory.New()}
			c := engine.Config{
				Pools:  []engine.Pool{poolConfig("a", 1, sleepExecutor()), poolConfig("b", 2, sleepExecutor())},
				Stores: map[park.Backend]store.Store{park.InMemory: s},
			}
			b := openEngine(t, c)
			b.submit("a", withID("t", sleepFor(100_000)))
			b.submit("b", withID("u", sleepFor(1)))
			b.awaitTask("b", "u")
			b.closeNow()
			s.pool, c.Pools[1].MaxUnits = "b", 1 // which the store will not take
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if shared {
				c.Shared = []park.Backend{park.InMemory}
				c.Pools = append(c.Pools, poolConfig("c", 1, nil))
			}
			if _, err := engine.Open(ctx, c); err == nil {
				t.Fatal("opened")
			}
			synctest.Wait()
			r, err := s.Records(t.Context(), "a", []string{"t"})
			if err != nil || len(r) != 1 || r[0].Status != park.Queued {
				t.Errorf("the task was left as %+v, %v", r, err)
			}
		})
	}
}

// TestCommandThatNoStoreKeeps: an embedding program cannot submit what would hold up a step of many.
func TestCommandThatNoStoreKeeps(t *testing.T) {
	b := openEngine(t, engine.Config{Pools: []engine.Pool{leasedPool(1)}})
	defer b.closeNow()
	for field, s := range map[string]park.Submission{
		"command[1]": {Command: []string{"echo", "\xff"}},
		"command[0]": {Command: []string{"a\x00b"}},
		"workDir":    {Command: []string{"echo"}, WorkDir: "/\xff"},
	} {
		if r := b.trySubmit("remote", s); r.Err == nil || r.Err.Code != park.InvalidRequest || !strings.Contains(r.Err.Detail, field) {
			t.Errorf("%s: %+v", field, r)
		}
	}
}

// TestResultThatIsNotJSON: a worker in process cannot store what nobody could read again.
func TestResultThatIsNotJSON(t *testing.T) {
	b := openEngine(t, engine.Config{Pools: []engine.Pool{leasedPool(1)}})
	defer b.closeNow()
	b.submit("remote", withID("x", park.Submission{}))
	lease := b.lease(park.LeaseRequest{})[0].LeaseID
	for field, r := range map[string]park.LeaseResult{
		"payload": {Status: park.Completed, Payload: json.RawMessage(`{"half":`)},
		"message": {Status: park.Failed, Message: "\xff"},
		"reason":  {Status: park.Failed, Reason: "\x00"},
	} {
		if err := b.EndLease(t.Context(), lease, r); park.CodeOf(err) != park.InvalidRequest || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	if err := b.EndLease(t.Context(), lease, park.LeaseResult{Status: park.Completed, Payload: json.RawMessage(`{}`)}); err != nil {
		t.Fatal(err)
	}
	if page, err := b.Mailbox(t.Context(), park.MailboxQuery{Tenant: "default", Key: "box"}); err != nil || len(page.Messages) != 1 {
		t.Errorf("its mailbox: %+v %v", page, err)
	}
}

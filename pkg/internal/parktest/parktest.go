// Package parktest is the suite that every [park.Service] passes: the engine in process, and the client over
// HTTP. It sees nothing but the interface, so both cannot drift apart.
package parktest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// The pools that a service under test has, of kind cpu with everything in memory. A pool of capacity c and
// depth d is called after what it is for.
const (
	Work   = "work"   // 4 units, depth 4: runs [Executor]
	Wide   = "wide"   // 1000 units, depth 1000: runs [Executor]
	Remote = "remote" // 4 units, depth 100: leased, takes commands
	Zero   = "zero"   // no units
	Now    = "now"    // 1 unit, depth 0: runs [Executor]
)

// Pools returns the specs of these pools.
func Pools() []park.PoolSpec {
	spec := func(id string, units int64, depth int) park.PoolSpec {
		return park.PoolSpec{
			ID: id, Kind: park.CPU, MaxUnits: units, MaxQueueDepth: depth, Runtime: park.Native, Executor: "exec",
			QueueBackend: park.InMemory, MailboxBackend: park.InMemory,
		}
	}
	remote := spec(Remote, 4, 100)
	remote.Runtime, remote.Executor, remote.TakesCommands = park.CloudWorker, "worker", true
	return []park.PoolSpec{spec(Work, 4, 4), spec(Wide, 1000, 1000), remote, spec(Zero, 0, 10), spec(Now, 1, 0)}
}

// Executor does what a payload says: {"hold":true} lasts until the task is stopped, {"fail":true} fails, and
// anything else is at once the result.
func Executor() park.Executor {
	return park.ExecutorFunc(func(ctx context.Context, a park.Assignment) (any, error) {
		var order struct{ Hold, Fail bool }
		_ = json.Unmarshal(a.Payload, &order)
		switch {
		case order.Hold:
			<-ctx.Done()
			return nil, context.Cause(ctx)
		case order.Fail:
			return nil, errors.New("told to fail")
		}
		return a.Payload, nil
	})
}

// Run runs the suite; open returns a fresh service for each test.
func Run(t *testing.T, open func(t *testing.T) park.Service) {
	for name, test := range map[string]func(*bench){
		"Outcome": outcome, "Parked": parked, "SubmitAgain": submitAgain, "Refusals": refusals, "Batch": batch,
		"BatchOfMany": batchOfMany, "Cancel": cancel, "Fail": fail, "Timeout": timeout, "Expire": expire,
		"List": list, "Pools": pools, "PauseAndResume": pauseAndResume, "Resize": resize, "Drain": drain,
		"Mailbox": mailbox, "MailboxWait": mailboxWait, "MailboxTrim": mailboxTrim, "OddNames": oddNames,
		"Audit": audit, "AuditChanges": auditChanges, "Watch": watch, "WatchResumes": watchResumes,
		"Lease": lease, "LeaseWaits": leaseWaits, "LeaseFails": leaseFails, "LeaseLost": leaseLost, "NoLeases": noLeases,
		"NoLog": noLog, "Missing": missing,
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			test(&bench{t, open(t), ctx})
		})
	}
}

// bench is a service under test.
type bench struct {
	*testing.T
	park.Service
	ctx context.Context
}

func (b *bench) offer(pool string, s park.Submission) park.SubmitResult {
	b.Helper()
	r, err := b.Submit(b.ctx, pool, []park.Submission{s})
	if err != nil {
		b.Fatalf("submit to %s: %v", pool, err)
	}
	return r[0]
}

func (b *bench) submit(pool string, s park.Submission) park.Accepted {
	b.Helper()
	r := b.offer(pool, s)
	if r.Err != nil {
		b.Fatalf("submit to %s: %v", pool, r.Err)
	}
	return r.Accepted
}

func (b *bench) refused(pool string, s park.Submission, code park.Code) *park.Error {
	b.Helper()
	r := b.offer(pool, s)
	if r.Err == nil || r.Err.Code != code {
		b.Fatalf("submit to %s: got %+v (%v), want %s", pool, r.Accepted, r.Err, code)
	}
	if r.Err.Detail == "" {
		b.Errorf("submit to %s: %s says nothing to people", pool, code)
	}
	return r.Err
}

func (b *bench) ended(pool, id string) park.Task {
	b.Helper()
	t, err := b.Task(b.ctx, pool, id, 50*time.Second)
	if err != nil || !t.Status.Ended() {
		b.Fatalf("task %s: %s, %v", id, t.Status, err)
	}
	return t
}

func (b *bench) failsWith(code park.Code, err error) {
	b.Helper()
	if got := park.CodeOf(err); got != code {
		b.Errorf("got %q (%v), want %q", got, err, code)
	}
}

func (b *bench) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// life returns the actions of a task's events.
func (b *bench) life(pool, id string) string {
	b.Helper()
	page, err := b.Audit(b.ctx, park.AuditQuery{TaskID: id, PoolID: pool})
	b.must(err)
	var s strings.Builder
	for _, e := range page.Events {
		s.WriteString(string(e.Action) + " ")
	}
	return s.String()
}

func equal[T comparable](b *bench, what string, got, want T) {
	b.Helper()
	if got != want {
		b.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func task(id string, payload string) park.Submission {
	s := park.Submission{TaskID: id, MailboxKey: park.MailboxRef{Key: "box"}}
	if payload != "" {
		s.Payload = json.RawMessage(payload)
	}
	return s
}

func hold(id string, units int64) park.Submission {
	s := task(id, `{"hold":true}`)
	s.ResourceCost.Units = park.Units(units)
	return s
}

func many(n int, of func(i int) park.Submission) []park.Submission {
	all := make([]park.Submission, n)
	for i := range all {
		all[i] = of(i)
	}
	return all
}

func numbered(i int) string { return fmt.Sprintf("t-%03d", i) }

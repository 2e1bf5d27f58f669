// Package parktest is the test suite of [park.Service]. The engine in process and the client over HTTP both pass it. The
// suite uses only the interface, so that the two implementations behave alike.
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

// The pools of a service under test. They are of kind cpu, with queue and mailbox in memory.
const (
	Work   = "work"   // 4 units, depth 4: runs [Executor]
	Wide   = "wide"   // 1000 units, depth 1000: runs [Executor]
	Remote = "remote" // 4 units, depth 100: leased by workers, takes commands
	Zero   = "zero"   // no units
	Now    = "now"    // 1 unit, depth 0, so it parks no task: runs [Executor]
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

// Executor returns an executor that does what a payload says: {"hold":true} runs until the task is stopped, {"fail":true}
// fails, and any other payload is returned as the result at once.
func Executor() park.Executor {
	return park.ExecutorFunc(func(ctx context.Context, a park.Assignment) (any, error) {
		var payload struct{ Hold, Fail bool }
		_ = json.Unmarshal(a.Payload, &payload)
		switch {
		case payload.Hold:
			<-ctx.Done()
			return nil, context.Cause(ctx)
		case payload.Fail:
			return nil, errors.New("told to fail")
		}
		return a.Payload, nil
	})
}

// Run runs the suite; open returns a fresh service for each test.
func Run(t *testing.T, open func(t *testing.T) park.Service) {
	for name, test := range map[string]func(*harness){
		"Outcome": testOutcome, "Parked": testParked, "SubmitAgain": testSubmitAgain, "Refusals": testRefusals, "Batch": testBatch,
		"BatchOfMany": testLargeBatch, "Cancel": testCancel, "Fail": testFail, "Timeout": testTimeout, "Expire": testExpire,
		"List": testList, "Pools": testPools, "PauseAndResume": testPauseAndResume, "Resize": testResize, "Drain": testDrain,
		"Mailbox": testMailbox, "MailboxWait": testMailboxWait, "MailboxTrim": testMailboxTrim, "OddNames": testUnusualNames,
		"Audit": testAudit, "AuditChanges": testAuditChanges, "Watch": testWatch, "WatchResumes": testWatchResumes,
		"Lease": testLease, "LeaseWaits": testLeaseWaits, "LeaseFails": testLeaseFails, "LeaseLost": testLeaseLost, "NoLeases": testNoLeases,
		"NoLog": testNoLog, "Missing": testMissing,
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			test(&harness{t, open(t), ctx})
		})
	}
}

// harness is a service under test. Its methods fail the test if a call does.
type harness struct {
	*testing.T
	park.Service
	ctx context.Context
}

// trySubmit submits a task and returns the result, which may be a refusal.
func (h *harness) trySubmit(pool string, s park.Submission) park.SubmitResult {
	h.Helper()
	r, err := h.Submit(h.ctx, pool, []park.Submission{s})
	if err != nil {
		h.Fatalf("submit to %s: %v", pool, err)
	}
	return r[0]
}

// submit submits a task, which must be accepted.
func (h *harness) submit(pool string, s park.Submission) park.Accepted {
	h.Helper()
	r := h.trySubmit(pool, s)
	if r.Err != nil {
		h.Fatalf("submit to %s: %v", pool, r.Err)
	}
	return r.Accepted
}

// wantRefused submits a task, which must be refused with a code.
func (h *harness) wantRefused(pool string, s park.Submission, code park.Code) *park.Error {
	h.Helper()
	r := h.trySubmit(pool, s)
	if r.Err == nil || r.Err.Code != code {
		h.Fatalf("submit to %s: got %+v (%v), want %s", pool, r.Accepted, r.Err, code)
	}
	if r.Err.Detail == "" {
		h.Errorf("submit to %s: %s has no detail", pool, code)
	}
	return r.Err
}

// waitEnded waits until a task has ended, and returns it.
func (h *harness) waitEnded(pool, id string) park.Task {
	h.Helper()
	t, err := h.Task(h.ctx, pool, id, 50*time.Second)
	if err != nil || !t.Status.Ended() {
		h.Fatalf("task %s: %s, %v", id, t.Status, err)
	}
	return t
}

// wantCode fails the test unless err has a code.
func (h *harness) wantCode(code park.Code, err error) {
	h.Helper()
	if got := park.CodeOf(err); got != code {
		h.Errorf("got %q (%v), want %q", got, err, code)
	}
}

// must fails the test if err is not nil.
func (h *harness) must(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

// actions returns the actions of a task's events, each followed by a space.
func (h *harness) actions(pool, id string) string {
	h.Helper()
	page, err := h.Audit(h.ctx, park.AuditQuery{TaskID: id, PoolID: pool})
	h.must(err)
	var s strings.Builder
	for _, e := range page.Events {
		s.WriteString(string(e.Action) + " ")
	}
	return s.String()
}

// equal fails the test unless two values are equal.
func equal[T comparable](h *harness, what string, got, want T) {
	h.Helper()
	if got != want {
		h.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// newTask returns a submission with a payload, whose message goes to the mailbox "box".
func newTask(id string, payload string) park.Submission {
	s := park.Submission{TaskID: id, MailboxKey: park.MailboxRef{Key: "box"}}
	if payload != "" {
		s.Payload = json.RawMessage(payload)
	}
	return s
}

// holdingTask returns a submission of a task that runs until it is stopped.
func holdingTask(id string, units int64) park.Submission {
	s := newTask(id, `{"hold":true}`)
	s.ResourceCost.Units = park.Units(units)
	return s
}

// submissions returns n submissions.
func submissions(n int, submission func(i int) park.Submission) []park.Submission {
	all := make([]park.Submission, n)
	for i := range all {
		all[i] = submission(i)
	}
	return all
}

// taskID returns the id of the i-th task of a test.
func taskID(i int) string { return fmt.Sprintf("t-%03d", i) }

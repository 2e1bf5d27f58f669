package engine

// What callers are told if something goes wrong.

import (
	"context"
	"errors"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// unread logs why a store failed and returns what the caller may know.
func (e *Engine) readError(ctx context.Context, what string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if park.CodeOf(err) != park.Internal {
		return err
	}
	e.log.Error("store not read", "what", what, "error", err)
	return &park.Error{Code: park.StorageUnavailable, Detail: unavailableDetail("the "+what, err), RetryAfter: time.Second}
}

// unanswered says why nothing could be read: in the words of the store's server, where it has said anything.
func unavailableDetail(what string, err error) string {
	if s, ok := errors.AsType[store.Said](err); ok {
		return "the store of " + what + " cannot be used: " + s.Said()
	}
	return "the store of " + what + " does not answer"
}

// unsure is unread for who has asked the store to change something, which may have come about.
func (e *Engine) writeError(ctx context.Context, what string, err error) error {
	err = e.readError(ctx, what, err)
	if park.CodeOf(err) == park.StorageUnavailable {
		return errOutcomeUnknown(what)
	}
	return err
}

// errDue says that a call has waited for as long as it may.
var errDeadline = errors.New("the call is due")

// errAway is the answer to a call that was not heard: nothing was accepted, and nothing will be.
func errNotAccepted(pool string) *park.Error {
	return &park.Error{Code: park.StorageUnavailable, Detail: "the store of pool " + pool + " did not take the step; nothing was accepted", RetryAfter: time.Second}
}

// errUnknown is the answer to a call of which it is not known whether it was carried out, or will be.
func errOutcomeUnknown(what string) *park.Error {
	return park.Errorf(park.OutcomeUnknown, "the store of %s did not answer in time: it is not known whether the request was carried out", what)
}

// about returns err; if it says that the outcome is unknown, it also says of which task and how to find out.
func withTaskID(task string, err error) error {
	e, ok := errors.AsType[*park.Error](err)
	if !ok || e.Code != park.OutcomeUnknown {
		return err
	}
	return &park.Error{
		Code: e.Code, TaskID: task,
		Detail: e.Detail + ": ask for task " + task + ", or send the same again with this taskId",
	}
}

// errNodeStopped is the answer to a call that reads from an engine that is closing.
var errEngineStopped = &park.Error{Code: park.StorageUnavailable, Detail: "this node has stopped", RetryAfter: time.Second}

func errPoolStopped(pool string) error {
	return &park.Error{Code: park.StorageUnavailable, Detail: "pool " + pool + " has stopped on this node", RetryAfter: time.Second}
}

func errPoolStore(pool string, err error) error {
	return &park.Error{Code: park.StorageUnavailable, Detail: unavailableDetail("pool "+pool, err), RetryAfter: time.Second}
}

// errStorageBecause logs why a store failed and returns what the caller may know.
func poolReadError(ctx context.Context, p *pool, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if code := park.CodeOf(err); code != park.Internal {
		return err
	}
	p.eng.log.Error("store not read", "pool", p.ID, "error", err)
	return errPoolStore(p.ID, err)
}

// failed returns the results of n operations whose step failed.
func failedResults(n int, err error) []lot.Result {
	all := make([]lot.Result, n)
	for i := range all {
		all[i].Err = asError(err)
	}
	return all
}

// asError returns what a task's client is told of an error. What is not known to have left the task alone may have taken it.
func asError(err error) *park.Error {
	if e, ok := errors.AsType[*park.Error](err); ok {
		return e
	}
	return park.Errorf(park.OutcomeUnknown, "%v", err)
}

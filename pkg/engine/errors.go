package engine

// Errors for callers.

import (
	"context"
	"errors"
	"time"

	"github.com/parkd-dev/parkd/pkg/internal/lot"
	"github.com/parkd-dev/parkd/pkg/park"
	"github.com/parkd-dev/parkd/pkg/store"
)

// readError logs why a store could not be read and returns what the caller may know.
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

// unavailableDetail says why a store could not be read: in the words of the store's server, if it has answered.
func unavailableDetail(what string, err error) string {
	if s, ok := errors.AsType[store.ServerError](err); ok {
		return "the store of " + what + " cannot be used: " + s.ServerMessage()
	}
	return "the store of " + what + " does not answer"
}

// writeError is readError for a request that changes the store, and may have done so.
func (e *Engine) writeError(ctx context.Context, what string, err error) error {
	err = e.readError(ctx, what, err)
	if park.CodeOf(err) == park.StorageUnavailable {
		return errOutcomeUnknown(what)
	}
	return err
}

// errDeadline means that a call has reached its deadline.
var errDeadline = errors.New("the deadline of the call has passed")

// errNotAccepted is the answer to a call that is not carried out: nothing was accepted, and nothing will be.
func errNotAccepted(pool string) *park.Error {
	return &park.Error{Code: park.StorageUnavailable, Detail: "the store of pool " + pool + " did not accept the step; nothing was accepted", RetryAfter: time.Second}
}

// errOutcomeUnknown is the answer to a call that may have been carried out, or may still be.
func errOutcomeUnknown(what string) *park.Error {
	return park.Errorf(park.OutcomeUnknown, "the store of %s did not answer in time: it is not known whether the request was carried out", what)
}

// withTaskID returns err. If err says that the outcome is unknown, it adds the task's id and how to find out.
func withTaskID(task string, err error) error {
	e, ok := errors.AsType[*park.Error](err)
	if !ok || e.Code != park.OutcomeUnknown {
		return err
	}
	return &park.Error{
		Code: e.Code, TaskID: task,
		Detail: e.Detail + ": query task " + task + ", or send the same submission again with this taskId",
	}
}

// errEngineStopped is the answer to a read from an engine that is closing.
var errEngineStopped = &park.Error{Code: park.StorageUnavailable, Detail: "this node has stopped", RetryAfter: time.Second}

func errPoolStopped(pool string) error {
	return &park.Error{Code: park.StorageUnavailable, Detail: "pool " + pool + " has stopped on this node", RetryAfter: time.Second}
}

func errPoolStore(pool string, err error) error {
	return &park.Error{Code: park.StorageUnavailable, Detail: unavailableDetail("pool "+pool, err), RetryAfter: time.Second}
}

// poolReadError is readError for the queue store of a pool.
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

// failedResults returns the results of n operations whose step failed.
func failedResults(n int, err error) []lot.Result {
	all := make([]lot.Result, n)
	for i := range all {
		all[i].Err = asError(err)
	}
	return all
}

// asError returns an error for a task's client. An error that does not exclude that the task was accepted becomes
// OutcomeUnknown.
func asError(err error) *park.Error {
	if e, ok := errors.AsType[*park.Error](err); ok {
		return e
	}
	return park.Errorf(park.OutcomeUnknown, "%v", err)
}

package park

import (
	"errors"
	"fmt"
	"time"
)

// Code tells a caller what went wrong, in a form to act on.
type Code string

// The codes. Each has one HTTP status, see [Code.HTTPStatus].
const (
	InvalidRequest       Code = "invalid_request"
	DeadlinePast         Code = "deadline_past"
	CostExceedsPool      Code = "cost_exceeds_pool"
	Unauthorized         Code = "unauthorized"
	Forbidden            Code = "forbidden"
	PoolNotFound         Code = "pool_not_found"
	TaskNotFound         Code = "task_not_found"
	LeaseNotFound        Code = "lease_not_found"
	LogNotFound          Code = "log_not_found"
	RouteNotFound        Code = "route_not_found"
	MethodNotAllowed     Code = "method_not_allowed"
	QueueFull            Code = "queue_full"
	CapacityZero         Code = "capacity_zero"
	PoolDraining         Code = "pool_draining"
	TaskExists           Code = "task_exists"
	TaskFinished         Code = "task_finished"
	LeaseLost            Code = "lease_lost"
	PoolNotLeased        Code = "pool_not_leased"
	PayloadTooLarge      Code = "payload_too_large"
	UnsupportedMediaType Code = "unsupported_media_type"
	StorageUnavailable   Code = "storage_unavailable"
	Overloaded           Code = "overloaded"
	PoolHalted           Code = "pool_halted"
	OutcomeUnknown       Code = "outcome_unknown"
	Internal             Code = "internal"
)

// HTTPStatus returns the one HTTP status that c is sent with. The numbers are written here, for with net/http this package
// would bring the network to programs that do not use it, such as the shim.
func (c Code) HTTPStatus() int {
	switch c {
	case InvalidRequest, DeadlinePast, CostExceedsPool:
		return 400 // bad request
	case Unauthorized:
		return 401 // unauthorized
	case Forbidden:
		return 403 // forbidden
	case PoolNotFound, TaskNotFound, LeaseNotFound, LogNotFound, RouteNotFound:
		return 404 // not found
	case MethodNotAllowed:
		return 405 // method not allowed
	case QueueFull, CapacityZero, PoolDraining, TaskExists, TaskFinished, LeaseLost, PoolNotLeased:
		return 409 // conflict
	case PayloadTooLarge:
		return 413 // request entity too large
	case UnsupportedMediaType:
		return 415 // unsupported media type
	case StorageUnavailable, PoolHalted, Overloaded:
		return 503 // service unavailable
	case OutcomeUnknown, Internal:
	}
	return 500 // internal server error
}

// Title returns a short sentence that is the same for every error of this code.
func (c Code) Title() string {
	switch c {
	case InvalidRequest:
		return "The request is not valid"
	case DeadlinePast:
		return "The deadline has passed"
	case CostExceedsPool:
		return "The task costs more units than the pool can ever have"
	case Unauthorized:
		return "A valid token is required"
	case Forbidden:
		return "The request is not allowed"
	case PoolNotFound:
		return "No such pool"
	case TaskNotFound:
		return "No such task"
	case LeaseNotFound:
		return "No such lease"
	case LogNotFound:
		return "The task has no log"
	case RouteNotFound:
		return "No such route"
	case MethodNotAllowed:
		return "The route does not allow this method"
	case QueueFull:
		return "The pool's queue is full"
	case CapacityZero:
		return "The pool has no capacity"
	case PoolDraining:
		return "The pool is draining"
	case TaskExists:
		return "Another task already has this id"
	case TaskFinished:
		return "The task has already ended"
	case LeaseLost:
		return "The lease was lost"
	case PoolNotLeased:
		return "The pool's tasks cannot be leased"
	case PayloadTooLarge:
		return "The request is too large"
	case UnsupportedMediaType:
		return "The body must be application/json"
	case StorageUnavailable:
		return "The store cannot be reached"
	case Overloaded:
		return "The daemon is overloaded"
	case PoolHalted:
		return "The pool has halted"
	case OutcomeUnknown:
		return "It is unknown whether the request was accepted"
	case Internal:
	}
	return "Internal error"
}

// Error is what a caller can act on. Anything else that a [Service] returns is an internal error.
type Error struct {
	Code   Code
	Detail string // a sentence for people; names the field and what would be right
	// RetryAfter is how long the caller should wait before it tries again; 0 where waiting does not help.
	RetryAfter time.Duration
	// TaskID is the task that an OutcomeUnknown is about, also where the daemon made the id: to ask for it, or to send the
	// same submission again with it, tells what became of it. "" where there is no task.
	TaskID string
}

// Error returns the detail, or the code's title where there is none.
func (e *Error) Error() string {
	if e.Detail != "" {
		return e.Detail
	}
	return e.Code.Title()
}

// Errorf returns an error of the given code.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, args...)}
}

// CodeOf returns the code of err: Internal if it has none, and "" for a nil error.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return Internal
}

// Passing reports whether err says that nothing was accepted, and that the same request may succeed a little later.
func Passing(err error) bool {
	c := CodeOf(err)
	return c == StorageUnavailable || c == Overloaded
}

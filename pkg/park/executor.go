package park

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"
)

// The reasons that parkd itself gives for an end.
const (
	ReasonExitNonzero    = "exit_nonzero"
	ReasonTimeout        = "timeout"
	ReasonExecutorError  = "executor_error"
	ReasonNodeLost       = "node_lost"
	ReasonWorkerLost     = "worker_lost"
	ReasonDeadlinePassed = "deadline_passed"
	ReasonCancelled      = "cancelled"
	ReasonShutdown       = "shutdown"
	ReasonResultTooLarge = "result_too_large" // or it can be stored for no other reason
	ReasonStartDeferred  = "start_deferred"   // of a requeue: the run had not begun, for want of means; see [ShortageError]
)

// ErrTimeout and ErrCancelled are the causes with which an executor's context ends ([context.Cause]).
// ErrShutdown is the cause where the daemon stops and will requeue the task: no outcome is wanted.
var (
	ErrTimeout   = errors.New("the task timed out")
	ErrCancelled = errors.New("the task was cancelled")
	ErrShutdown  = errors.New("the daemon is shutting down")
)

// Assignment is one run of one task.
type Assignment struct {
	PoolID  string
	TaskID  string
	Tenant  string
	Units   int64
	Attempt int
	Payload json.RawMessage
	Command []string
	WorkDir string
	Timeout time.Duration // 0: none
	// Proved returns how long ago this node last proved to the others that it is alive. Work that goes on while the
	// daemon is stopped has to end by itself once that is too long. Nil where nobody would take the task over.
	Proved func() time.Duration
}

// Outcome is how a run ended. Status is Completed or Failed.
type Outcome struct {
	Status  Status
	Reason  string
	Message string
	Result  json.RawMessage
	// Shortage is set where the run has not begun and the task is to be tried again: see [PutOff].
	Shortage *ShortageError
	// RetryAfter is for how long, at least, the task rests after a failure before it runs again, where it may; an hour at most.
	RetryAfter time.Duration
}

// Failure returns a failed outcome.
func Failure(reason, message string) Outcome {
	return Outcome{Status: Failed, Reason: reason, Message: message}
}

// MaxMessage bounds the text for people that belongs to an outcome, in bytes. Its reason may have MaxNameLength of them.
const MaxMessage = 8 << 10

// Tidy returns the outcome with a reason and a message that every store keeps unchanged: in UTF-8, without NUL, and
// not too long. Since they may be the output of a program, they are corrected, while those of a client would be
// refused.
func (o Outcome) Tidy() Outcome {
	o.Reason, o.Message = tidy(o.Reason, MaxNameLength), tidy(o.Message, MaxMessage)
	return o
}

func tidy(text string, most int) string {
	const bad = "\uFFFD"
	text = strings.ReplaceAll(strings.ToValidUTF8(text, bad), "\x00", bad)
	if len(text) > most {
		text = Cut(text, most-len("…"))
	}
	return text
}

// Executor does the work of a pool's tasks. Run returns only when nothing of the run is left that uses the
// task's units: they are given to another task the instant it returns. When ctx ends it stops the work;
// [context.Cause] says why. The same task may run again (a larger Attempt) after a failure or a crash.
type Executor interface {
	Run(ctx context.Context, a Assignment) Outcome
}

// ExecutorFunc is an Executor made of a function: what it returns becomes the task's result, as JSON,
// and an error its failure (reason executor_error), unless it is a [ShortageError].
type ExecutorFunc func(ctx context.Context, a Assignment) (any, error)

// Run implements [Executor].
func (f ExecutorFunc) Run(ctx context.Context, a Assignment) Outcome {
	v, err := f(ctx, a)
	if err != nil {
		if cause := context.Cause(ctx); errors.Is(cause, ErrTimeout) {
			return Failure(ReasonTimeout, cause.Error())
		}
		if s, ok := errors.AsType[*ShortageError](err); ok {
			return PutOff(s)
		}
		return Failure(ReasonExecutorError, err.Error())
	}
	result, err := json.Marshal(v)
	if err != nil {
		return Failure(ReasonExecutorError, "the result is not JSON: "+err.Error())
	}
	return Outcome{Status: Completed, Result: result}
}

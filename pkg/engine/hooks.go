package engine

// Interfaces that an embedding program may implement.

import (
	"context"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// Notifier passes messages on to another system. After an error the engine tries again, for days.
type Notifier interface {
	Notify(ctx context.Context, pool string, m park.Message) error
}

// Meter receives figures about the engine's work. Its methods are called from many goroutines and must not block.
type Meter interface {
	// StepCommitted reports a committed step of ops operations and the time of its commit.
	StepCommitted(pool string, ops int, commit time.Duration)
	// Events reports n events of a kind.
	Events(pool string, action park.Action, n int)
	// QueueWait reports how long a task was parked before it started.
	QueueWait(pool string, wait time.Duration)
	// StartDeferred reports a start that was deferred because this machine lacks something; see [park.ShortageError].
	StartDeferred(pool, reason string)
	// RunTime reports the run time of a run that ended its task, and TaskEnded each task that has ended. The reason may
	// be any text of an executor or a worker; "" is none.
	RunTime(pool string, status park.Status, took time.Duration)
	TaskEnded(pool string, status park.Status, reason string)
	// Rejected reports a submission that a pool has refused.
	Rejected(pool string, code park.Code)
	// StepRetried reports a step that is decided or sent again.
	StepRetried(store park.Backend, why RetryReason)
	// StoreFailed reports a failed request to a store.
	StoreFailed(store park.Backend, what StoreRequest)
}

type noMeter struct{}

func (noMeter) StepCommitted(string, int, time.Duration)   {}
func (noMeter) Events(string, park.Action, int)            {}
func (noMeter) QueueWait(string, time.Duration)            {}
func (noMeter) StartDeferred(string, string)               {}
func (noMeter) RunTime(string, park.Status, time.Duration) {}
func (noMeter) TaskEnded(string, park.Status, string)      {}
func (noMeter) Rejected(string, park.Code)                 {}
func (noMeter) StepRetried(park.Backend, RetryReason)      {}
func (noMeter) StoreFailed(park.Backend, StoreRequest)     {}

// Logs opens the output of a run. It may also have the method
//
//	PruneLogs(ctx context.Context, before time.Time) error
//
// which removes the output of runs before a time. The engine calls it when it removes old tasks.
type Logs interface {
	// Log returns the output of a run. With Follow it goes on until ended is closed and everything is read. If q names
	// an attempt, it ends when a later one has begun.
	Log(ctx context.Context, pool, task string, attempt int, q park.LogQuery, ended <-chan struct{}) (*park.Log, error)
}

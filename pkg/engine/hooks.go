package engine

// What an embedding program may hand in.

import (
	"context"
	"time"

	"github.com/parkd-dev/parkd/pkg/park"
)

// Notifier tells someone else of a message. An error makes the engine try again later, for days.
type Notifier interface {
	Notify(ctx context.Context, pool string, m park.Message) error
}

// Meter counts what the engine does. Its methods are called from many goroutines and must not block.
type Meter interface {
	// Stepped tells of a committed step of ops operations and how long its commit took.
	StepCommitted(pool string, ops int, commit time.Duration)
	// Happened tells of n events.
	Events(pool string, action park.Action, n int)
	// Waited tells how long a task was parked before it started.
	QueueWait(pool string, wait time.Duration)
	// Deferred tells of a start that was put off because this machine lacks what it needs; see [park.ShortageError].
	StartDeferred(pool, reason string)
	// Ran tells how long a run took that ended its task, and Ended of each task that has ended. The reason may be anything
	// that an executor or a worker came up with; "" is none.
	RunTime(pool string, status park.Status, took time.Duration)
	TaskEnded(pool string, status park.Status, reason string)
	// Rejected tells of a submission that a pool has refused.
	Rejected(pool string, code park.Code)
	// Retried tells of a step that is decided or sent again.
	StepRetried(store park.Backend, why RetryReason)
	// Failed tells of something that a store did not do.
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

// Logs opens what a run of a task wrote. Logs that also have the method
//
//	PruneLogs(ctx context.Context, before time.Time) error
//
// are told to forget what runs wrote before a time when old tasks are removed.
type Logs interface {
	// Log returns the output of a run. With Follow it goes on until ended is closed and all is read, and where q names
	// an attempt until a later one has begun.
	Log(ctx context.Context, pool, task string, attempt int, q park.LogQuery, ended <-chan struct{}) (*park.Log, error)
}

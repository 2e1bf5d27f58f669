package park

import (
	"context"
	"iter"
	"time"
)

// Service is all that parkd offers. The engine implements it in process and the client over HTTP, so a
// program cannot tell a daemon from a library. Errors that a caller can act on are *[Error]; each method
// may be called from many goroutines. A method whose context ends returns the context's error and may or
// may not have had its effect.
type Service interface {
	TaskService
	PoolService
	MailboxService
	AuditService
	LeaseService
	EvidenceService
}

// TaskService takes and tends tasks.
type TaskService interface {
	// Submit offers tasks to a pool and returns one result for each, in order, once all that were taken
	// are as durable as the pool's queue can make them. A task with an id may be submitted any number of
	// times: with the same content it is taken once. The error is for the call as a whole
	// (no such pool, nothing could be stored); then none of the tasks was taken for certain. A task of which that cannot
	// be said has the result [OutcomeUnknown], with its id.
	Submit(ctx context.Context, pool string, tasks []Submission) ([]SubmitResult, error)
	// Task returns a task. With wait > 0 it answers when the task has ended or the wait is over.
	Task(ctx context.Context, pool, id string, wait time.Duration) (Task, error)
	// Tasks lists a pool's tasks, newest first.
	Tasks(ctx context.Context, pool string, q TaskQuery) (TaskPage, error)
	// Cancel drops a parked task at once, and a running one when its work has been stopped.
	Cancel(ctx context.Context, pool, id string) (Task, error)
	// Log opens what an attempt of a task wrote. With Follow it also waits for the attempt to start.
	Log(ctx context.Context, pool, id string, q LogQuery) (*Log, error)
}

// PoolService shows and steers pools.
type PoolService interface {
	Pools(ctx context.Context) ([]Pool, error)
	Pool(ctx context.Context, id string) (Pool, error)
	// SetPool changes a pool. Lowering its capacity never stops a running task.
	SetPool(ctx context.Context, id string, patch PoolPatch) (Pool, error)
}

// MailboxService reads and trims mailboxes.
type MailboxService interface {
	// Mailbox reads without removing. An unknown mailbox is empty.
	Mailbox(ctx context.Context, q MailboxQuery) (MessagePage, error)
	// TrimMailbox removes the messages up to and including the one with id upTo.
	TrimMailbox(ctx context.Context, tenant, key, upTo string) error
}

// AuditService reads the audit log.
type AuditService interface {
	Audit(ctx context.Context, q AuditQuery) (EventPage, error)
	// Watch yields the events that q selects and goes on with new ones until ctx ends. Without Cursor and
	// Since it begins now. It may yield an error and go on; an error that ends it is yielded last.
	Watch(ctx context.Context, q AuditQuery) iter.Seq2[Event, error]
}

// LeaseService hands tasks to workers elsewhere.
type LeaseService interface {
	Lease(ctx context.Context, pool string, r LeaseRequest) ([]Lease, error)
	KeepLease(ctx context.Context, leaseID string, r KeepRequest) (Kept, error)
	// EndLease ends the lease's task. Sent again after a lost reply it succeeds again.
	EndLease(ctx context.Context, leaseID string, r LeaseResult) error
	// ReleaseLease gives a lease back whose task the worker has not begun and cannot begin now. The task is parked again,
	// first in its class, and no attempt is counted against it.
	ReleaseLease(ctx context.Context, leaseID string, r LeaseRelease) error
}

package park

import (
	"context"
	"iter"
	"time"
)

// Service is everything that parkd offers. The engine implements it in process and the client over HTTP, so a program
// cannot distinguish a daemon from a library. Errors that a caller can act on are *[Error]. All methods are safe for
// concurrent use. A method whose context ends returns the context's error, and may or may not have had its effect.
type Service interface {
	TaskService
	PoolService
	MailboxService
	AuditService
	LeaseService
	EvidenceService
}

// TaskService submits, reads and cancels tasks.
type TaskService interface {
	// Submit submits tasks to a pool. It returns one result for each, in order, once all accepted tasks are as durable
	// as the pool's queue can make them. A task with an id may be submitted any number of times: with the same content
	// it is accepted once. The error concerns the whole call (no such pool, nothing could be stored): then certainly
	// no task was accepted. A task for which that is unknown has the result [OutcomeUnknown], with its id.
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

// PoolService shows and changes pools.
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
	// Watch yields the events that q selects, and continues with new ones until ctx ends. Without Cursor and Since it
	// begins now. It may yield an error and continue. An error that ends it is yielded last.
	Watch(ctx context.Context, q AuditQuery) iter.Seq2[Event, error]
}

// LeaseService leases tasks to workers elsewhere.
type LeaseService interface {
	Lease(ctx context.Context, pool string, r LeaseRequest) ([]Lease, error)
	KeepLease(ctx context.Context, leaseID string, r KeepRequest) (Kept, error)
	// EndLease ends the lease's task. Sent again after a lost reply it succeeds again.
	EndLease(ctx context.Context, leaseID string, r LeaseResult) error
	// ReleaseLease gives back a lease whose task the worker has not begun and cannot begin now. The task is parked
	// again, first in its class, and no attempt is counted.
	ReleaseLease(ctx context.Context, leaseID string, r LeaseRelease) error
}

// Package store defines what parkd needs from a database: a queue, mailboxes and an audit log.
//
// A backend offers all three, and a deployment may take each from a different backend. The engine decides and a store only
// stores: it makes one [Step] durable, completely or not at all, and answers reads. Every backend passes the same suite,
// which is in package storetest.
package store

import (
	"context"
	"errors"

	"github.com/parkd-dev/parkd/pkg/ledger"
	"github.com/parkd-dev/parkd/pkg/park"
)

// Store is a whole backend.
type Store interface {
	Queue
	Mailbox
	Audit
	Close() error
}

// Queue keeps pools and their tasks.
type Queue interface {
	// Load returns a pool as of its last step: its row and its live tasks (queued and running). The tasks are in no
	// particular order and without Payload, Command, WorkDir and Result. A pool that was never committed has a zero
	// row.
	Load(ctx context.Context, pool string) (Snapshot, error)
	// Commit makes a step durable: all of it, or nothing. If the pool is not at rev step.Row.Rev-1, it changes nothing
	// and returns a *[Conflict]. If the step inserts a task that exists, it changes nothing and returns
	// [ErrTaskExists].
	//
	// Committing the pool's last step again (the same ID) changes nothing and succeeds. In a [Shared] store this also
	// holds after a few hundred other steps, and after the node was declared dead. After [ErrInDoubt], commit the same
	// step again until the answer is another one. After any other error the step has not happened and never will. A
	// [RefusedError] says that a retry is pointless.
	//
	// After it has returned nil, the store no longer reads the step's slices, nor what Outbox points to: the caller
	// reuses them.
	Commit(ctx context.Context, step *Step) error
	// AdvanceRev makes a pool's next step come after row.Rev, because a log or a mailbox in another store has steps up
	// to there. A pool that was never committed gets the row, which has nothing in use or parked. A pool at an older
	// rev gets that rev, LastStep, and LastAt unless its own is later. A pool at row.Rev or later is not changed. It
	// may be called twice.
	AdvanceRev(ctx context.Context, pool string, row ledger.Pool) error
	// Records returns the tasks of a pool that have one of the ids, complete and in no particular order. It ignores
	// ids without a task.
	Records(ctx context.Context, pool string, ids []string) ([]ledger.Record, error)
	// Sizes returns by task id how many bytes the submissions have, as [ledger.Spec.Size] counts them, without reading
	// them.
	Sizes(ctx context.Context, pool string, ids []string) (map[string]int, error)
	// List returns up to q.Limit tasks of a pool, the newest submission first and without Payload, and the cursor of
	// the next page, "" on the last page. q.Limit is at least 1.
	List(ctx context.Context, pool string, q park.TaskQuery) ([]ledger.Record, string, error)
	// Outbox returns up to limit entries for dest that are due at now, oldest first.
	Outbox(ctx context.Context, dest string, now park.Time, limit int) ([]OutboxEntry, error)
	// AckOutbox removes the entries with the ids in done and defers those in later, all at once.
	AckOutbox(ctx context.Context, done []int64, later []DeferredEntry) error
	// PruneTasks removes up to limit tasks that ended before the given time, and returns how many it removed. Fewer
	// than limit means that none is left. If two calls find the same tasks at once, both may count them.
	PruneTasks(ctx context.Context, before park.Time, limit int) (int, error)
}

// Walker is offered by a [Queue] that can load a pool without holding all of its tasks at once.
type Walker interface {
	// Walk calls each for every live task of a pool, as [Queue.Load] would return it, and returns the pool's row of
	// the same step. each may keep the record only until it returns. After an error the calls so far are void.
	Walk(ctx context.Context, pool string, each func(*ledger.Record)) (ledger.Pool, error)
}

// CollectSnapshot loads a pool by walking it.
func CollectSnapshot(ctx context.Context, w Walker, pool string) (snap Snapshot, err error) {
	snap.Row, err = w.Walk(ctx, pool, func(r *ledger.Record) { snap.Tasks = append(snap.Tasks, *r) })
	if err != nil {
		return Snapshot{}, err
	}
	return snap, nil
}

// Mailbox keeps the outcomes of ended tasks for their clients.
type Mailbox interface {
	// Deliver adds messages from another store's queue and gives them their ids. A task's message is added once,
	// however often it is delivered, even after it was trimmed. Messages of a step of this store must not be delivered
	// as well.
	//
	// A task's id may be reused once the task was forgotten, by the queue's retention or with the queue. So a message
	// is identified by its pool, the id and CreatedAt: no two tasks of one id end at the same time.
	Deliver(ctx context.Context, messages []park.Message) error
	// Messages reads one mailbox, oldest first. It does not wait.
	Messages(ctx context.Context, q park.MailboxQuery) ([]park.Message, error)
	// Trim removes the messages of a mailbox up to and including the one with id upTo. An id that has not the form of
	// this store's ids is a park.InvalidRequest.
	Trim(ctx context.Context, tenant, key, upTo string) error
	// PruneMessages removes up to limit messages created before the given time; see [Queue.PruneTasks].
	PruneMessages(ctx context.Context, before park.Time, limit int) (int, error)
}

// Audit keeps the log of events.
type Audit interface {
	// Append adds events. An event is added once, however often it is appended.
	Append(ctx context.Context, events []park.Event) error
	// Events reads the log in the order in which it was written. Within a pool that is the order of (Rev, Ord). If the
	// cursor's event was pruned, it reads from the oldest event on. If the cursor names no event but is not older than
	// its pool's oldest event, it returns [ErrNoEvent].
	Events(ctx context.Context, q park.AuditQuery) ([]park.Event, error)
	// LastEvent returns the id of the newest event, or "" for an empty log.
	LastEvent(ctx context.Context) (string, error)
	// LastRev returns the rev and the time of the newest event of a pool, or zero if it has none.
	LastRev(ctx context.Context, pool string) (int64, park.Time, error)
	// PruneEvents removes up to limit events from before the given time; see [Queue.PruneTasks]. It is called from
	// time to time even if nothing is to be removed, so that the store can maintain its indexes.
	PruneEvents(ctx context.Context, before park.Time, limit int) (int, error)
}

// ErrInDoubt is returned if the store has not answered: it is unknown whether the step was committed or still will be.
var ErrInDoubt = errors.New("the store has not confirmed whether it stored the step")

// ServerError is an error with a reason that the server of a store has given. A server that did not answer gives none.
type ServerError interface {
	error
	// ServerMessage returns the server's own words. They contain no secret and nothing about any task.
	ServerMessage() string
}

// ErrNoEvent is returned for a cursor that names neither an event of the log nor, as far as the log can tell, a pruned
// one. For a pool without events it cannot tell.
var ErrNoEvent = errors.New("no such event in the log")

// ErrTaskExists is returned for a step that inserts a task whose id another task has, live or ended. It changes
// nothing.
var ErrTaskExists = errors.New("a task with this id already exists")

// ErrRefused is wrapped by every [RefusedError].
var ErrRefused = errors.New("the store can never store this step")

// RefusedError is returned for a step that the store did not take and never will: it is too large for the store, or
// its content cannot be stored. It changes nothing.
type RefusedError struct{ Err error }

// Error implements error.
func (e *RefusedError) Error() string { return ErrRefused.Error() + ": " + e.Err.Error() }

// Unwrap returns [ErrRefused] and the store's error.
func (e *RefusedError) Unwrap() []error { return []error{ErrRefused, e.Err} }

// Snapshot is a pool as of its last step.
type Snapshot struct {
	Row   ledger.Pool
	Tasks []ledger.Record
}

// Step is one change of one pool, with everything that belongs to it.
type Step struct {
	PoolID string
	// ID is random. It tells whether a commit whose reply was lost has happened.
	ID string
	// Node is the node that commits, if several nodes share the pool: a [Shared] store refuses the step with [ErrDead]
	// unless the node is alive. "" is for a pool of a single node.
	Node string
	// Row is the pool after the step. Row.Rev is the rev before it plus one.
	Row      ledger.Pool
	Inserts  []ledger.Record
	Updates  []Update
	Messages []park.Message // for this store's own mailboxes
	Events   []park.Event   // for this store's own audit log
	Outbox   []OutboxEntry  // for other stores and notifiers

	// InDoubt is set by a store that has answered with [ErrInDoubt]. The store repeats that answer until it knows the
	// outcome: if the server refuses the step when it is sent again, the first attempt may still have succeeded.
	InDoubt bool
	// NodesWaiting is set by a [Shared] store to how many other nodes have a step for this pool and go first; see
	// [Shared.RequestTurn].
	NodesWaiting int
}

// Update sets the state of a task.
type Update = ledger.Update

// OutboxEntry is a message, an event or a notification that a step owes to another store or notifier. The relay
// delivers it at least once.
type OutboxEntry struct {
	ID       int64  // set by the store, ascending
	Dest     string // "mailbox/file", "audit/postgres", "notify/gpu"
	Attempts int    // failed deliveries so far
	Since    park.Time
	Message  *park.Message // set for a message or a notification
	Event    *park.Event   // set for an event
}

// DeferredEntry defers an outbox entry after a failed delivery.
type DeferredEntry struct {
	ID       int64
	Attempts int
	Until    park.Time
}

// Conflict is returned for a step that was decided on an older rev than the pool's. Row and Changed have what changed
// since. If Reload is set, the pool must be loaded again instead.
type Conflict struct {
	Row ledger.Pool
	// Changed has the current state of every task touched since, in the form of Load. An ended task is only sure to have
	// TaskID, Tenant, MailboxKey and Status.
	Changed []ledger.Record
	Reload  bool
	// NodesAhead is how many other nodes go first; see [Shared.RequestTurn].
	NodesAhead int
}

// Error implements error.
func (c *Conflict) Error() string { return "the pool is at another rev" }

// Evidence is also offered by a [Store] whose parts can be checked against each other.
type Evidence interface {
	// Row returns a pool's row as of its last step, or zero if it was never committed.
	Row(ctx context.Context, pool string) (ledger.Pool, error)
	// Marks returns how far old data was pruned.
	Marks(ctx context.Context, pool string) (Marks, error)
	// KeptTasks returns up to limit tasks of a pool, the newest submission first, after the task that the cursor
	// names, and the cursor of the next page, "" on the last page.
	KeptTasks(ctx context.Context, pool, after string, limit int) ([]park.KeptTask, string, error)
	// KeptMessages is KeptTasks for the messages of a pool, including trimmed ones, in the order in which they came.
	KeptMessages(ctx context.Context, pool, after string, limit int) ([]park.KeptMessage, string, error)
}

// Marks say how far a pool's log, and the tasks and messages of all pools, were pruned. A mark is set before anything that
// it covers is removed.
type Marks struct {
	Log, Tasks, Messages park.Mark
	// ToldSince is when the store was last migrated to a schema that no parkd with a less complete log can use, or zero if
	// the store was created with that schema.
	ToldSince park.Time
}

// Set sets the mark of a place, by the name that databases give the place.
func (m *Marks) Set(place string, to park.Mark) {
	switch place {
	case "events":
		m.Log = to
	case "tasks":
		m.Tasks = to
	case "messages":
		m.Messages = to
	case "schema":
		m.ToldSince = to.Before
	}
}

// HealthChecker is also offered by a [Store] that may notice by itself, without any request, that it can no longer
// store anything.
type HealthChecker interface {
	// StorageError returns why nothing can be stored at present, or nil.
	StorageError() error
}

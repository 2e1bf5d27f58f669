// Package store says what parkd needs of a database: a queue, mailboxes and an audit log.
//
// A backend offers all three and a deployment may take each from another one. The engine decides, a store
// only keeps: it makes one [Step] durable at once or not at all, and answers reads. Package storetest holds
// the one suite that every backend passes.
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
	// Load returns a pool as of its last step: its row and its live tasks (queued and running), in no
	// particular order and without Payload, Command, WorkDir and Result. A pool that was never committed
	// has a zero row.
	Load(ctx context.Context, pool string) (Snapshot, error)
	// Commit makes a step durable: all of it, or nothing. It returns a *[Conflict] and changes nothing
	// where the pool is not at rev step.Row.Rev-1, and [ErrTaken] where it inserts a task that is there.
	// Committing the same step (by ID) again as the pool's last one changes nothing and succeeds; in a [Shared] store
	// also after a few hundred other steps, and after the node was buried. After [ErrInDoubt] commit the same step
	// again, until that is not the answer. After any other error the step has not happened, and will not; a [RefusedError]
	// says that there is no use in trying it again. Once it has
	// returned nil the store looks at the step's slices no more, nor at what Outbox points to: they are used again.
	Commit(ctx context.Context, step *Step) error
	// Lift sees to it that a pool's next step comes after row.Rev, because a log or a mailbox of another store has steps up to
	// there: a pool that was never committed gets the row (nothing of which is in use or parked), and one at an older rev that rev, LastAt (unless it is at a later
	// time) and LastStep. One that is at row.Rev or later is left alone. It may happen twice.
	AdvanceRev(ctx context.Context, pool string, row ledger.Pool) error
	// Records returns the tasks of a pool that have one of the ids, whole, in no particular order;
	// ids that name no task are passed over.
	Records(ctx context.Context, pool string, ids []string) ([]ledger.Record, error)
	// Sizes returns by id how many bytes the submissions of those tasks hold, as [ledger.Spec.Size] does, without reading them.
	Sizes(ctx context.Context, pool string, ids []string) (map[string]int, error)
	// List returns up to q.Limit tasks of a pool (q.Limit is at least 1), the newest submission first, without Payload, and the
	// cursor of the next page; "" on the last one.
	List(ctx context.Context, pool string, q park.TaskQuery) ([]ledger.Record, string, error)
	// Outbox returns up to limit parcels for dest that are due at now, oldest first.
	Outbox(ctx context.Context, dest string, now park.Time, limit int) ([]OutboxEntry, error)
	// Settle removes the parcels with the ids in done and puts off those in later, all at once.
	AckOutbox(ctx context.Context, done []int64, later []DeferredEntry) error
	// PruneTasks removes up to limit tasks that ended before the given time, and says how many it
	// removed; fewer than limit means that none is left. Of two that find the same tasks at once both may count them.
	PruneTasks(ctx context.Context, before park.Time, limit int) (int, error)
}

// Walker is what a [Queue] also offers that need not hold all of a pool's tasks at once to load it.
type Walker interface {
	// Walk calls each for every live task of a pool, as [Queue.Load] would return it, and returns the pool's row of the
	// same step. The record is the callee's until it returns. After an error what it was called with counts for nothing.
	Walk(ctx context.Context, pool string, each func(*ledger.Record)) (ledger.Pool, error)
}

// CollectSnapshot loads a pool by a walk.
func CollectSnapshot(ctx context.Context, w Walker, pool string) (snap Snapshot, err error) {
	snap.Row, err = w.Walk(ctx, pool, func(r *ledger.Record) { snap.Tasks = append(snap.Tasks, *r) })
	if err != nil {
		return Snapshot{}, err
	}
	return snap, nil
}

// Mailbox keeps the outcomes of ended tasks for their clients.
type Mailbox interface {
	// Deliver adds messages that came from elsewhere and gives them their ids. A task's message is added once, however
	// often it is delivered, even after it was trimmed. What a step of this store brought is not to be delivered too.
	// A task's id may be used again once the task was forgotten, by the queue's retention or with the queue; so it is the
	// pool, the id and CreatedAt by which a message is known: no two tasks of one id end at the same time.
	Deliver(ctx context.Context, messages []park.Message) error
	// Messages reads one mailbox, oldest first. It does not wait.
	Messages(ctx context.Context, q park.MailboxQuery) ([]park.Message, error)
	// Trim removes the messages of a mailbox up to and including the one with id upTo.
	// An id that is not of this store's form is a park.InvalidRequest.
	Trim(ctx context.Context, tenant, key, upTo string) error
	// PruneMessages removes up to limit messages created before the given time; see [Queue.PruneTasks].
	PruneMessages(ctx context.Context, before park.Time, limit int) (int, error)
}

// Audit keeps the log of events.
type Audit interface {
	// Append adds events. An event is added once, however often it comes.
	Append(ctx context.Context, events []park.Event) error
	// Events reads the log in the order in which it was written, which within a pool is that of
	// (Rev, Ord). A cursor whose event was pruned reads from the oldest event on; one that is not older than its pool's
	// oldest event, and names none, is an [ErrNoEvent].
	Events(ctx context.Context, q park.AuditQuery) ([]park.Event, error)
	// LastEvent returns the id of the newest event, "" for an empty log.
	LastEvent(ctx context.Context) (string, error)
	// LastRev returns the rev and the time of the newest event of a pool, zero where there is none.
	LastRev(ctx context.Context, pool string) (int64, park.Time, error)
	// PruneEvents removes up to limit events from before the given time; see [Queue.PruneTasks]. It is called from time
	// to time even where nothing is to be removed, so that the store can look after what it finds events by.
	PruneEvents(ctx context.Context, before park.Time, limit int) (int, error)
}

// ErrInDoubt says that it is not known whether a step was committed, or whether it still will be: the store has not
// answered.
var ErrInDoubt = errors.New("the store has not said whether it took the step")

// ServerError is an error for which the server of a store has given a reason, as opposed to one that did not answer.
type ServerError interface {
	error
	// Said returns the server's own words, which hold no secret and nothing of any task.
	ServerMessage() string
}

// ErrNoEvent is returned for a cursor that names no event of the log, nor one that was pruned as far as the log can tell: of
// a pool without events it cannot.
var ErrNoEvent = errors.New("there is no such event in the log")

// ErrTaskExists is returned for a step that inserts a task whose id another has, live or ended. It changes nothing.
var ErrTaskExists = errors.New("there is a task with this id already")

// ErrRefused is what a [RefusedError] is.
var ErrRefused = errors.New("the store can never take this step as it is")

// RefusedError says that a step was not taken and would not be if it were sent again: it is too large for the store, or what
// is in it cannot be stored. It changes nothing.
type RefusedError struct{ Err error }

// Error implements error.
func (e *RefusedError) Error() string { return ErrRefused.Error() + ": " + e.Err.Error() }

// Unwrap returns [ErrRefused] and what the store said.
func (e *RefusedError) Unwrap() []error { return []error{ErrRefused, e.Err} }

// Snapshot is a pool as of its last step.
type Snapshot struct {
	Row   ledger.Pool
	Tasks []ledger.Record
}

// Step is one change of one pool: everything that belongs together.
type Step struct {
	PoolID string
	// ID is the step's own, random: it tells whether a commit whose reply was lost has happened.
	ID string
	// Node is who commits, for a pool that several nodes share: a [Shared] store refuses the step with [ErrDead]
	// unless the node beats. "" is for who is alone.
	Node string
	// Row is the pool after the step. Row.Rev is the rev before it plus one.
	Row      ledger.Pool
	Inserts  []ledger.Record
	Updates  []Update
	Messages []park.Message // for this store's own mailboxes
	Events   []park.Event   // for this store's own audit log
	Outbox   []OutboxEntry  // for everyone else

	// InDoubt is set by the store that has answered with [ErrInDoubt]. It goes on with that answer until it knows: that
	// the server refuses to hear of the step again says nothing of the first time.
	InDoubt bool
	// Waiting is set by a [Shared] store to how many other nodes have a step for this pool and are to go first: see
	// [Shared.RequestTurn].
	NodesWaiting int
}

// Update sets the state of a task.
type Update = ledger.Update

// OutboxEntry is something that a step owes to another place: a message, an event or a notification. The relay
// delivers it at least once.
type OutboxEntry struct {
	ID       int64  // given by the store, rising
	Dest     string // "mailbox/file", "audit/postgres", "notify/gpu"
	Attempts int    // failed deliveries so far
	Since    park.Time
	Message  *park.Message // of a message or a notification
	Event    *park.Event   // of an event
}

// DeferredEntry puts a parcel off after a failed delivery.
type DeferredEntry struct {
	ID       int64
	Attempts int
	Until    park.Time
}

// Conflict says that a step was decided on an older rev than the pool is at. Row and Changed tell what has
// come since, unless Reload is set: then the pool has to be loaded anew.
type Conflict struct {
	Row ledger.Pool
	// Changed holds every task touched since, as it is now; like Load's. Of an ended one only TaskID, Tenant, MailboxKey
	// and Status are sure to be there.
	Changed []ledger.Record
	Reload  bool
	// Ahead is how many other nodes are to go first; see [Shared.RequestTurn].
	NodesAhead int
}

// Error implements error.
func (c *Conflict) Error() string { return "the pool has moved on to another rev" }

// Evidence is what a [Store] also offers for those who hold one part of it against the other.
type Evidence interface {
	// Row returns a pool's row as of its last step, zero where it was never committed.
	Row(ctx context.Context, pool string) (ledger.Pool, error)
	// Marks returns what was removed because it was old.
	Marks(ctx context.Context, pool string) (Marks, error)
	// KeptTasks returns up to limit tasks of a pool, the newest submission first, after the one that a cursor names, and the
	// cursor of the next page; "" on the last one.
	KeptTasks(ctx context.Context, pool, after string, limit int) ([]park.KeptTask, string, error)
	// KeptMessages is KeptTasks for the messages of a pool, trimmed ones among them, in the order in which they came.
	KeptMessages(ctx context.Context, pool, after string, limit int) ([]park.KeptMessage, string, error)
}

// Marks are what pruning has left behind in a store: of a pool's log, and of the tasks and the messages of all pools. A mark is
// there before anything that it tells of is gone.
type Marks struct {
	Log, Tasks, Messages park.Mark
	// ToldSince is when the store was last brought to a schema that no parkd works on which tells less in its log, zero where it
	// was made with that.
	ToldSince park.Time
}

// Set sets the mark of a place, as databases name it.
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

// HealthChecker is what a [Store] also offers that may notice by itself, with nothing to do, that it can store no more.
type HealthChecker interface {
	// Trouble returns why nothing can be stored at present, or nil.
	StorageError() error
}
